"""What each model family's config and tensors look like. One file a family; no torch here.

A family is a module with MODEL_TYPES, parse(), tensors() and IGNORED; engine/architectures has the
network of the same name. Adding a family is adding those two files.
"""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from engine.errors import CheckpointError

Shape = tuple[int, ...]


class FamilyConfig(Protocol):
    """What every family's config tells the rest of the engine."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def intermediate_size(self) -> int: ...
    @property
    def max_pair_tokens(self) -> int: ...
    @property
    def template(self) -> str | None: ...


class Family(Protocol):
    """One family's module. IGNORED: patterns of tensor names that may be there and are unused."""

    MODEL_TYPES: tuple[str, ...]
    IGNORED: tuple[str, ...]

    def parse(self, raw: Mapping[str, Any]) -> FamilyConfig: ...
    def tensors(self, config: FamilyConfig) -> Iterable[tuple[str, Shape]]: ...


def find(model_type: object) -> tuple[str, Any]:
    """The name and the module of the family that reads this `model_type`.

    Raises CheckpointError for a type that no family reads.
    """
    known = []
    for name, family in _families():
        if model_type in family.MODEL_TYPES:
            return name, family
        known.extend(family.MODEL_TYPES)
    raise CheckpointError(
        f"model_type {model_type!r} is not served: crossrank serves the cross-encoder families "
        f"{', '.join(sorted(known))}. Causal and encoder-decoder models would give wrong scores."
    )


def _families() -> Iterator[tuple[str, Any]]:
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        if hasattr(module, "MODEL_TYPES"):
            yield info.name, module
