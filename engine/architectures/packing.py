"""Attention and pooling over pairs packed end to end: no padding, no leaks."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn

from engine.types import Batch

# PyTorch before 2.13 groups heads without being asked.
_ASKS_FOR_GROUPS = "enable_gqa" in inspect.signature(varlen_attn).parameters

_VECTOR = 16  # float32 in one of the CPU's vectors


def on_device(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """The array there. A GPU copies it in its own time, behind what it was told before."""
    tensor = torch.from_numpy(array)
    if device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


@dataclass(frozen=True, slots=True)
class Packing:
    """Where each sequence lies on the token axis.

    offsets: int32 [rows+1]. runs: (first token, sequences, tokens each) of neighbours of equal
    length; each run is one dense attention call, so sorted batches need few. half_lengths: tokens
    of each pair's query side and passage side, in turn. varlen: one attention call for all of
    them, which only GPUs have. first_alone: of the last layer, what becomes of first tokens is
    computed and nothing else, where nothing else is read.
    """

    offsets: Tensor
    runs: tuple[tuple[int, int, int], ...]
    half_lengths: tuple[int, ...] = ()
    varlen: bool = False
    first_alone: bool = False

    @classmethod
    def of(
        cls, batch: Batch, device: torch.device, varlen: bool = False, first_alone: bool = False
    ) -> "Packing":
        """The packing of a batch's pairs."""
        return replace(
            cls._of(batch.lengths, device),
            half_lengths=tuple(batch.half_lengths),
            varlen=varlen,
            first_alone=first_alone,
        )

    def halves(self) -> "Packing":
        """The same tokens, each pair's query side and passage side a sequence of its own."""
        return replace(self._of(self.half_lengths, self.offsets.device), varlen=self.varlen)

    @classmethod
    def _of(cls, lengths: Sequence[int], device: torch.device) -> "Packing":
        runs: list[tuple[int, int, int]] = []
        start = 0
        for length in lengths:
            if runs and runs[-1][2] == length:
                first, pairs, _ = runs[-1]
                runs[-1] = (first, pairs + 1, length)
            else:
                runs.append((start, 1, length))
            start += length
        offsets = np.cumsum([0, *lengths], dtype=np.int32)
        return cls(on_device(offsets, device), tuple(runs))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Full bidirectional attention inside each pair.

        q: [T, heads, dim]; k, v: [T, kv_heads, dim], where each kv head serves heads / kv_heads
        consecutive query heads. Returns [T, heads * dim].
        """
        if self.varlen:
            return self._attend_at_once(q, k, v)
        out = torch.empty_like(q)
        for first, pairs, length in self.runs:
            mixed = _attend_run(q, k, v, (first, pairs, length))
            out[first : first + pairs * length] = mixed
        return out.flatten(1)

    def read(self, queries: Tensor, tokens: Tensor, scale: float) -> Tensor:
        """What each pair's queries read of its tokens, by softmax of scale · query · token.

        queries: [rows, n, width]; tokens: [T, width]. Returns [rows, n, width].
        """
        parts, row = [], 0
        for first, pairs, length in self.runs:
            keys = _keys(first, pairs, length, tokens)
            windows = _windows(tokens[:, None], first, pairs, length, keys)
            mask = None if keys == length else _mask(queries.shape[1], length, keys, tokens.dtype)
            asked = queries[row : row + pairs, None]
            parts.append(
                functional.scaled_dot_product_attention(asked, windows, windows, mask, scale=scale)
            )
            row += pairs
        return torch.cat(parts).squeeze(1)

    def _attend_at_once(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        ends, longest = self.offsets, max(length for _, _, length in self.runs)
        grouped: Any = {"enable_gqa": q.shape[1] != k.shape[1]} if _ASKS_FOR_GROUPS else {}
        mixed = varlen_attn(q, k, v, ends, ends, longest, longest, **grouped)
        assert isinstance(mixed, Tensor)
        return mixed.flatten(1)

    def first(self, hidden: Tensor) -> Tensor:
        """Each pair's first token (CLS): [T, hidden] → float32 [rows, hidden]."""
        return hidden[self.offsets[:-1]].float()

    def mean(self, values: Tensor) -> Tensor:
        """Mean over each pair's tokens: [T, n] → float32 [rows, n]."""
        if not values.is_cuda:
            return torch.segment_reduce(values.float(), "mean", offsets=self.offsets.long())
        # there, segment_reduce has one thread a segment; float64, as sums come in any order
        tokens = torch.arange(len(values), dtype=torch.int32, device=values.device)
        rows = torch.searchsorted(self.offsets[1:], tokens, right=True)
        sums = values.new_zeros(len(self.offsets), values.shape[1], dtype=torch.float64)
        sums.index_add_(0, rows, values.double())
        return (sums[:-1] / self.offsets.diff()[:, None]).float()


def _attend_run(q: Tensor, k: Tensor, v: Tensor, run: tuple[int, int, int]) -> Tensor:
    """Attention inside each pair of a run: [pairs * length, heads, dim]."""
    first, pairs, length = run
    keys = _keys(first, pairs, length, q)
    mixed = functional.scaled_dot_product_attention(
        _windows(q, first, pairs, length, length),
        _windows(k, first, pairs, length, keys),
        _windows(v, first, pairs, length, keys),
        attn_mask=None if keys == length else _mask(length, length, keys, q.dtype),
        enable_gqa=q.shape[1] != k.shape[1],
    )
    return mixed.transpose(1, 2).flatten(0, 1)


def _keys(first: int, pairs: int, length: int, tokens: Tensor) -> int:
    """Keys that each query is given: the pair's own, and on the CPU up to a whole vector of them.

    Its softmax takes what does not fill a vector one by one, which is up to twice as slow. The
    neighbour's tokens that fill it are masked, and weigh exactly 0 (a NaN alone gets through).
    """
    whole = -(-length // _VECTOR) * _VECTOR
    fits = first + (pairs - 1) * length + whole <= len(tokens)
    return whole if fits and tokens.device.type == "cpu" else length


def _windows(x: Tensor, first: int, pairs: int, length: int, width: int) -> Tensor:
    """[T, heads, dim] → [pairs, heads, width, dim]: from each pair's first token on, a view."""
    token, head, dim = x.stride()
    shape, strides = (pairs, width, *x.shape[1:]), (length * token, token, head, dim)
    return x[first:].as_strided(shape, strides).transpose(1, 2)


@lru_cache(maxsize=1024)
def _mask(queries: int, length: int, keys: int, dtype: torch.dtype) -> Tensor:
    """What is added to the scores, so that only the first keys count: [queries, keys]."""
    mask = torch.zeros(keys, dtype=dtype)
    mask[length:] = -torch.inf
    return mask.expand(queries, keys)
