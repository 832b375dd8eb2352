"""TensorRT: the checkpoint compiled for its GPU, on the first start or by `crossrank build`.

Packed tokens in every linear layer; padding, to a box of rows and width, in attention only.
"""

import mmap
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.backends.tensorrt import library, plans
from engine.backends.tensorrt.choices import choose_runtime
from engine.backends.tensorrt.device import CudaDevice, at_hand
from engine.backends.tensorrt.manifest import PLAN, Manifest
from engine.backends.tensorrt.runtime import TensorRTBackend
from engine.config import EngineConfig
from engine.errors import StartError
from engine.types import Checkpoint


def open(checkpoint: Checkpoint, config: EngineConfig) -> TensorRTBackend:
    """Get a plan that fits, compiling one if need be, and load it. Raises StartError."""
    index = config.devices[0] if config.devices else 0
    gpu = at_hand(index)
    if gpu is None:
        raise StartError(
            "the tensorrt backend needs an NVIDIA GPU and a torch with CUDA, and finds none: use "
            "the torch backend"
        )
    trt = library.load(choose_runtime())
    device = CudaDevice(index)  # the builder times its kernels on this thread's GPU
    folder = plans.obtain(trt, checkpoint, config, gpu)
    manifest = Manifest.read(folder)
    manifest.verify(folder)
    profiles = manifest.identity.profiles
    if (widest := max(profile.width for profile in profiles)) < checkpoint.max_pair_tokens:
        raise StartError(
            f"the plan in {folder} takes pairs of {widest} tokens, but one may have "
            f"{checkpoint.max_pair_tokens}: lower the pair limit, or build the plan again"
        )
    engine = _load(trt, folder / PLAN)
    backend = TensorRTBackend(trt, engine, checkpoint, profiles, device)
    if config.max_batch_tokens is not None:
        backend.limits = replace(backend.limits, max_batch_tokens=config.max_batch_tokens)
    return backend


def _load(trt: Any, path: Path) -> Any:
    runtime = trt.Runtime(library.recorder(trt))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as plan:
        engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        reason = " ".join(library.recorder(trt).errors[-1:]) or "no reason given"
        raise StartError(f"{path} cannot be loaded ({reason}): delete its folder and start again")
    return engine
