"""The device thread: take, score, deliver. It owns the backend from opening to closing.

It never waits on a timer: an idle device runs what is there, and a batch forms while it is busy.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from engine.backends import Backend, OverlappingBackend
from engine.backlog import Backlog, Slots
from engine.errors import CrossrankError, DeviceLostError, ScoringError, UnavailableError
from engine.types import Batch, BatchReport, Limits, Logits, Waiting
from engine.watchdog import Watchdog

log = logging.getLogger(__name__)

_JOIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Running:
    """A batch on its way. started: monotonic seconds. wait: gives the logits, or raises."""

    slots: Slots
    batch: Batch
    started: float
    wait: Callable[[], Logits]


class Worker:
    """Runs one backend on a thread of its own, for one event loop.

    on_batch is called on the device thread after every batch. on_death is called on the event
    loop, once, if the thread dies or does not come back from a batch. join: gives the backlog to
    take batches from, once the backend is open.
    """

    def __init__(
        self,
        open_backend: Callable[[], Backend],
        on_batch: Callable[[BatchReport], None],
        on_death: Callable[[], None],
        stuck_after_seconds: float = 300.0,
        join: Callable[[Limits, asyncio.AbstractEventLoop], Backlog] = Backlog,
    ) -> None:
        self._open_backend = open_backend
        self._on_batch = on_batch
        self._on_death = on_death
        self._join = join
        self._watchdog = Watchdog(stuck_after_seconds, self._stuck)
        self._backlog: Backlog | None = None  # there is none before the backend is open
        self._freed = 0.0  # monotonic seconds of the last batch's end
        self._death = threading.Lock()  # held for good by whoever notices it first

    async def start(self) -> None:
        """Open and warm the backend on its own thread. Raises what opening raised."""
        self._loop = asyncio.get_running_loop()
        self._watchdog.start()
        opened: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(
            target=self._run, args=(opened,), name="device", daemon=True
        )
        self._thread.start()
        await opened

    async def stop(self, unfinished: CrossrankError | None = None) -> None:
        """Finish what was accepted, or answer it with this error; close the backend."""
        self._watchdog.close()
        if self._backlog is None:
            return
        self._backlog.close() if unfinished is None else self._backlog.fail(unfinished)
        # a thread that is stuck in a batch is left behind: it is a daemon
        await asyncio.to_thread(self._thread.join, _JOIN_SECONDS)

    @property
    def backlog(self) -> Backlog:
        """Where jobs go in. Raises UnavailableError before the backend is open."""
        if self._backlog is None:
            raise UnavailableError("the model is still loading: try again shortly")
        return self._backlog

    @property
    def waiting(self) -> Waiting:
        """What waits for the device."""
        return Waiting() if self._backlog is None else self._backlog.waiting

    def _run(self, opened: asyncio.Future[None]) -> None:
        try:
            backend = self._open_backend()
            backend.warm_up()
            self._backlog = self._join(backend.limits, self._loop)
            self._tell(_resolve, opened)
        except Exception as error:
            self._tell(_reject, opened, error)
            return
        try:
            self._serve(backend)
        except BaseException:
            log.exception("the device thread died")
            self._die()
        finally:
            self._close(backend)

    def _close(self, backend: Backend) -> None:
        try:
            backend.close()
        except Exception:  # a lost device cannot even be closed
            log.warning("the backend could not be closed", exc_info=True)

    def _tell(self, function: Callable[..., None], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # told to stop while loading: the loop has closed
            self._loop.call_soon_threadsafe(function, *args)

    def _serve(self, backend: Backend) -> None:
        """Take, start, finish; a backend that can is given one batch more while it runs one."""
        most = 2 if isinstance(backend, OverlappingBackend) else 1
        running: deque[_Running] = deque()
        while (slots := self.backlog.take(wait=not running)) or running:
            if slots:
                running.append(self._start(backend, slots))
            if len(running) == most or not slots:
                done = running.popleft()
                self.backlog.deliver(done.slots, self._finish(backend, done))

    def _start(self, backend: Backend, slots: Slots) -> _Running:
        batch = Batch.pack([slot.key.pairs[slot.pair] for slot in slots])
        started = time.monotonic()
        if not isinstance(backend, OverlappingBackend):
            return _Running(slots, batch, started, partial(backend.score, batch))
        with self._watchdog.watching():
            try:
                return _Running(slots, batch, started, backend.start(batch))
            except DeviceLostError:
                raise
            except Exception as error:
                return _Running(slots, batch, started, partial(_raise, error))

    def _finish(self, backend: Backend, running: _Running, retry: bool = True) -> Sequence[float]:
        """One logit a slot; NaN where the backend failed, also after a retry in halves."""
        slots, batch = running.slots, running.batch
        try:
            with self._watchdog.watching():
                logits = _checked(running.wait(), batch.rows)
        except DeviceLostError:
            raise
        except Exception as error:
            log.exception("a batch of %d pairs, %d tokens failed", batch.rows, batch.tokens)
            self._report(backend, running, failed=True)
            if isinstance(error, MemoryError):
                self.backlog.ran_out_of_memory()
            return self._retry(backend, slots) if retry else [np.nan] * len(slots)
        self._report(backend, running, failed=False)
        self.backlog.ran_well()
        scores: list[float] = logits.tolist()
        return scores

    def _retry(self, backend: Backend, slots: Slots) -> Sequence[float]:
        halves = (slots[: len(slots) // 2], slots[len(slots) // 2 :])
        return [
            logit
            for half in halves
            if half
            for logit in self._finish(backend, self._start(backend, half), retry=False)
        ]

    def _report(self, backend: Backend, running: _Running, failed: bool) -> None:
        """A batch that was started behind another has the device from the other's end."""
        batch, now = running.batch, time.monotonic()
        seconds = now - max(running.started, self._freed)
        self._freed = now
        traces = [
            job.trace for job in {slot.key for slot in running.slots} if job.trace is not None
        ]
        cells = backend.cells(batch)
        self._on_batch(BatchReport(batch.tokens, cells, batch.rows, seconds, failed, traces))

    def _stuck(self) -> None:
        """Runs on the watchdog's thread."""
        log.critical("the device does not come back from a batch")
        self._die()

    def _die(self) -> None:
        if self._death.acquire(blocking=False):
            self.backlog.call(self._on_death)  # first not live, then the answers
            self.backlog.fail(ScoringError("the device stopped working: try another replica"))


def _raise(error: Exception) -> Logits:
    raise error


def _checked(logits: Logits, rows: int) -> Logits:
    assert logits.shape == (rows,), "a backend returns one logit a row"
    return logits


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _reject(future: asyncio.Future[None], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
