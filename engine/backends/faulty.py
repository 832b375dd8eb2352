"""Wraps a backend and makes it fail on purpose, for trying out what a service does then.

Never chosen unless faults are configured: "error=0.01,memory=0.01,nan=0.01,stuck=0.001,seed=7".
"""

import logging
import random
import threading
from collections.abc import Callable

import numpy as np

from engine.backends import Backend, OverlappingBackend
from engine.errors import StartError
from engine.types import Batch, Logits

log = logging.getLogger(__name__)

KINDS = ("error", "memory", "nan", "stuck")


class FaultyBackend:
    """Fails each batch with the given probabilities, drawn from a seeded generator."""

    def __init__(self, backend: Backend, rates: dict[str, float], seed: int) -> None:
        self.limits = backend.limits
        self._backend = backend
        self._rates = rates
        self._random = random.Random(seed)  # noqa: S311 - repeatable, not secret

    def warm_up(self) -> None:
        """As wrapped, without faults: else nothing would ever start."""
        self._backend.warm_up()

    def score(self, batch: Batch) -> Logits:
        """Raw logits, float32 [rows], unless this batch is to fail."""
        return self._struck(self._backend.score(batch))

    def _struck(self, logits: Logits) -> Logits:
        if self._drawn("stuck"):
            threading.Event().wait()
        if self._drawn("memory"):
            raise MemoryError("injected")
        if self._drawn("error"):
            raise RuntimeError("injected")
        if self._drawn("nan"):
            logits[self._random.randrange(len(logits))] = np.nan
        return logits

    def cells(self, batch: Batch) -> int:
        """As wrapped."""
        return self._backend.cells(batch)

    def close(self) -> None:
        """Close what is wrapped."""
        self._backend.close()

    def _drawn(self, kind: str) -> bool:
        drawn = self._random.random() < self._rates.get(kind, 0.0)
        if drawn:
            log.warning("injected fault: %s", kind)
        return drawn


class OverlappingFaultyBackend(FaultyBackend):
    """The same around a backend that overlaps."""

    _backend: OverlappingBackend

    def start(self, batch: Batch) -> Callable[[], Logits]:
        """As wrapped; a batch that is to fail does so when it is waited for."""
        wait = self._backend.start(batch)
        return lambda: self._struck(wait())


def wrap(backend: Backend, faults: str) -> FaultyBackend:
    """The backend with these faults. Raises StartError for a text that is not understood."""
    try:
        values = dict(item.split("=") for item in faults.replace(" ", "").split(","))
        seed = int(values.pop("seed", "0"))
        rates = {kind: float(value) for kind, value in values.items()}
    except ValueError as error:
        raise StartError(f"faults {faults!r} are not KIND=RATE,...") from error
    wrong = [k for k, rate in rates.items() if k not in KINDS or not 0 <= rate <= 1]
    if wrong:
        raise StartError(
            f"faults: {wrong[0]} is not one of {', '.join(KINDS)} at a rate from 0 to 1"
        )
    overlaps = isinstance(backend, OverlappingBackend)
    kind = OverlappingFaultyBackend if overlaps else FaultyBackend
    return kind(backend, rates, seed)
