"""Turns the unpacked packages into passages, each with the questions it answers.

Knows files and text; knows nothing of models or of how lists are drawn.
"""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from models.mini import wordnet
from models.mini.sources import SOURCES, Source

LONGEST = 600
PLAIN = str.maketrans("\u201c\u201d\u2018\u2019\u00b4\u2013\u2014", "\"\"'''--")
SKIPPED_TAGS = {"pre", "script", "style", "nav", "table", "footer"}
HEADINGS = {"h1", "h2", "h3", "h4", "h5"}
SPAN_ASKS = ("{}", "{}", "{}?", "how does {} work?", "why {}?", "when {}?", "what about {}?")
HEADING_ASKS = ("{}", "{}", "what is {}?", "how do I use {}?", "how does {} work?", "about {}")
GENERIC = {"description", "notes", "examples", "see also", "parameters", "overview", "contents"}


@dataclass(frozen=True)
class Passage:
    text: str
    source: str
    questions: tuple[str, ...]
    copied_questions: tuple[str, ...]
    """In the passage's own words, so word matching alone finds it."""


def read_corpus(work: Path, seed: int) -> list[Passage]:
    passages: list[Passage] = []
    for source in SOURCES:
        rng = random.Random(f"{seed} {source.name}")
        folder = work / "text" / source.package / source.folder
        found = _distinct(_read(source, folder, rng))
        rng.shuffle(found)
        passages += found[: source.limit]
    return passages


def _read(source: Source, folder: Path, rng: random.Random) -> Iterator[Passage]:
    if source.name == "wordnet":
        yield from _wordnet(folder, rng)
        return
    sections = _jargon(folder) if source.name == "jargon" else _manual(folder)
    for heading, text in sections:
        asked, copied = tuple(_questions(heading, rng)), tuple(_spans(text, rng))
        yield Passage(text, source.name, asked, copied)


def _distinct(passages: Iterator[Passage]) -> list[Passage]:
    return list({p.text: p for p in passages}.values())


def _wordnet(folder: Path, rng: random.Random) -> Iterator[Passage]:
    synsets = wordnet.read_synsets(folder)
    for synset in wordnet.pick(synsets, rng):
        text = wordnet.passage(synset, synsets, rng)[:LONGEST]
        asked = wordnet.questions(synset, synsets, rng)
        copied = wordnet.copied_questions(synset, synsets, rng)
        yield Passage(text, "wordnet", _short(asked), _short(copied))


def _short(questions: list[str]) -> tuple[str, ...]:
    return tuple(q for q in questions if len(q.split()) <= 24)


def _jargon(folder: Path) -> Iterator[tuple[str, str]]:
    """Entries start in the first column; their bodies are indented."""
    text = gzip.decompress((folder / "jargon.dict.dz").read_bytes()).decode()
    for entry in re.split(r"\n\n(?=\S)", text):
        name, _, body = entry.partition("\n")
        body = re.sub(r"[{}\[\]]", "", " ".join(body.split()))
        yield from _long_enough(name.strip(), body)


def _manual(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*.html")):
        if re.search(r"release|changelog|genindex|search|copyright|/cves", str(path)):
            continue
        reader = _SectionReader()
        reader.feed(path.read_text(encoding="utf-8", errors="replace"))
        for heading, body in reader.sections:
            yield from _long_enough(heading, body)


def _long_enough(heading: str, body: str) -> Iterator[tuple[str, str]]:
    """Passages of whole sentences, 60 to LONGEST characters, in plain quotes."""
    body = " ".join(body.translate(PLAIN).split())
    if len(body) > LONGEST:
        body = body[: body.rfind(". ", 0, LONGEST) + 1] or body[:LONGEST]
    if len(body) >= 60 and body.isascii():
        yield " ".join(heading.split()), body


def _questions(heading: str, rng: random.Random) -> Iterator[str]:
    topic = re.sub(r"^[\d.\s]+|\(.*|¶|#", "", heading).strip()
    if topic and topic.lower() not in GENERIC and len(topic) < 80:
        yield rng.choice(HEADING_ASKS).format(topic)


def _spans(text: str, rng: random.Random) -> Iterator[str]:
    """Runs of words from the text, asked as they are or as a question."""
    words = re.sub(r"[^\w\s'-]", " ", text).split()
    for _ in range(2):
        length = rng.randint(3, 9)
        start = rng.randrange(max(1, len(words) - length))
        yield rng.choice(SPAN_ASKS).format(" ".join(words[start : start + length]))


class _SectionReader(HTMLParser):
    """Collects (heading above it, paragraph) from a manual page."""

    def __init__(self) -> None:
        super().__init__()
        self.sections: list[tuple[str, str]] = []
        self._heading = ""
        self._text: list[str] = []
        self._skipping = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in SKIPPED_TAGS:
            self._skipping += 1
        if tag in HEADINGS or tag in {"p", "dd", "dt", "li"}:
            self._text = []

    def handle_endtag(self, tag: str) -> None:
        if tag in SKIPPED_TAGS:
            self._skipping = max(0, self._skipping - 1)
        if tag in HEADINGS or tag == "dt":
            self._heading = "".join(self._text)
        if tag == "p":
            self.sections.append((self._heading, "".join(self._text)))

    def handle_data(self, data: str) -> None:
        if not self._skipping:
            self._text.append(data)
