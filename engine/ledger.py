"""Admission: whole requests in, or refused whole, counted in tokens. Pure: no clock, no thread."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from engine.errors import OverloadedError

_MEMORY = 0.9  # weight of the past in the measured rate, per batch
_LONGEST_WAIT_SECONDS = 60


@dataclass(slots=True)
class Entry:
    """One admitted request's share of the ledger, in tokens; an estimate until it is tokenized."""

    tokens: int


class Ledger:
    """Counts every request from its admission to its answer."""

    def __init__(self, max_tokens: int, max_requests: int) -> None:
        self._max_tokens = max_tokens
        self._max_requests = max_requests
        self._recent_tokens = self._recent_seconds = 0.0
        self.tokens = 0
        self.requests = 0

    @contextmanager
    def admitted(self, tokens: int) -> Iterator[Entry]:
        """Hold a place for a request of about this many tokens.

        A request larger than the whole ledger is admitted when there is no other. Raises
        OverloadedError, with the time after which to try again.
        """
        full = self.requests >= self._max_requests or self.tokens + tokens > self._max_tokens
        if self.requests and full:
            raise OverloadedError(self.seconds_of_backlog())
        entry = Entry(0)
        self.requests += 1
        self.correct(entry, tokens)
        try:
            yield entry
        finally:
            self.correct(entry, 0)
            self.requests -= 1

    def correct(self, entry: Entry, tokens: int) -> None:
        """Replace an estimate by what was counted."""
        self.tokens += tokens - entry.tokens
        entry.tokens = tokens

    def ran(self, tokens: int, seconds: float) -> None:
        """Learn the device's rate from a finished batch."""
        self._recent_tokens = self._recent_tokens * _MEMORY + tokens
        self._recent_seconds = self._recent_seconds * _MEMORY + seconds

    def seconds_of_backlog(self) -> int:
        """Whole seconds until what is admitted now has run, at the measured rate; at least 1."""
        if not self._recent_tokens:
            return 1
        seconds = self.tokens * self._recent_seconds / self._recent_tokens
        return min(max(1, math.ceil(seconds)), _LONGEST_WAIT_SECONDS)
