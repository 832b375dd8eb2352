"""A backend that waits for the test: it scores each batch only when the test opens the gate.

Makes concurrency exact: while a batch stands at the gate the device is busy, for as long as the
test likes.
"""

import asyncio
import queue
import threading
from collections.abc import Callable

import numpy as np

from engine.types import Batch, Limits, Logits

Score = Callable[[Batch], Logits]
PATIENCE_SECONDS = 30  # only a failing test waits this long


def first_ids(batch: Batch) -> Logits:
    """Each pair's first token id as its logit."""
    return batch.ids[batch.offsets[:-1]].astype(np.float32)


def by_length(batch: Batch) -> Logits:
    """The longer the pair, the lower the logit."""
    return np.diff(batch.offsets).astype(np.float32) / np.float32(-4)


class Gate:
    """Implements engine.backends.Backend."""

    def __init__(self, limits: Limits | None = None, score: Score = first_ids) -> None:
        self.limits = limits or Limits(max_batch_tokens=64, max_batch_rows=16)
        self.closed = threading.Event()
        self._score = score
        self._free = False
        self._arrived: queue.SimpleQueue[Batch] = queue.SimpleQueue()
        self._opened: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def warm_up(self) -> None:
        pass

    def score(self, batch: Batch) -> Logits:
        """Runs on the device thread."""
        self._arrived.put(batch)
        outcome = None if self._free else self._opened.get()
        if outcome is not None:
            raise outcome
        return self._score(batch)

    def cells(self, batch: Batch) -> int:
        return batch.tokens

    def close(self) -> None:
        self.closed.set()

    async def batch(self) -> Batch:
        """Wait until a batch stands at the gate."""
        return await asyncio.to_thread(self._arrived.get, timeout=PATIENCE_SECONDS)

    def passed(self) -> int:
        """How many batches have come since the last one that was waited for."""
        return self._arrived.qsize()

    def open(self, error: BaseException | None = None) -> None:
        """Let the waiting batch be scored, or fail it."""
        self._opened.put(error)

    def open_for_good(self) -> None:
        """Let everything pass from now on."""
        self._free = True
        self._opened.put(None)


async def settle() -> None:
    """Let everything that is ready to run on the event loop run."""
    for _ in range(20):
        await asyncio.sleep(0)


class TwoDeepGate(Gate):
    """Takes one batch more while one stands at the gate: engine.backends.OverlappingBackend."""

    def __init__(self, limits: Limits | None = None, score: Score = first_ids) -> None:
        super().__init__(limits, score)
        self._started: queue.SimpleQueue[Batch] = queue.SimpleQueue()

    def start(self, batch: Batch) -> Callable[[], Logits]:
        """Runs on the device thread."""
        self._started.put(batch)
        return lambda: self.score(batch)

    async def started(self) -> Batch:
        """Wait until a batch is begun; it may not have come to the gate yet."""
        return await asyncio.to_thread(self._started.get, timeout=PATIENCE_SECONDS)
