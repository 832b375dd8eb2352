"""Made-up questions in everyday shapes: "how do I VERB a NOUN?" for words that go together.

They have no right answer in the corpus; the teacher says how near each passage comes.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.mini import teacher
from models.mini.bm25 import words
from models.mini.wordnet import Synset

NEAR = 40
TEMPLATES = (
    "how do I {v} a {n}?",
    "how do you {v} {n}?",
    "how long does it take to {v} {n}?",
    "what is the best way to {v} {n}?",
    "why does my {n} {v}?",
    "why do {m} {v}?",
    "why is {n} {a}?",
    "why is my {n} so {a}?",
    "can I {v} {n} with {m}?",
    "is {n} good for {m}?",
    "is it safe to {v} {n}?",
    "what causes {n}?",
    "what should I do about {a} {n}?",
    "how can I stop {n}?",
    "how much {n} should I {v}?",
    "when should you {v} {n}?",
    "when did people first {v} {n}?",
    "where does {n} come from?",
    "where can I {v} {n}?",
    "who invented the {n}?",
    "what is the difference between {n} and {m}?",
    "which {n} is best for {m}?",
    "what happens to {n} in {m}?",
    "do I need a {n} to {v}?",
    "how does {n} affect {m}?",
    "what can I use instead of {n}?",
)


def make_up(synsets: dict[str, Synset], count: int, work: Path, seed: int) -> list[str]:
    rng = random.Random(f"{seed} asks")
    nouns, verbs, adjectives = _common(synsets)
    others = {"m": nouns, "v": verbs, "a": adjectives}
    near = {kind: _nearest(nouns, others[kind], work) for kind in others}
    asked = []
    for _ in range(count):
        i = rng.randrange(len(nouns))
        chosen = {kind: others[kind][near[kind][i][rng.randrange(NEAR)]] for kind in others}
        asked.append(rng.choice(TEMPLATES).format(n=nouns[i], **chosen))
    return asked


def _common(synsets: dict[str, Synset]) -> tuple[list[str], list[str], list[str]]:
    """Words of each kind that the definitions and examples themselves use."""
    seen = Counter(w for s in synsets.values() for e in (s.gloss, *s.examples) for w in words(e))
    kinds: dict[str, set[str]] = {"n": set(), "v": set(), "a": set()}
    for synset in synsets.values():
        for word in synset.words:
            if seen[word] >= 8 and len(word) > 2 and synset.key[0] in kinds:
                kinds[synset.key[0]].add(word)
    return sorted(kinds["n"]), sorted(kinds["v"]), sorted(kinds["a"])


def _nearest(nouns: list[str], others: list[str], work: Path) -> NDArray[np.int64]:
    similar = teacher.embed(nouns, work) @ teacher.embed(others, work).T
    return np.argsort(-similar, axis=1)[:, 1 : NEAR + 1]
