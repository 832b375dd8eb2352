"""What waits and who waits for it: the one thing that event loop and device threads share.

One Condition guards all of it. Results go back with one wake-up of the event loop a batch.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from engine.errors import CrossrankError, DeadlineError, ScoringError, UnavailableError
from engine.job import Job
from engine.schedule import Schedule, Slot
from engine.types import Limits, Pair, Waiting

log = logging.getLogger(__name__)

Slots = Sequence[Slot[Job]]


class Backlog:
    """Jobs go in on the event loop, batches come out on device threads."""

    def __init__(self, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._changed = threading.Condition()  # guards everything below
        self._schedule: Schedule[Job] = Schedule(limits)
        self._live: set[Job] = set()
        self._closed = False

    def submit(
        self,
        pairs: Sequence[Pair],
        deadline: float | None = None,
        trace: object = None,
        priority: int = 0,
    ) -> Job:
        """Queue one request. Its future is done when all its scores, or one error, are there.

        deadline: monotonic seconds after which its waiting pairs never reach the device. Raises
        UnavailableError once closed.
        """
        job = Job(pairs, self._loop.create_future(), time.monotonic(), deadline, trace)
        with self._changed:
            if self._closed:
                raise UnavailableError("the service is stopping: send the request again")
            self._schedule.add(job, [pair.tokens for pair in pairs], priority)
            self._live.add(job)
            self._changed.notify()
        return job

    def abandon(self, job: Job) -> None:
        """Nobody waits for this job any more: its waiting pairs never reach the device."""
        with self._changed:
            self._forget([job])

    @property
    def waiting(self) -> Waiting:
        """What waits for a device, and for how long."""
        with self._changed:
            now = time.monotonic()
            oldest = min((job.submitted for job in self._schedule), default=now)
            tokens, pairs = self._schedule.waiting_tokens, self._schedule.waiting_pairs
        return Waiting(tokens, pairs, now - oldest)

    def take(self, wait: bool = True) -> Slots:
        """The next batch, sorted by length. Empty once closed and drained.

        wait: until there is one, else it is empty too where nothing waits now.
        """
        with self._changed:
            self._drop_expired()
            while not self._schedule:
                if self._closed or not wait:
                    return []
                self._changed.wait()
                self._drop_expired()
            slots = self._schedule.take()
            if self._schedule:
                self._changed.notify()  # another device may be idle
        now = time.monotonic()
        for job in {slot.key for slot in slots}:
            job.started = job.started or now
        return sorted(slots, key=lambda slot: slot.key.pairs[slot.pair].tokens)

    def deliver(self, slots: Slots, logits: Sequence[float]) -> None:
        """Fill the jobs, and settle those that are complete or failed.

        A logit that is no number is an error for its job, never a score.
        """
        now = time.monotonic()
        with self._changed:
            for (job, index), logit in zip(slots, logits, strict=True):
                if not np.isfinite(logit):
                    job.error = ScoringError("the model gave no valid score for this request")
                job.fill(index, logit)
            done = [job for job in {slot.key for slot in slots} if job.settled]
            self._forget(done)
        for job in done:
            job.finished = now
        if done:
            self.call(_settle, done)

    def ran_out_of_memory(self) -> None:
        """Make smaller batches from now on."""
        with self._changed:
            self._schedule.shrink()

    def ran_well(self) -> None:
        """Make slowly larger batches again."""
        with self._changed:
            self._schedule.recover()

    def close(self) -> None:
        """Take no more jobs; take() ends when those that are here have run."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def fail(self, error: CrossrankError) -> None:
        """Close, and answer every waiter with this error; nothing is left behind."""
        with self._changed:
            self._closed = True
            self._fail(list(self._live), error)
            self._changed.notify_all()

    def call(self, function: Callable[..., None], *args: object) -> None:
        """Run on the event loop, if it still runs."""
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            log.warning("the event loop has closed: %s is dropped", function.__name__)

    def _drop_expired(self) -> None:
        now = time.monotonic()
        self._fail([job for job in self._live if job.expired(now)], DeadlineError())

    def _fail(self, jobs: Sequence[Job], error: CrossrankError) -> None:
        self._forget(jobs)
        for job in jobs:
            job.error = error
        if jobs:
            self.call(_settle, jobs)

    def _forget(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            self._live.discard(job)
            self._schedule.discard(job)


def _settle(jobs: Iterable[Job]) -> None:
    for job in jobs:
        job.settle()
