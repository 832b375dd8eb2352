"""Backends: one file or folder each, found by name. A backend is only the forward pass.

Adding one is adding a module here with open(checkpoint, config) -> Backend.
"""

import importlib
import logging
import pkgutil
from typing import Protocol, cast

from engine.config import EngineConfig
from engine.errors import StartError
from engine.types import Batch, Checkpoint, Limits, Logits

log = logging.getLogger(__name__)


class Backend(Protocol):
    """Owns a device. Opened, used and closed by one thread."""

    @property
    def limits(self) -> Limits: ...

    def score(self, batch: Batch) -> Logits:
        """Raw logits, float32 [rows], in the batch's order. May raise; the batch then failed."""
        ...

    def cells(self, batch: Batch) -> int:
        """Token cells that attention works on for this batch, padding included."""
        ...

    def close(self) -> None: ...


def open_backend(checkpoint: Checkpoint, config: EngineConfig) -> Backend:
    """Load the checkpoint onto the configured device. Raises StartError."""
    name = _choose() if config.backend == "auto" else config.backend
    known = {info.name for info in pkgutil.iter_modules(__path__)} - {"faulty"}
    if name not in known:
        raise StartError(f"no backend {name!r}: choose one of auto, {', '.join(sorted(known))}")
    module = importlib.import_module(f"{__name__}.{name}")
    backend = cast(Backend, module.open(checkpoint, config))
    if not config.faults:
        return backend
    from engine.backends import faulty  # noqa: PLC0415 - it needs this module

    return faulty.wrap(backend, config.faults)


def _choose() -> str:
    """TensorRT where it and a GPU are there, else torch, on the GPU or the CPU."""
    choices = importlib.import_module(f"{__name__}.tensorrt.choices")
    name, reason = choices.choose_backend()
    log.info("the %s backend is used: %s", name, reason)
    return str(name)
