"""PyTorch: on an NVIDIA GPU in half precision with varlen attention, else on the CPU."""

import torch

from engine.backends.torch import cpu, cuda
from engine.backends.torch.cpu import CpuBackend
from engine.backends.torch.cuda import CudaBackend
from engine.config import EngineConfig
from engine.errors import StartError
from engine.types import Checkpoint


def open(checkpoint: Checkpoint, config: EngineConfig) -> CpuBackend | CudaBackend:
    """Load the checkpoint onto the first GPU asked for, or the CPU. Raises StartError."""
    if torch.cuda.is_available():
        return cuda.open(checkpoint, config)
    if config.devices:
        raise StartError(f"GPU {config.devices[0]} was asked for, but torch finds none here")
    return cpu.open(checkpoint, config)
