"""Reads typed fields out of a config.json, with errors that name the field and what it holds."""

import math
from collections.abc import Mapping
from typing import Any

from engine.errors import CheckpointError

Raw = Mapping[str, Any]
_REQUIRED = object()


def count(raw: Raw, name: str, default: object = _REQUIRED, least: int = 1) -> int:
    """A whole number, positive unless `least` says otherwise."""
    value = raw.get(name)
    value = default if value is None else value
    if value is _REQUIRED:
        raise CheckpointError(f"config.json has no {name!r}, and there is no safe default for it")
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise CheckpointError(
            f"config.json: {name} must be a whole number above {least - 1}, not {value!r}"
        )
    return value


def positive(raw: Raw, name: str, default: object = _REQUIRED) -> float:
    """A number above 0, and finite."""
    value = raw.get(name)
    value = default if value is None else value
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise CheckpointError(f"config.json: {name} must be a number above 0, not {value!r}")
    return float(value)


def one_of(raw: Raw, name: str, allowed: tuple[str, ...], default: str | None = None) -> str:
    """One of a few words."""
    value = raw.get(name)
    value = default if value is None else value
    if value not in allowed:
        raise CheckpointError(
            f"config.json: {name} is {value!r}; crossrank serves {' or '.join(map(repr, allowed))}"
        )
    return str(value)


def must_be_off(raw: Raw, *names: str) -> None:
    """Switches that would change the network in a way crossrank does not build."""
    for name in names:
        if raw.get(name):
            raise CheckpointError(f"config.json: {name} is {raw[name]!r}, which is not served")


def architecture(raw: Raw, allowed: tuple[str, ...]) -> str:
    """The class the checkpoint was saved from; it says whether there is a head, and which."""
    names = raw.get("architectures")
    for name in names if isinstance(names, list) else ():
        if name in allowed:
            return str(name)
    raise CheckpointError(
        f"config.json: architectures is {names!r}; a reranker of this family is saved from "
        f"{' or '.join(allowed)}. A causal model, or one without a ranking head, would give "
        "wrong scores."
    )


def single_label(raw: Raw) -> None:
    """Refuse a classifier of several labels. Silent configs are settled by the head's shape."""
    labels = raw.get("id2label")
    number = len(labels) if isinstance(labels, Mapping) else raw.get("num_labels") or 1
    if number != 1:
        raise CheckpointError(
            f"config.json declares {number} labels; a reranker has exactly 1 (one logit a pair)"
        )


def divides(raw_name: str, part: int, whole_name: str, whole: int) -> None:
    """Check that `whole` splits evenly into `part` pieces."""
    if whole % part:
        raise CheckpointError(
            f"config.json: {raw_name} ({part}) does not divide {whole_name} ({whole})"
        )
