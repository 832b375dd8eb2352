"""Backends: one file or folder each, found by name. A backend is only the forward pass.

Adding one is adding a module here with open(checkpoint, config) -> Backend.
"""

import importlib
import logging
import pkgutil
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, cast, runtime_checkable

import numpy as np

from engine.config import EngineConfig
from engine.errors import DeviceLostError, StartError
from engine.types import Batch, Checkpoint, Limits, Logits, Pair

log = logging.getLogger(__name__)


class Backend(Protocol):
    """Owns a device. Opened, used and closed by one thread."""

    @property
    def limits(self) -> Limits: ...

    def warm_up(self) -> None:
        """Run what the first batches would otherwise wait for. Raises where nothing can run."""
        ...

    def score(self, batch: Batch) -> Logits:
        """Raw logits, float32 [rows], in the batch's order. May raise; the batch then failed."""
        ...

    def cells(self, batch: Batch) -> int:
        """Token cells that attention works on for this batch, padding included."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class OverlappingBackend(Backend, Protocol):
    """A backend that is given the next batch while it runs one."""

    def start(self, batch: Batch) -> Callable[[], Logits]:
        """Begin a batch behind those that run. Calling the result waits for what score() gives."""
        ...


def limits(checkpoint: Checkpoint, config: EngineConfig, tokens: int, rows: int) -> Limits:
    """As configured, else these tokens, widened to the longest pair; and these rows."""
    return Limits(config.max_batch_tokens or max(tokens, checkpoint.max_pair_tokens), rows)


def blank(lengths: Sequence[int]) -> Batch:
    """A batch of pairs of these lengths, for warming up: its scores mean nothing."""
    return Batch.pack([Pair(np.zeros(n, dtype=np.int32), split=max(1, n // 2)) for n in lengths])


def open_backend(checkpoint: Checkpoint, config: EngineConfig) -> Backend:
    """Load the checkpoint onto the configured device. Raises StartError."""
    opened = _open_best if config.backend == "auto" else partial(_open, config.backend)
    backend = opened(checkpoint, config)
    if not config.faults:
        return backend
    from engine.backends import faulty  # noqa: PLC0415 - it needs this module

    return faulty.wrap(backend, config.faults)


def _open_best(checkpoint: Checkpoint, config: EngineConfig) -> Backend:
    """TensorRT where it and a GPU are there and it runs, else torch, on the GPU or the CPU.

    A plan that was given is never left aside.
    """
    choices = importlib.import_module(f"{__name__}.tensorrt.choices")
    name, reason = choices.choose_backend()
    log.info("the %s backend is used: %s", name, reason)
    if name != "tensorrt" or config.plan is not None:
        return _open(name, checkpoint, config)
    try:
        return _warmed(_open(name, checkpoint, config))
    except DeviceLostError:
        raise
    except Exception as error:  # whatever it is, torch can still serve
        log.warning("TensorRT cannot be used (%s): the torch backend is used in its place", error)
    return _open("torch", checkpoint, config)


def _warmed(backend: Backend) -> Backend:
    """One that fails is closed: another is to have its memory."""
    try:
        backend.warm_up()
    except BaseException:
        backend.close()
        raise
    return backend


def _open(name: str, checkpoint: Checkpoint, config: EngineConfig) -> Backend:
    known = {info.name for info in pkgutil.iter_modules(__path__)} - {"faulty"}
    if name not in known:
        raise StartError(f"no backend {name!r}: choose one of auto, {', '.join(sorted(known))}")
    module = importlib.import_module(f"{__name__}.{name}")
    return cast(Backend, module.open(checkpoint, config))
