"""One request inside the engine: its pairs, its score slots, its single future."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.types import Logits, Pair


@dataclass(slots=True, eq=False)
class Job:
    """Written by the device thread until it is settled, then read by the event loop.

    logits: float32 [pairs], in request order. submitted, started, finished, deadline: monotonic
    seconds.
    """

    pairs: Sequence[Pair]
    future: asyncio.Future[None]
    submitted: float
    deadline: float | None = None
    trace: object = None
    started: float | None = None
    finished: float | None = None
    error: Exception | None = None
    logits: Logits = field(init=False)
    missing: int = field(init=False)

    def __post_init__(self) -> None:
        self.logits = np.full(len(self.pairs), np.nan, dtype=np.float32)
        self.missing = len(self.pairs)

    def expired(self, now: float) -> bool:
        """Whether its time has run out."""
        return self.deadline is not None and self.deadline <= now

    @property
    def settled(self) -> bool:
        """Whether every score is there, or an error is."""
        return self.error is not None or self.missing == 0

    def fill(self, index: int, logit: float) -> None:
        """Write one pair's score; each slot is written once."""
        self.logits[index] = logit
        self.missing -= 1

    def settle(self) -> None:
        """Wake the waiter, unless it has left. Runs on the event loop."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(None)
