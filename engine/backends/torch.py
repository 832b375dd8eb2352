"""PyTorch on the CPU, in float32."""

import torch
from torch import nn

from engine import architectures, cpus
from engine.architectures.packing import Packing
from engine.config import EngineConfig
from engine.types import Batch, Checkpoint, Limits, Logits

# Large enough to fill the matrix units, small enough to stay near the cache and let others in.
_CPU_BATCH_TOKENS = 2048
_CPU_BATCH_ROWS = 256


class TorchBackend:
    """Runs one network on one device."""

    def __init__(self, network: nn.Module, limits: Limits, device: torch.device) -> None:
        self.limits = limits
        self._network = network
        self._device = device

    @torch.inference_mode()
    def score(self, batch: Batch) -> Logits:
        """Raw logits, float32 [rows]. Raises MemoryError where the device has too little."""
        ids, positions, types = (
            torch.from_numpy(array).to(self._device)
            for array in (batch.ids, batch.positions, batch.types)
        )
        packing = Packing.of(batch, self._device)
        try:
            logits: Logits = self._network(ids, positions, types, packing).cpu().numpy()
        except torch.OutOfMemoryError as error:
            raise MemoryError(str(error)) from error  # the engine's word for it
        return logits

    def close(self) -> None:
        """Free the weights."""
        del self._network


def open(checkpoint: Checkpoint, config: EngineConfig) -> TorchBackend:
    """Load the checkpoint in float32: half precision is 5-6 times slower on most CPUs."""
    torch.set_num_threads(config.compute_threads or cpus.available())
    device = torch.device("cpu")
    network = architectures.load(checkpoint, torch.float32, device)
    tokens = config.max_batch_tokens or max(_CPU_BATCH_TOKENS, checkpoint.max_pair_tokens)
    return TorchBackend(network, Limits(tokens, _CPU_BATCH_ROWS), device)
