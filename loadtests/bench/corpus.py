"""Real text for the mixes, found on every machine: Python's own reference, and the dev set's asks.

Passages come from the standard library's `pydoc_data.topics` (PSF-2.0), read and not copied;
queries are the questions of models/mini/dev.jsonl.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pydoc_data.topics import topics

from tokenizers import Tokenizer

from app.settings import SHIPPED_CHECKPOINT

_FEWEST_WORDS = 12
_PROSE = 0.88  # share of letters and spaces below which a paragraph is code or grammar
_NOT_PROSE = ("   ", "***", "===", "---", "+--")


@dataclass(frozen=True, slots=True)
class Text:
    """One long run of words, and what each costs in tokens.

    ends: tokens up to and with each word. starts: the words that begin a sentence.
    """

    words: tuple[str, ...]
    ends: tuple[int, ...]
    starts: tuple[int, ...]

    @property
    def digest(self) -> str:
        """Tells whether two runs had the same text: it is that of the Python at hand."""
        return hashlib.sha256(" ".join(self.words).encode()).hexdigest()[:12]


def text(tokenizer: Tokenizer) -> Text:
    """All prose of the reference, each paragraph once."""
    words = tuple(word for paragraph in dict.fromkeys(_paragraphs()) for word in paragraph.split())
    ends = [True, *(word.endswith((".", "?", "!")) for word in words)]
    costs = tokenizer.encode_batch_fast(list(words), add_special_tokens=False)
    return Text(
        words=words,
        ends=tuple(accumulate(len(cost.ids) for cost in costs)),
        starts=tuple(i for i, ended in enumerate(ends[:-1]) if ended),
    )


def questions() -> list[str]:
    """What the dev set asks."""
    lines = (SHIPPED_CHECKPOINT / "dev.jsonl").read_text().splitlines()
    return [str(json.loads(line)["question"]) for line in lines]


def _paragraphs() -> Iterator[str]:
    for name in sorted(topics):
        for paragraph in topics[name].split("\n\n"):
            if not any(line.startswith(_NOT_PROSE) for line in paragraph.splitlines()):
                prose = " ".join(paragraph.split())
                if _is_prose(prose):
                    yield prose


def _is_prose(paragraph: str) -> bool:
    letters = sum(c.isalpha() or c == " " for c in paragraph)
    whole = paragraph.endswith(".") and len(paragraph.split()) >= _FEWEST_WORDS
    return whole and letters > _PROSE * len(paragraph)
