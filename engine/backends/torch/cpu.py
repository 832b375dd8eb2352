"""The network on the CPU, in float32: pairs of equal length share one attention call."""

import torch
from torch import nn

from engine import architectures, backends, cpus
from engine.architectures.packing import Packing
from engine.config import EngineConfig
from engine.errors import StartError
from engine.types import Batch, Checkpoint, Limits, Logits

# Large enough to fill the matrix units, small enough to stay near the cache and let others in.
_MAX_BATCH_TOKENS, _MAX_BATCH_ROWS = 2048, 256
_DEVICE = torch.device("cpu")


class CpuBackend:
    """Runs one network with the threads that torch was given."""

    def __init__(self, network: nn.Module, limits: Limits) -> None:
        self.limits = limits
        self._network = network

    def warm_up(self) -> None:
        """One pair: the rest needs nothing made beforehand."""
        self.score(backends.blank([8]))

    @torch.inference_mode()
    def score(self, batch: Batch) -> Logits:
        """Raw logits, float32 [rows]. Raises MemoryError where there is too little."""
        arrays = (torch.from_numpy(a) for a in (batch.ids, batch.positions, batch.types))
        logits: Logits = self._network(*arrays, Packing.of(batch, _DEVICE)).numpy()
        return logits

    def cells(self, batch: Batch) -> int:
        """Nothing is padded."""
        return batch.tokens

    def close(self) -> None:
        """Free the weights."""
        del self._network


def open(checkpoint: Checkpoint, config: EngineConfig) -> CpuBackend:
    """In float32: half precision is 5-6 times slower on most CPUs. Raises StartError."""
    if config.dtype not in ("auto", "fp32"):
        raise StartError(f"{config.dtype} needs a GPU, and torch finds none: use fp32 on the CPU")
    torch.set_num_threads(config.compute_threads or cpus.available())
    network = architectures.load(checkpoint, torch.float32, _DEVICE)
    limits = backends.limits(checkpoint, config, _MAX_BATCH_TOKENS, _MAX_BATCH_ROWS)
    return CpuBackend(network, limits)
