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
    tokens = {"ids": batch.ids, "positions": positions, "types": batch.types}
    return {
        **{name: _filled(array, shape.tokens) for name, array in tokens.items()},
        **_box(np.diff(batch.offsets), shape.tokens, shape.rows, shape.width),
    }


def half_inputs(batch: Batch, shape: Shape) -> dict[str, Ids]:
    """Inputs of a second box, with a row for each pair's query side and one for its passage side.

    half_mask: 1 where a cell is no padding.
    """
    lengths = np.array(batch.half_lengths, dtype=np.int32)
    rows = 2 * shape.rows
    box = _box(lengths, shape.tokens, rows, shape.width)
    mask = np.arange(shape.width) < lengths[:, None]
    return {f"half_{name}": array for name, array in box.items()} | {
        "half_mask": _filled(mask, rows)
    }


def dimensions(name: str, shape: Shape) -> tuple[int, ...]:
    """The dimensions of an input or output, by name."""
    rows = 2 * shape.rows if name.startswith("half_") else shape.rows
    kind = name.removeprefix("half_")
    if kind in ("cells", "mask"):
        return (rows, shape.width)
    return (rows,) if kind in ("lengths", "row_scores") else (shape.tokens,)


def _box(lengths: Ids, tokens: int, rows: int, width: int) -> dict[str, Ids]:
    """cells, places and lengths of sequences that lie end to end; see graph.Box."""
    starts = np.cumsum(lengths, dtype=np.int32) - lengths
    columns = np.minimum(np.arange(width), np.maximum(lengths[:, None] - 1, 0))
    row = np.repeat(np.arange(len(lengths)), lengths)
    inside = np.arange(len(row)) - np.repeat(starts, lengths)
    last = max(int(np.sum(lengths)) - 1, 0)
    return {
        "cells": _filled(np.minimum(starts[:, None] + columns, last), rows),
        "places": _filled(row * width + inside, tokens),
        "lengths": _filled(np.maximum(lengths, 1), rows, 1),  # no kernel likes an empty row
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
