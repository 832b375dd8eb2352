"""The network on an NVIDIA GPU: half precision, varlen attention, graphs for small batches.

Nothing here waits for the GPU before the logits are asked for, so that the next batch is packed,
copied and queued while one runs.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from engine import architectures, backends
from engine.architectures import scaled
from engine.architectures.packing import Packing, on_device
from engine.architectures.replay import MOST_TOKENS, Replay, recorder
from engine.checkpoint import fingerprint
from engine.config import EngineConfig
from engine.errors import StartError
from engine.gpu import engine_errors
from engine.quantization import fp8
from engine.types import Batch, Checkpoint, Limits, Logits

log = logging.getLogger(__name__)

_MAX_BATCH_TOKENS, _MAX_BATCH_ROWS = 16384, 1024
_DTYPES = {
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp32": torch.float32,
    "fp8": torch.bfloat16,
}
_LEAST = {"bf16": (8, 0), "fp8": (8, 9)}  # compute capability


class CudaBackend:
    """Runs one network on one GPU. Tests compute on a CPU in the GPU's place.

    longest: tokens in the longest pair. varlen: whether attention takes all pairs at once.
    replay: runs small batches, if given.
    """

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        network: nn.Module,
        limits: Limits,
        longest: int,
        device: torch.device,
        varlen: bool,
        replay: Replay | None = None,
    ) -> None:
        self.limits = limits
        self._longest = longest
        self._network = network
        self._device = device
        self._varlen = varlen
        self._replay = replay

    def warm_up(self) -> None:
        """Compile kernels, record a graph, and see that the largest batch has enough memory.

        Raises StartError where it has not.
        """
        most = self.limits.max_batch_tokens
        try:
            # a shape is recorded when it comes again; kernels are compiled for one number of
            # tokens, and for all when another comes
            for tokens in (8, 8, MOST_TOKENS, MOST_TOKENS + 8, most):
                self.score(backends.blank(self._lengths(min(tokens, most))))
        except MemoryError as error:
            raise StartError(
                f"a batch of {most} tokens does not fit the GPU's memory: lower "
                "CROSSRANK_MAX_BATCH_TOKENS, or free some"
            ) from error

    def score(self, batch: Batch) -> Logits:
        """Raw logits, float32 [rows]. Raises MemoryError or DeviceLostError."""
        return self.start(batch)()

    @torch.inference_mode()
    def start(self, batch: Batch) -> Callable[[], Logits]:
        """Queue a batch. Raises as score() does."""
        with engine_errors():
            return _fetched(self._queued(batch))

    def cells(self, batch: Batch) -> int:
        """Nothing is padded."""
        return batch.tokens

    def close(self) -> None:
        """Free the weights."""
        self._replay = None
        del self._network

    def _lengths(self, tokens: int) -> list[int]:
        """As few pairs as have these tokens."""
        whole, rest = divmod(tokens, self._longest)
        return [self._longest] * whole + [rest] * bool(rest)

    def _queued(self, batch: Batch) -> Tensor:
        if self._replay is not None and self._replay.takes(batch):
            return self._replay.score(batch)
        arrays = (batch.ids, batch.positions, batch.types)
        packing = Packing.of(batch, self._device, self._varlen)
        logits: Tensor = self._network(*(on_device(a, self._device) for a in arrays), packing)
        return logits


def _fetched(logits: Tensor) -> Callable[[], Logits]:
    """Queue the copy of the logits to the host; calling the result waits for it."""
    if not logits.is_cuda:
        return partial(_numpy, logits)
    host = torch.empty(logits.shape, dtype=logits.dtype, pin_memory=True)
    host.copy_(logits, non_blocking=True)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record()

    def wait() -> Logits:
        with engine_errors():
            copied.synchronize()
        return _numpy(host)

    return wait


def _numpy(logits: Tensor) -> Logits:
    array: Logits = logits.numpy()
    return array


def open(checkpoint: Checkpoint, config: EngineConfig) -> CudaBackend:
    """Load the checkpoint onto the first GPU asked for. Raises StartError."""
    index = config.devices[0] if config.devices else 0
    if index >= (count := torch.cuda.device_count()):
        raise StartError(f"GPU {index} was asked for, but there are {count}: count from 0")
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)  # of this thread
    dtype = _dtype(config.dtype, device)
    try:
        network = architectures.load(checkpoint, dtype, device)
        if config.dtype == "fp8":
            scales = fp8.load(checkpoint, fingerprint(checkpoint))
            scaled.scale(network, fp8.linear_layers(network), scales)
    except torch.OutOfMemoryError as error:
        free, total = (n >> 20 for n in torch.cuda.mem_get_info(device))
        raise StartError(
            f"the weights do not fit GPU {index}: {free} of {total} MiB are free. Free some"
        ) from error
    varlen = _has_varlen(device, dtype)
    limits = backends.limits(checkpoint, config, _MAX_BATCH_TOKENS, _MAX_BATCH_ROWS)
    replay = Replay(network, device, recorder()) if varlen and _repeats(checkpoint) else None
    return CudaBackend(network, limits, checkpoint.max_pair_tokens, device, varlen, replay)


def _repeats(checkpoint: Checkpoint) -> bool:
    """Whether the network does the same for every batch of one shape, so that it can be recorded.

    RoBERTa counts positions, and a ranker of halves splits pairs, by what is in the batch.
    """
    config: Any = checkpoint.config
    return checkpoint.family == "llama" or (config.prefix == "bert" and config.join_layer is None)


def _dtype(asked: str, device: torch.device) -> torch.dtype:
    """What is computed in; around FP8 products too. Raises StartError for what the GPU has not."""
    capability = torch.cuda.get_device_capability(device)
    if asked == "auto":
        return torch.bfloat16 if capability >= _LEAST["bf16"] else torch.float16
    if asked not in _DTYPES:
        raise StartError(
            f"torch runs no {asked} on a GPU: choose one of auto, {', '.join(_DTYPES)}"
        )
    if capability < (least := _LEAST.get(asked, capability)):
        needed, found = (".".join(map(str, version)) for version in (least, capability))
        raise StartError(f"{asked} needs compute capability {needed}, and this GPU has {found}")
    return _DTYPES[asked]


def _has_varlen(device: torch.device, dtype: torch.dtype) -> bool:
    """Try it, grouped heads and all: which kernel runs depends on GPU, dtype and build."""
    q = torch.zeros(6, 4, 64, dtype=dtype, device=device)
    packing = Packing(
        torch.tensor([0, 2, 6], device=device).int(), ((0, 1, 2), (2, 1, 4)), varlen=True
    )
    try:
        packing.attend(q, q[:, :2], q[:, :2])
    except (RuntimeError, NotImplementedError, ValueError) as error:
        log.warning("attention runs pair by pair: %s", str(error).splitlines()[0])
        return False
    return True
