"""What to run, decided from what is there: package, number format, profiles."""

from dataclasses import dataclass

import torch

from engine.backends.tensorrt import build, library, profiles
from engine.backends.tensorrt.profiles import Profile
from engine.errors import StartError
from engine.types import Checkpoint

_ELSEWHERE_BYTES = 4 * 2**30  # for activations, where the GPU is not there to be asked
_SHARE = 0.8  # of a GPU's memory: the rest is the driver's and other processes'
_LEAST = {"fp16": "7.5", "bf16": "8.0", "fp8": "8.9"}


@dataclass(frozen=True, slots=True)
class Gpu:
    """The GPU that a plan is for. memory_bytes: all it has; None where it is not at hand."""

    compute_capability: str
    memory_bytes: int | None


def choose_backend() -> tuple[str, str]:
    """The backend for "auto", and why."""
    if not library.driver_present():
        return "torch", "there is no NVIDIA GPU here, so the CPU computes"
    if not torch.cuda.is_available():
        return "torch", "this torch has no CUDA, so the CPU computes though a GPU is here"
    if not any(library.installed(runtime) for runtime in library.PACKAGES):
        return "torch", "TensorRT is not installed, so torch runs on the GPU"
    return "tensorrt", "TensorRT and a GPU are here"


def choose_runtime() -> str:
    """The package to use: TensorRT's own, else TensorRT-RTX. Raises StartError without any."""
    for runtime in library.PACKAGES:
        if library.installed(runtime):
            return runtime
    extras = " or ".join(f"'crossrank[{name}]'" for name in library.PACKAGES)
    raise StartError(f"no TensorRT is installed: pip install {extras}, or use the torch backend")


def choose_dtype(asked: str, capability: str) -> str:
    """bf16 where the GPU has it, else fp16. Raises StartError for what it does not have."""
    if asked == "auto":
        return "bf16" if _number(capability) >= _number(_LEAST["bf16"]) else "fp16"
    if asked not in build.DTYPES:
        raise StartError(f"no plan dtype {asked!r}: choose one of auto, {', '.join(build.DTYPES)}")
    if _number(capability) < _number(_LEAST[asked]):
        raise StartError(
            f"{asked} needs compute capability {_LEAST[asked]} or newer, but this is for "
            f"{capability}: choose another dtype"
        )
    return asked


def choose_profiles(checkpoint: Checkpoint, gpu: Gpu, asked: str | None) -> tuple[Profile, ...]:
    """The profiles asked for, else those that the GPU's memory holds beside the weights.

    All its memory counts, not what is free now: the next start must choose the same.
    """
    if asked is not None:
        return profiles.parse(asked, checkpoint.max_pair_tokens)
    weights = sum(path.stat().st_size for path in set(checkpoint.tensors.values()))
    budget = _ELSEWHERE_BYTES
    if gpu.memory_bytes is not None:
        budget = max(0, int(gpu.memory_bytes * _SHARE) - weights)
    config = checkpoint.config
    each = profiles.token_bytes(config.hidden_size, config.intermediate_size)
    return profiles.choose(budget, each, checkpoint.max_pair_tokens)


def _number(capability: str) -> tuple[int, ...]:
    try:
        major, minor = capability.split(".")
        return int(major), int(minor)
    except ValueError:
        raise StartError(f"{capability!r} is no compute capability such as 8.9") from None
