"""Reads WordNet's data files and writes each sense as a short passage with questions.

Knows the file format and English templates; knows nothing of models or lists.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

FILES = {"n": "data.noun", "v": "data.verb", "a": "data.adj", "r": "data.adv"}
# Plants, animals, people and places come by the thousand and would drown the rest.
MOST_PER_CLASS = 1_500
WHAT = ("what is {a}", "what is {a}?", "what does {w} mean?", "define {w}", "{w}", "meaning of {w}")
NOUN_ASKS = ("what do you call {g}?", "which {h} is {g}?", "name for {g}", "{g}")
VERB_ASKS = ("how do I {g}?", "how to {g}", "what happens when you {w}?", "why do people {g}?")
OTHER_ASKS = ("what word means {g}?", "{g}", "how do you say that something is {g}?")


@dataclass(frozen=True)
class Synset:
    key: str
    file_class: str
    words: tuple[str, ...]
    gloss: str
    examples: tuple[str, ...]
    broader: tuple[str, ...]
    narrower: tuple[str, ...]
    parts: tuple[str, ...]

    @property
    def is_noun(self) -> bool:
        return self.key.startswith("n")


def read_synsets(folder: Path) -> dict[str, Synset]:
    synsets: dict[str, Synset] = {}
    for kind, name in FILES.items():
        for line in (folder / name).read_text(encoding="latin-1").splitlines():
            if not line.startswith(" "):
                synset = _parse(kind, line)
                synsets[synset.key] = synset
    return synsets


def _parse(kind: str, line: str) -> Synset:
    head, _, tail = line.partition(" | ")
    fields = head.split()
    count = int(fields[3], 16)
    words = tuple(_clean_word(fields[4 + 2 * i]) for i in range(count))
    links: defaultdict[str, list[str]] = defaultdict(list)
    at = 4 + 2 * count
    for i in range(int(fields[at])):
        symbol, offset, pos, _ = fields[at + 1 + 4 * i : at + 5 + 4 * i]
        links[symbol[:1]].append(pos.replace("s", "a") + offset)
    gloss, examples = _split_gloss(tail)
    return Synset(
        kind + fields[0], fields[1], words, gloss, examples,
        tuple(links["@"]), tuple(links["~"]), tuple(links["%"]),
    )  # fmt: skip


def _clean_word(word: str) -> str:
    return re.sub(r"\((a|p|ip)\)$", "", word).replace("_", " ")


def _split_gloss(text: str) -> tuple[str, tuple[str, ...]]:
    examples = tuple(re.findall(r'"([^"]{8,})"', text))
    gloss = re.sub(r'[;,:]?\s*"[^"]*"?(\s*-\s*[A-Z][\w. ]+)?', "", text)
    return gloss.strip(" ;,"), examples


def pick(synsets: dict[str, Synset], rng: random.Random) -> list[Synset]:
    """Senses with enough to say, no class of them over MOST_PER_CLASS."""
    by_class: defaultdict[str, list[Synset]] = defaultdict(list)
    for synset in synsets.values():
        if len(synset.gloss.split()) >= 5 or synset.examples:
            by_class[synset.file_class].append(synset)
    picked = []
    for members in by_class.values():
        picked += rng.sample(members, min(len(members), MOST_PER_CLASS))
    return picked


def passage(synset: Synset, synsets: dict[str, Synset], rng: random.Random) -> str:
    """One of several shapes, some without the word itself so that meaning has to count."""
    said = f"{synset.gloss}." + "".join(f" {_sentence(e)}" for e in synset.examples[:2])
    shape = rng.random()
    if shape < 0.3:
        return _sentence(said)
    if shape < 0.55:
        return _sentence(f"{', '.join(synset.words[:3])}: {said}")
    if synset.is_noun and synset.broader:
        said = f"is a kind of {synsets[synset.broader[0]].words[0]}: {said}"
    else:
        said = f"means {said}"
    return _sentence(f"{article(synset)} {said}") + _more(synset, synsets, rng)


def _more(synset: Synset, synsets: dict[str, Synset], rng: random.Random) -> str:
    """Kinds, parts or the broader sense: what makes a passage longer than its definition."""
    text = ""
    for keys, label in ((synset.narrower, "Kinds include"), (synset.parts, "It goes with")):
        if len(keys) > 1 and rng.random() < 0.6:
            names = [synsets[k].words[0] for k in rng.sample(keys, min(4, len(keys)))]
            text += f" {label} {', '.join(names)}."
    if synset.broader and rng.random() < 0.4:
        broader = synsets[synset.broader[0]]
        text += " " + _sentence(f"{article(broader)} is {broader.gloss}")
    return text


def questions(synset: Synset, synsets: dict[str, Synset], rng: random.Random) -> list[str]:
    """The sense asked for by name, and a neighbour's definition as it stands."""
    asked = [rng.choice(WHAT).format(a=article(synset), w=rng.choice(synset.words))]
    neighbours = synset.narrower + synset.broader
    if neighbours and rng.random() < 0.5:
        asked.append(synsets[rng.choice(neighbours)].gloss.split(";")[0])
    return asked


def copied_questions(synset: Synset, synsets: dict[str, Synset], rng: random.Random) -> list[str]:
    """Questions in the passage's own words: its meaning, and one of its examples."""
    asks = NOUN_ASKS if synset.is_noun else VERB_ASKS if synset.key[0] == "v" else OTHER_ASKS
    broader = synsets[synset.broader[0]] if synset.broader else synset
    words = {"w": rng.choice(synset.words), "h": broader.words[0]}
    words["g"] = synset.gloss.split(";")[0].split("(")[0].strip()
    asked = [rng.choice(asks).format(**words)]
    if synset.examples:
        asked.append(rng.choice(synset.examples))
    return asked


def article(synset: Synset) -> str:
    word = synset.words[0]
    if not synset.is_noun or word[:1].isupper():
        return word if synset.key[0] != "v" else f"to {word}"
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
