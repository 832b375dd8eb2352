"""Attention and pooling over pairs packed end to end: no padding, no leaks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.varlen import varlen_attn

from engine.types import Batch


@dataclass(frozen=True, slots=True)
class Packing:
    """Where each sequence lies on the token axis.

    offsets: int64 [rows+1]. runs: (first token, sequences, tokens each) of neighbours of equal
    length; each run is one dense attention call, so sorted batches need few. half_lengths: tokens
    of each pair's query side and passage side, in turn. varlen: one attention call for all of
    them, which only GPUs have.
    """

    offsets: Tensor
    runs: tuple[tuple[int, int, int], ...]
    half_lengths: tuple[int, ...] = ()
    varlen: bool = False

    @classmethod
    def of(cls, batch: Batch, device: torch.device, varlen: bool = False) -> "Packing":
        """The packing of a batch's pairs."""
        halves = tuple(batch.half_lengths)
        return replace(cls._of(batch.lengths, device), half_lengths=halves, varlen=varlen)

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
        offsets = torch.tensor([0, *lengths], device=device).cumsum(0)
        return cls(offsets, tuple(runs))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Full bidirectional attention inside each pair.

        q: [T, heads, dim]; k, v: [T, kv_heads, dim], where each kv head serves heads / kv_heads
        consecutive query heads. Returns [T, heads * dim].
        """
        if self.varlen:
            return self._attend_at_once(q, k, v)
        out = torch.empty_like(q)
        for first, pairs, length in self.runs:
            span = slice(first, first + pairs * length)
            q_, k_, v_ = (
                x[span].view(pairs, length, *x.shape[1:]).transpose(1, 2) for x in (q, k, v)
            )
            scores = functional.scaled_dot_product_attention(
                q_, k_, v_, enable_gqa=q.shape[1] != k.shape[1]
            )
            out[span] = scores.transpose(1, 2).flatten(0, 1)
        return out.flatten(1)

    def _attend_at_once(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        ends, longest = self.offsets.int(), max(length for _, _, length in self.runs)
        grouped = q.shape[1] != k.shape[1]
        mixed = varlen_attn(q, k, v, ends, ends, longest, longest, enable_gqa=grouped)
        assert isinstance(mixed, Tensor)
        return mixed.flatten(1)

    def first(self, hidden: Tensor) -> Tensor:
        """Each pair's first token (CLS): [T, hidden] → float32 [rows, hidden]."""
        return hidden[self.offsets[:-1]].float()

    def mean(self, hidden: Tensor) -> Tensor:
        """Mean over each pair's tokens: [T, hidden] → float32 [rows, hidden]."""
        return torch.segment_reduce(hidden.float(), "mean", offsets=self.offsets)
