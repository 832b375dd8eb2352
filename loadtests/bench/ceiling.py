"""The bare model: crossrank's own backend on sorted, full batches, with no HTTP and no queue.

Also what the machine's matrix products can do, beside which the model's work is put.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import checkpoint as checkpoints
from engine.backends import open_backend
from engine.config import EngineConfig
from engine.tokenizer import PairTokenizer
from engine.types import Batch, Checkpoint, Pair, Query
from loadtests.bare import score_all
from loadtests.bench.mixes import Request
from loadtests.clock import gemm_rate

_GEMM_SIZES = (512, 1024, 2048)


@dataclass(frozen=True, slots=True)
class BareRun:
    """Seconds of the forward passes alone, and the logits of each request."""

    passages: int
    seconds: float
    logits: list[list[float]]

    @property
    def passages_per_second(self) -> float:
        """Throughput."""
        return self.passages / self.seconds


class BareModel:
    """Owns a backend of its own, in this process."""

    def __init__(self, folder: Path, **way: Any) -> None:
        """way: of EngineConfig's, how to run it. Raises StartError where this machine cannot."""
        config = EngineConfig(checkpoint=str(folder), **way)
        self.checkpoint = checkpoints.load(config)
        self._backend = open_backend(self.checkpoint, config)
        self._tokenizer = PairTokenizer(self.checkpoint)
        self._backend.warm_up()

    def run(self, requests: Sequence[Request]) -> BareRun:
        """Score every pair of all requests, longest first. Tokenizing and packing are not timed."""
        pairs = asyncio.run(self._pairs(requests))
        order = sorted(range(len(pairs)), key=lambda i: -pairs[i].tokens)
        limits = self._backend.limits
        sizes = limits.max_batch_tokens, limits.max_batch_rows
        batches = list(packed([pairs[i] for i in order], *sizes))
        start = time.perf_counter()
        scored = score_all(self._backend, batches)
        seconds = time.perf_counter() - start
        flat = dict(zip(order, (float(x) for logits in scored for x in logits), strict=True))
        logits = iter(flat[i] for i in range(len(pairs)))
        return BareRun(len(pairs), seconds, [[next(logits) for _ in r.passages] for r in requests])

    def close(self) -> None:
        """Free the weights."""
        self._tokenizer.close()
        self._backend.close()

    async def _pairs(self, requests: Sequence[Request]) -> list[Pair]:
        queries = [Query(request.query, request.passages) for request in requests]
        encoded = [await self._tokenizer.encode(query) for query in queries]
        return [pair for pairs in encoded for pair in pairs]


def packed(pairs: Sequence[Pair], max_tokens: int, max_rows: int) -> Iterator[Batch]:
    """The pairs in full batches, in their order."""
    batch: list[Pair] = []
    tokens = 0
    for pair in pairs:
        full = tokens + pair.tokens > max_tokens or len(batch) >= max_rows
        if batch and full:
            yield Batch.pack(batch)
            batch, tokens = [], 0
        batch.append(pair)
        tokens += pair.tokens
    yield Batch.pack(batch)


def gemm_peak() -> float:
    """FLOP/s of the best float32 square matrix product, with the threads that torch has."""
    return max(gemm_rate(size) for size in _GEMM_SIZES)


def forward_flops(checkpoint: Checkpoint, lengths: Sequence[int]) -> float:
    """Of these pairs, as the model is written: two for each weight and token, attention, pooler.

    crossrank leaves out what the last layer computes and nobody reads; its share counts it.
    """
    config: Any = checkpoint.config
    hidden, layers = config.hidden_size, config.layers
    weights = layers * (4 * hidden**2 + 2 * hidden * config.intermediate_size)
    body = sum(n * (2 * weights + 4 * hidden * layers * n) for n in lengths)
    return float(body + 2 * hidden**2 * len(lengths))
