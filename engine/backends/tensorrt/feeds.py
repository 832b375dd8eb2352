"""A packed batch → the network's input arrays; its output array → one logit a pair. Numpy only."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.types import Batch, Ids, Logits


@dataclass(frozen=True, slots=True)
class Shape:
    """What one engine call is shaped like: packed tokens, and the box that attention works on."""

    tokens: int
    rows: int
    width: int

    @classmethod
    def of(cls, batch: Batch) -> "Shape":
        """The smallest shape that holds the batch."""
        return cls(batch.tokens, batch.rows, max(batch.lengths))


def inputs(batch: Batch, positions: Ids, shape: Shape) -> dict[str, Ids]:
    """Every input any family has, by name, int32, filled up to `shape`.

    positions: the family's own, [T]. Tokens and rows beyond the batch are computed for nothing:
    they show token 0 and no cell shows them.
    """
    assert batch.tokens <= shape.tokens, "the batch's tokens fit the shape"
    assert batch.rows <= shape.rows, "the batch's rows fit the shape"
    lengths = np.diff(batch.offsets)
    columns = np.minimum(np.arange(shape.width), lengths[:, None] - 1)
    row = np.repeat(np.arange(batch.rows), lengths)
    return {
        "ids": _filled(batch.ids, shape.tokens),
        "positions": _filled(positions, shape.tokens),
        "types": _filled(batch.types, shape.tokens),
        "cells": _filled(batch.offsets[:-1, None] + columns, shape.rows),
        "places": _filled(row * shape.width + batch.positions, shape.tokens),
        "lengths": _filled(lengths, shape.rows, 1),
    }


def _token_scores(scores: NDArray[np.float32], batch: Batch) -> Logits:
    sums = np.add.reduceat(scores[: batch.tokens].astype(np.float64), batch.offsets[:-1])
    return (sums / np.diff(batch.offsets)).astype(np.float32)


def _row_scores(scores: NDArray[np.float32], batch: Batch) -> Logits:
    return scores[: batch.rows].copy()


# By the network's output: float32 [tokens] to be averaged, or [rows].
REDUCE: dict[str, Callable[[NDArray[np.float32], Batch], Logits]] = {
    "token_scores": _token_scores,
    "row_scores": _row_scores,
}


def _filled(array: NDArray[np.generic], size: int, fill: int = 0) -> Ids:
    out = np.full((size, *array.shape[1:]), fill, dtype=np.int32)
    out[: len(array)] = array
    return out
