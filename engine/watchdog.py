"""Notices a device that does not come back from a batch."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial


class Watchdog:
    """Calls on_stuck, once and on a thread of its own, when a batch outlasts the limit."""

    def __init__(self, limit_seconds: float, on_stuck: Callable[[], None]) -> None:
        self._limit = limit_seconds
        self._on_stuck = on_stuck
        self._changed = threading.Condition()
        self._running = self._closed = False
        self._batch = 0

    def start(self) -> None:
        """Watch from now on."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """The limit runs while the body does."""
        self._set(running=True)
        try:
            yield
        finally:
            self._set(running=False)

    def close(self) -> None:
        """Stop watching."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _set(self, running: bool) -> None:
        with self._changed:
            self._running = running
            self._batch += 1
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while not self._closed:
                moved = partial(self._moved_since, self._batch)
                if not self._changed.wait_for(moved, self._limit if self._running else None):
                    break
            stuck = not self._closed
        if stuck:
            self._on_stuck()

    def _moved_since(self, batch: int) -> bool:
        return self._closed or self._batch != batch
