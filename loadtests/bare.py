"""The bare model's pace: a backend driven as the worker drives it, with nothing else around it."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from engine.backends import Backend, OverlappingBackend
from engine.types import Batch, Logits


def score_all(backend: Backend, batches: Sequence[Batch]) -> list[Logits]:
    """Every batch's logits; where the backend overlaps, two batches are under way at a time."""
    return list(_scored(backend, batches))


def _scored(backend: Backend, batches: Sequence[Batch]) -> Iterator[Logits]:
    if not isinstance(backend, OverlappingBackend):
        yield from map(backend.score, batches)
        return
    running: deque[Callable[[], Logits]] = deque()
    for batch in batches:
        running.append(backend.start(batch))
        if len(running) == 2:
            yield running.popleft()()
    for wait in running:
        yield wait()
