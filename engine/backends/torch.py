"""PyTorch: on an NVIDIA GPU in half precision with varlen attention, else on the CPU in float32."""

import logging
from typing import Any

import torch
from torch import Tensor, nn

from engine import architectures, cpus
from engine.architectures.packing import Packing
from engine.architectures.replay import Replay, capture
from engine.config import EngineConfig
from engine.errors import StartError
from engine.types import Batch, Checkpoint, Limits, Logits

log = logging.getLogger(__name__)

# Large enough to fill the matrix units, small enough to stay near the cache and let others in.
_CPU_LIMITS = Limits(max_batch_tokens=2048, max_batch_rows=256)
_CUDA_LIMITS = Limits(max_batch_tokens=16384, max_batch_rows=1024)
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


class TorchBackend:
    """Runs one network on one device.

    varlen: whether attention takes all pairs at once. replay: runs small batches, if given.
    """

    def __init__(
        self,
        network: nn.Module,
        limits: Limits,
        device: torch.device,
        varlen: bool = False,
        replay: Replay | None = None,
    ) -> None:
        self.limits = limits
        self._network = network
        self._device = device
        self._varlen = varlen
        self._replay = replay

    @torch.inference_mode()
    def score(self, batch: Batch) -> Logits:
        """Raw logits, float32 [rows]. Raises MemoryError where the device has too little."""
        try:
            small = self._replay is not None and self._replay.takes(batch)
            scored = self._replay.score(batch) if self._replay and small else self._run(batch)
            logits: Logits = scored.cpu().numpy()
        except torch.OutOfMemoryError as error:
            raise MemoryError(str(error)) from error  # the engine's word for it
        return logits

    def cells(self, batch: Batch) -> int:
        """Nothing is padded."""
        return batch.tokens

    def close(self) -> None:
        """Free the weights."""
        self._replay = None
        del self._network

    def _run(self, batch: Batch) -> Tensor:
        ids, positions, types = (
            torch.from_numpy(array).to(self._device)
            for array in (batch.ids, batch.positions, batch.types)
        )
        packing = Packing.of(batch, self._device, self._varlen)
        logits: Tensor = self._network(ids, positions, types, packing)
        return logits


def open(checkpoint: Checkpoint, config: EngineConfig) -> TorchBackend:
    """Load the checkpoint onto the first GPU asked for, or the CPU. Raises StartError."""
    if torch.cuda.is_available():
        return _open_cuda(checkpoint, config)
    if config.devices:
        raise StartError(f"GPU {config.devices[0]} was asked for, but torch finds none here")
    return _open_cpu(checkpoint, config)


def _open_cpu(checkpoint: Checkpoint, config: EngineConfig) -> TorchBackend:
    """In float32: half precision is 5-6 times slower on most CPUs."""
    if config.dtype not in ("auto", "fp32"):
        raise StartError(f"{config.dtype} needs a GPU, and torch finds none: use fp32 on the CPU")
    torch.set_num_threads(config.compute_threads or cpus.available())
    device = torch.device("cpu")
    network = architectures.load(checkpoint, torch.float32, device)
    return TorchBackend(network, _limits(_CPU_LIMITS, checkpoint, config), device)


def _open_cuda(checkpoint: Checkpoint, config: EngineConfig) -> TorchBackend:
    index = config.devices[0] if config.devices else 0
    if index >= (count := torch.cuda.device_count()):
        raise StartError(f"GPU {index} was asked for, but there are {count}: count from 0")
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)  # of this thread
    dtype = _cuda_dtype(config.dtype, device)
    try:
        network = architectures.load(checkpoint, dtype, device)
    except torch.OutOfMemoryError as error:
        free, total = (n >> 20 for n in torch.cuda.mem_get_info(device))
        raise StartError(
            f"the weights do not fit GPU {index}: {free} of {total} MiB are free. Free some"
        ) from error
    varlen = _has_varlen(device, dtype)
    limits = _limits(_CUDA_LIMITS, checkpoint, config)
    replay = Replay(network, device, capture) if varlen and _repeats(checkpoint) else None
    return TorchBackend(network, limits, device, varlen, replay)


def _repeats(checkpoint: Checkpoint) -> bool:
    """Whether the network does the same for every batch of one shape, so that it can be recorded.

    RoBERTa counts positions, and a ranker of halves splits pairs, by what is in the batch.
    """
    config: Any = checkpoint.config
    return checkpoint.family == "llama" or (config.prefix == "bert" and config.join_layer is None)


def _cuda_dtype(asked: str, device: torch.device) -> torch.dtype:
    if asked == "auto":
        ampere = torch.cuda.get_device_capability(device) >= (8, 0)
        return torch.bfloat16 if ampere else torch.float16
    if asked not in _DTYPES:
        raise StartError(f"torch runs no {asked}: choose one of {', '.join(_DTYPES)}")
    return _DTYPES[asked]


def _has_varlen(device: torch.device, dtype: torch.dtype) -> bool:
    """Try it, grouped heads and all: which kernel runs depends on GPU, dtype and build."""
    q = torch.zeros(6, 4, 64, dtype=dtype, device=device)
    packing = Packing(torch.tensor([0, 2, 6], device=device), ((0, 1, 2), (2, 1, 4)), varlen=True)
    try:
        packing.attend(q, q[:, :2], q[:, :2])
    except (RuntimeError, NotImplementedError, ValueError) as error:
        log.warning("attention runs pair by pair: %s", str(error).splitlines()[0])
        return False
    return True


def _limits(limits: Limits, checkpoint: Checkpoint, config: EngineConfig) -> Limits:
    tokens = config.max_batch_tokens or max(limits.max_batch_tokens, checkpoint.max_pair_tokens)
    return Limits(tokens, limits.max_batch_rows)
