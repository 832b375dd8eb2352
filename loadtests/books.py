"""The clients' side of the account: what was sent, and what became of it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from gevent.event import Event

from loadtests.texts import Ask
from loadtests.wire import Answer


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request as its client saw it.

    sent: monotonic seconds. code: 0 where nothing came. problem: what is wrong with the answer.
    """

    request_id: str
    kind: str
    sent: float
    seconds: float
    code: int
    gave_up: bool
    passages: int
    problem: str
    trouble: str


class Books:
    """Every request of one scenario."""

    def __init__(self, passages_wanted: int = 0) -> None:
        self.outcomes: list[Outcome] = []
        self.open: set[str] = set()
        self.enough = Event()  # so many passages are ranked
        self.closed = False
        self._quiet = Event()
        self._wanted = passages_wanted
        self._ranked = 0

    @contextmanager
    def sending(self, request_id: str) -> Iterator[None]:
        """A request that is never closed stays in `open`, and is lost."""
        self.open.add(request_id)
        yield
        self.open.discard(request_id)
        if self.closed and not self.open:
            self._quiet.set()

    def close(self, within_seconds: float) -> None:
        """Nothing more is sent; wait for what is on its way."""
        self.closed = True
        if self.open:
            self._quiet.wait(within_seconds)

    def add(self, outcome: Outcome) -> None:
        """Enter one outcome."""
        self.outcomes.append(outcome)
        if outcome.code == 200:
            self._ranked += outcome.passages
        if self._wanted and self._ranked >= self._wanted:
            self.enough.set()


def problem(ask: Ask, answer: Answer, request_id: str, codes: frozenset[int]) -> str:
    """What is wrong with an answer; empty if nothing is. codes: allowed beside the expected."""
    if answer.code == 0:
        return ""
    if answer.headers.get("x-request-id") != request_id:
        return "an answer to another request"
    if answer.trouble:
        return answer.trouble
    if answer.code not in ask.expected | codes:
        return f"{answer.code} where {sorted(ask.expected | codes)} was expected"
    content = json.loads(answer.body)
    return _ranking_problem(ask, content) if answer.code == 200 else _error_problem(answer, content)


def _ranking_problem(ask: Ask, content: dict[str, Any]) -> str:
    indices = [ranked["index"] for ranked in content["rankings"]]
    logits = [ranked["logit"] for ranked in content["rankings"]]
    if sorted(indices) != list(range(ask.passages)):
        return "not every passage once"
    return "" if logits == sorted(logits, reverse=True) else "not in descending order"


def _error_problem(answer: Answer, content: dict[str, Any]) -> str:
    if set(content) != {"object", "message", "type", "detail"}:
        return "an error in another shape"
    overloaded = str(content["message"]).startswith("too many requests")
    if overloaded and int(answer.headers.get("retry-after", 0)) < 1:
        return "refused without Retry-After"
    return ""
