"""Several device threads over one backlog: whichever is free takes the next batch."""

import asyncio
from collections.abc import Callable, Sequence

from engine.backends import Backend
from engine.backlog import Backlog
from engine.errors import CrossrankError, StartError
from engine.types import BatchReport, Limits, Waiting
from engine.worker import Worker


class Crew:
    """One worker for each device. It starts and stops as one; if one dies, all of it does."""

    def __init__(
        self,
        open_backends: Sequence[Callable[[], Backend]],
        on_batch: Callable[[BatchReport], None],
        on_death: Callable[[], None],
        stuck_after_seconds: float = 300.0,
    ) -> None:
        self._limits: Limits | None = None
        self._backlog: Backlog | None = None
        self._workers = [
            Worker(open_backend, on_batch, on_death, stuck_after_seconds, self._join)
            for open_backend in open_backends
        ]

    async def start(self) -> None:
        """Open the devices one after the other: the first compiles or downloads for all of them.

        Raises what opening raised.
        """
        try:
            for worker in self._workers:
                await worker.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self, unfinished: CrossrankError | None = None) -> None:
        """Finish what was accepted, or answer it with this error; close the backends."""
        await asyncio.gather(*(worker.stop(unfinished) for worker in self._workers))

    @property
    def backlog(self) -> Backlog:
        """Where jobs go in. Raises UnavailableError before a backend is open."""
        return self._workers[0].backlog

    @property
    def waiting(self) -> Waiting:
        """What waits for the devices."""
        return self._workers[0].waiting

    def _join(self, limits: Limits, loop: asyncio.AbstractEventLoop) -> Backlog:
        """The one backlog. Runs on the device threads, one after the other."""
        if self._backlog is None:
            self._limits, self._backlog = limits, Backlog(limits, loop)
        if limits != self._limits:
            raise StartError(
                f"the devices are not alike: one takes {self._limits}, another {limits}. Use "
                "devices of one kind, or set the batch limit to the smaller"
            )
        return self._backlog
