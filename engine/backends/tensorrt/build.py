"""A checkpoint and a recipe → a serialized plan. The long step; nothing here touches the disk."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from engine.architectures.scaled import Scales
from engine.backends.tensorrt import library, network, progress
from engine.backends.tensorrt.feeds import Shape, dimensions
from engine.backends.tensorrt.layers import LayerReport
from engine.backends.tensorrt.profiles import Profile
from engine.errors import StartError
from engine.types import Checkpoint

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp8": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a plan depends on beside the checkpoint and the builder.

    compute_capability: such as "8.9"; None builds for the GPU at hand. dtype: bf16, fp16, or fp8
    (bf16 around FP8 linear layers). scales: see Graph.
    """

    compute_capability: str | None
    dtype: str
    profiles: tuple[Profile, ...]
    scales: Scales | None = None


@dataclass(frozen=True, slots=True)
class Compiled:
    """A plan in memory, what the compiler reported, and the tactic timings to keep."""

    plan: Any  # a buffer
    report: LayerReport
    timings: bytes


def compile(
    trt: Any,
    checkpoint: Checkpoint,
    recipe: Recipe,
    on_progress: progress.OnProgress = lambda share, phase: None,
    timings: bytes = b"",
) -> Compiled:
    """Build the plan. Raises StartError with the builder's own reason; Ctrl-C ends it."""
    recorder = library.recorder(trt)
    recorder.lines.clear()
    recorder.errors.clear()
    builder = trt.Builder(recorder)
    definition = builder.create_network(0)
    graph = network.define(trt, definition, checkpoint, DTYPES[recipe.dtype], recipe.scales)
    config = builder.create_builder_config()
    config.progress_monitor = monitor = progress.monitor(trt, on_progress)
    cache = _configure(trt, config, recipe, timings)
    for profile in recipe.profiles:
        config.add_optimization_profile(_optimization_profile(builder, definition, profile))
    plan = _guarded(lambda: builder.build_serialized_network(definition, config))
    del graph  # it held the weights
    if monitor.cancelled:
        raise KeyboardInterrupt
    if plan is None:
        raise StartError(_reason(recorder.errors))
    report = LayerReport.read(recorder.lines)
    recorder.lines.clear()
    report.check(checkpoint.config.layers)
    return Compiled(plan, report, bytes(cache.serialize()) if cache else b"")


def _configure(trt: Any, config: Any, recipe: Recipe, timings: bytes) -> Any:
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.clear_flag(trt.BuilderFlag.TF32)  # what is float32 in the network is meant to be
    if recipe.compute_capability is not None:
        config.num_compute_capabilities = 1
        wanted = library.compute_capability(trt, recipe.compute_capability)
        config.set_compute_capability(wanted, 0)
    if not library.builds_here(trt):
        return None
    # a plan is named by compute capability: it must run on every GPU that has it
    config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY
    cache = config.create_timing_cache(timings)
    config.set_timing_cache(cache, ignore_mismatch=False)
    return cache


def _optimization_profile(builder: Any, definition: Any, profile: Profile) -> Any:
    largest = Shape(profile.tokens, profile.rows, profile.width)
    made = builder.create_optimization_profile()
    for number in range(definition.num_inputs):
        name = definition.get_input(number).name
        most = dimensions(name, largest)
        made.set_shape(name, (1,) * len(most), tuple(max(1, n // 2) for n in most), most)
    return made


def _guarded(build: Callable[[], Any]) -> Any:
    try:
        return build()
    except MemoryError as error:
        raise StartError("the build ran out of memory: free some, or build elsewhere") from error


def _reason(errors: list[str]) -> str:
    first = " ".join(errors[0].split()) if errors else "no reason given"
    if any(word in line.lower() for line in errors for word in ("out of memory", "allocat")):
        return f"the build ran out of memory: free some, or ask for smaller profiles ({first})"
    return f"the builder refused the network: {first}"
