"""The device thread: take, score, deliver. It owns the backend from opening to closing.

It never waits on a timer: an idle device runs what is there, and a batch forms while it is busy.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from engine.backends import Backend
from engine.errors import ScoringError, UnavailableError
from engine.job import Job
from engine.schedule import Schedule, Slot
from engine.types import Batch, BatchReport, Logits, Pair

log = logging.getLogger(__name__)

Slots = Sequence[Slot[Job]]


class Worker:
    """Runs one backend for one event loop.

    on_batch is called on the device thread after every batch. on_death is called on the event
    loop if the thread ends for any reason but stop().
    """

    def __init__(
        self,
        open_backend: Callable[[], Backend],
        on_batch: Callable[[BatchReport], None],
        on_death: Callable[[], None],
    ) -> None:
        self._open_backend = open_backend
        self._on_batch = on_batch
        self._on_death = on_death
        self._wake = threading.Condition()  # guards everything below
        self._schedule: Schedule[Job] | None = None
        self._live: set[Job] = set()
        self._stopping = False

    async def start(self) -> None:
        """Open and warm the backend on its own thread. Raises what opening raised."""
        self._loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(
            target=self._run, args=(opened,), name="device", daemon=True
        )
        self._thread.start()
        await opened

    def submit(self, pairs: Sequence[Pair]) -> Job:
        """Queue one request. Its future is done when all its scores, or one error, are there."""
        job = Job(pairs, self._loop.create_future(), submitted=time.monotonic())
        with self._wake:
            if self._schedule is None or self._stopping:
                raise UnavailableError("the service is stopping: send the request again")
            self._schedule.add(job, [pair.tokens for pair in pairs])
            self._live.add(job)
            self._wake.notify()
        return job

    def abandon(self, job: Job) -> None:
        """Nobody waits for this job any more: its waiting pairs never reach the device."""
        with self._wake:
            self._forget([job])

    @property
    def waiting(self) -> tuple[int, int]:
        """Tokens and pairs that wait for the device."""
        with self._wake:
            schedule = self._schedule
            return (schedule.waiting_tokens, schedule.waiting_pairs) if schedule else (0, 0)

    async def stop(self) -> None:
        """Finish what was accepted, close the backend, end the thread."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        await asyncio.to_thread(self._thread.join)

    def _run(self, opened: asyncio.Future[None]) -> None:
        try:
            backend = self._open_backend()
            backend.score(_warm_up_batch())
            with self._wake:
                self._schedule = Schedule(backend.limits)
            self._call(_resolve, opened)
        except Exception as error:
            self._call(_reject, opened, error)
            return
        try:
            while slots := self._take():
                self._deliver(slots, self._score(backend, slots))
        except BaseException:
            log.exception("the device thread died")
            self._die()
        finally:
            backend.close()

    def _take(self) -> Slots:
        """The next batch, sorted by length; empty once stopped and drained."""
        with self._wake:
            schedule = self._schedule
            assert schedule is not None
            self._wake.wait_for(lambda: schedule or self._stopping)
            slots = schedule.take()
        now = time.monotonic()
        for job in {slot.key for slot in slots}:
            job.started = job.started or now
        return sorted(slots, key=lambda slot: slot.key.pairs[slot.pair].tokens)

    def _score(self, backend: Backend, slots: Slots, retry: bool = True) -> Sequence[float]:
        """One logit a slot; NaN where the backend failed, also after a retry in halves."""
        batch = Batch.pack([slot.key.pairs[slot.pair] for slot in slots])
        start = time.monotonic()
        try:
            logits = _checked(backend.score(batch), batch.rows)
        except Exception:
            log.exception("a batch of %d pairs, %d tokens failed", batch.rows, batch.tokens)
            self._on_batch(BatchReport(batch.tokens, batch.rows, time.monotonic() - start, True))
            if not retry:
                return [np.nan] * len(slots)
            halves = (slots[: len(slots) // 2], slots[len(slots) // 2 :])
            return [x for half in halves if half for x in self._score(backend, half, retry=False)]
        self._on_batch(BatchReport(batch.tokens, batch.rows, time.monotonic() - start, False))
        scores: list[float] = logits.tolist()
        return scores

    def _deliver(self, slots: Slots, logits: Sequence[float]) -> None:
        """Fill the jobs; settle those that are complete or failed with one wake-up of the loop."""
        now = time.monotonic()
        with self._wake:
            for (job, index), logit in zip(slots, logits, strict=True):
                if not np.isfinite(logit):
                    job.error = ScoringError("the model gave no valid score for this request")
                job.fill(index, logit)
            done = [job for job in {slot.key for slot in slots} if job.settled]
            self._forget(done)
        for job in done:
            job.finished = now
        if done:
            self._call(_settle, done)

    def _die(self) -> None:
        """Answer every waiter; nothing is left behind."""
        with self._wake:
            orphans = list(self._live)
            self._forget(orphans)
            self._schedule = None
        for job in orphans:
            job.error = ScoringError("the device stopped working: the service is restarting")
        self._call(_settle, orphans)
        self._call(self._on_death)

    def _forget(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            self._live.discard(job)
            if self._schedule is not None:
                self._schedule.discard(job)

    def _call(self, function: Callable[..., None], *args: object) -> None:
        """Run on the event loop, if it still runs."""
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            log.warning("the event loop has closed: %s is dropped", function.__name__)


def _warm_up_batch() -> Batch:
    ids = np.zeros(8, dtype=np.int32)
    return Batch.pack([Pair(ids, split=4)])


def _checked(logits: Logits, rows: int) -> Logits:
    assert logits.shape == (rows,), "a backend returns one logit a row"
    return logits


def _settle(jobs: Iterable[Job]) -> None:
    for job in jobs:
        job.settle()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _reject(future: asyncio.Future[None], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
