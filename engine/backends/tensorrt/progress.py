"""How far a build is, from the nested phases that the builder reports."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

OnProgress = Callable[[float, str], None]  # share done from 0 to 1, and the phase


@dataclass(slots=True)
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class Phases:
    """Adds up phases inside phases. The share never falls. Safe from any thread."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self._open: dict[str, _Phase] = {}
        self._share = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase begins, inside another one or at the top."""
        with self._lock:
            self._open[name] = _Phase(parent, max(1, steps))
            self._tell(name)

    def step(self, name: str, number: int) -> None:
        """Step `number` of a phase, counted from 0, is done."""
        with self._lock:
            if phase := self._open.get(name):
                phase.done = number + 1
                self._tell(name)

    def finish(self, name: str) -> None:
        """A phase ends, with all its steps done or not."""
        with self._lock:
            phase = self._open.pop(name, None)
            if phase and phase.parent is None:
                self._share = 1.0
                self._on_progress(1.0, name)

    def _tell(self, name: str) -> None:
        self._share = max(self._share, self._shares(name))
        self._on_progress(self._share, name)

    def _shares(self, name: str) -> float:
        """The whole build's share, given where this phase is."""
        share, at = 0.0, self._open.get(name)
        while at is not None:
            share = min(1.0, (at.done + share) / at.steps)
            at = self._open.get(at.parent) if at.parent is not None else None
        return share


def monitor(trt: Any, on_progress: OnProgress) -> Any:
    """An IProgressMonitor. Ctrl-C during a build ends it: see `cancelled`."""
    phases = Phases(on_progress)

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.cancelled = False

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.tell(phases.start, phase_name, parent_phase, num_steps)

        def phase_finish(self, phase_name: str) -> None:
            self.tell(phases.finish, phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self.tell(phases.step, phase_name, step)
            return not self.cancelled

        def tell(self, function: Callable[..., None], *args: Any) -> None:
            try:
                function(*args)
            except KeyboardInterrupt:  # raised here, as the builder runs no Python of its own
                self.cancelled = True

    return Monitor()
