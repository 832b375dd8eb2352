"""The development set: 108 questions with five passages each, written by hand for this model.

Never trained on. Checks by program that its "overlap" half is what it says.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from models.mini.bm25 import content_words

FILE = Path(__file__).with_name("dev.jsonl")
MISLEADING = 2


@dataclass(frozen=True)
class DevQuestion:
    kind: str
    question: str
    passages: list[str]
    answer: int


def load() -> list[DevQuestion]:
    return [DevQuestion(**json.loads(line)) for line in FILE.read_text().splitlines()]


def misleading(item: DevQuestion) -> int:
    """How many wrong passages share more content words with the question than the right one."""
    asked = content_words(item.question)
    shared = [len(asked & content_words(p)) for p in item.passages]
    return sum(count > shared[item.answer] for count in shared)


def check(questions: list[DevQuestion]) -> None:
    """Fails when the overlap half has a question that word matching does not mislead."""
    for item in questions:
        if item.kind == "overlap" and misleading(item) < MISLEADING:
            raise ValueError(f"not misleading enough: {item.question}")
