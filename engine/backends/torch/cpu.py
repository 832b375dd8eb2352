"""The network on the CPU: a batch's pairs are shared out among threads that never wait for another.

Threads that compute one product together meet at its end, and at the end of whatever follows it: a
hundred times a batch. Where something else wants a core too, as the event loop and the tokenizers
do, all of them wait every time for the one that was held up.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from torch import nn

from engine import architectures, backends, cpus
from engine.architectures.packing import Packing
from engine.backends.torch import memory, products
from engine.config import EngineConfig
from engine.types import Batch, Checkpoint, Limits, Logits

# What a thread is given at a time: products are no faster from there on, and others get in sooner.
# In smaller formats they are, and what is done around them counts for more.
_SHARD_TOKENS, _SMALL_FORMAT_SHARD_TOKENS, _SHARD_ROWS = 512, 1024, 128
# Python runs one thread at a time between products: where there are more cores, several share one
# shard. An estimate, from about 3 % of a shard's time on one core.
_MOST_WORKERS = 16
# Tokens are padded to steps of at least these many, and of 1/16 to 1/32 of what there is.
_LEAST_STEP, _STEP_BITS = 16, 5
_DEVICE = torch.device("cpu")
_DTYPES = {"bf16": torch.bfloat16}  # of the weights; int8 is made of float32

Shard = Sequence[int]  # rows of a batch


class CpuBackend:
    """Runs one network on so many threads."""

    packing = Packing
    lay_out = staticmethod(products.lay_out)

    def __init__(self, network: nn.Module, limits: Limits, threads: int, shard_tokens: int) -> None:
        self.limits = limits
        self._shard_tokens = shard_tokens
        self._network = network
        self._threads = threads
        self._workers = min(threads, _MOST_WORKERS)
        self._each = threads // self._workers
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="device-compute")
        self._running: list[Future[Logits]] = []

    def warm_up(self) -> None:
        """One pair: the rest needs nothing made beforehand."""
        self.score(backends.blank([8]))

    def score(self, batch: Batch) -> Logits:
        """Raw logits, float32 [rows]. Raises MemoryError where there is too little."""
        return self.start(batch)()

    def start(self, batch: Batch) -> Callable[[], Logits]:
        """Share a batch out behind those that run.

        A batch of fewer pairs than threads is computed by all threads together where it is alone.
        """
        shards = self._shards(batch)
        self._running = [future for future in self._running if not future.done()]
        together = self._each if self._running else self._alone(len(shards))
        futures = [self._pool.submit(self._score, batch.select(s), together) for s in shards]
        self._running += futures
        return partial(_gather, shards, futures)

    def _alone(self, shards: int) -> int:
        """Threads for each of so many shards where nothing else runs."""
        return max(self._each, self._threads // shards)

    def _shards(self, batch: Batch) -> Sequence[Shard]:
        return share_out(batch.lengths, self._workers, self._each * self._shard_tokens)

    @torch.inference_mode()
    def _score(self, batch: Batch, threads: int) -> Logits:
        torch.set_num_threads(threads)  # of this thread
        rows, batch = batch.rows, _padded(batch)
        arrays = (torch.from_numpy(a) for a in (batch.ids, batch.positions, batch.types))
        packing = self.packing.of(batch, _DEVICE, first_alone=True)
        logits: Logits = self._network(*arrays, packing).numpy()
        return logits[:rows]

    def cells(self, batch: Batch) -> int:
        """With the padding of every shard."""
        lengths = batch.lengths
        return sum(padded(sum(lengths[row] for row in shard)) for shard in self._shards(batch))

    def close(self) -> None:
        """Free the weights."""
        self._pool.shutdown()
        del self._network


def share_out(
    lengths: Sequence[int], workers: int, shard_tokens: int = _SHARD_TOKENS
) -> Sequence[Shard]:
    """Rows in shards of about so many tokens each, as many as keep all workers busy alike.

    The longest go first, each to the shard that has the fewest tokens so far.
    """
    rounds = max(1, round(sum(lengths) / (workers * shard_tokens)))
    shards: list[list[int]] = [[] for _ in range(min(rounds * workers, len(lengths)))]
    tokens = [0] * len(shards)
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        least = tokens.index(min(tokens))
        shards[least].append(row)
        tokens[least] += lengths[row]
    return shards


def padded(tokens: int) -> int:
    """The number of tokens that a shard of so many is computed with."""
    step = max(_LEAST_STEP, 1 << tokens.bit_length() >> _STEP_BITS)
    missing = -tokens % step
    return tokens + missing + step * (missing == 1)  # the padding is a pair, and has two sides


def _padded(batch: Batch) -> Batch:
    """With a pair of zeros behind the others, so that few different numbers of tokens are met."""
    if not (missing := padded(batch.tokens) - batch.tokens):
        return batch
    pad = backends.blank([missing])
    ids, positions, types = (
        np.concatenate(both)
        for both in (
            (batch.ids, pad.ids),
            (batch.positions, pad.positions),
            (batch.types, pad.types),
        )
    )
    offsets = np.append(batch.offsets, batch.offsets[-1] + np.int32(missing))
    return Batch(ids=ids, positions=positions, types=types, offsets=offsets)


def _gather(shards: Sequence[Shard], futures: Sequence["Future[Logits]"]) -> Logits:
    """The shards' logits, in the batch's order."""
    logits = np.empty(sum(map(len, shards)), dtype=np.float32)
    for shard, future in zip(shards, futures, strict=True):
        logits[list(shard)] = future.result()
    return logits


def open(checkpoint: Checkpoint, config: EngineConfig) -> CpuBackend:
    """In float32, unless asked for less. Raises StartError for what this CPU cannot do."""
    products.check(config.dtype)
    memory.keep_freed()
    threads = config.compute_threads or cpus.available()
    shard = _SMALL_FORMAT_SHARD_TOKENS if config.dtype in products.SMALL_FORMATS else _SHARD_TOKENS
    limits = backends.limits(checkpoint, config, threads * shard, threads * _SHARD_ROWS)
    kind = _compiled_kind(config.dtype) if config.compile else CpuBackend
    network = architectures.load(checkpoint, _DTYPES.get(config.dtype, torch.float32), _DEVICE)
    kind.lay_out(network, config.dtype)
    return kind(network, limits, threads, shard)


def _compiled_kind(dtype: str) -> type[CpuBackend]:
    from engine.backends.torch import compiled  # noqa: PLC0415 - the compiler is slow to import

    compiled.check(dtype)
    return compiled.CompiledBackend
