"""Which plan a checkpoint needs on which GPU, and getting it: a given, a kept or a new one."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine import checkpoint as checkpoints
from engine.architectures.scaled import Scales
from engine.backends.tensorrt import build, library, store
from engine.backends.tensorrt.build import Compiled, Recipe
from engine.backends.tensorrt.choices import Gpu, choose_dtype, choose_profiles, choose_runtime
from engine.backends.tensorrt.device import at_hand
from engine.backends.tensorrt.manifest import Identity, Manifest, scales_digest
from engine.backends.tensorrt.progress import OnProgress
from engine.checkpoint import fingerprint
from engine.config import BuildRequest, EngineConfig
from engine.errors import StartError
from engine.quantization import calibration, fp8
from engine.types import Checkpoint

log = logging.getLogger(__name__)


def obtain(trt: Any, checkpoint: Checkpoint, config: EngineConfig, gpu: Gpu) -> Path:
    """The folder of a plan that fits: the configured one, else one of the cache's.

    Compiles it if the cache has none. Raises StartError: a given plan that does not fit is
    refused, with both values named.
    """
    dtype = choose_dtype(config.dtype, gpu.compute_capability)
    if config.plan is not None:
        _check_given(config, _identity(trt, checkpoint, gpu, Recipe(None, dtype, ())))
        return config.plan
    recipe = _recipe(trt, checkpoint, gpu, dtype, None)
    root = cache_root(config) / "plans"
    compile = _compiler(trt, checkpoint, recipe, cache_root(config), logged())
    return store.obtain(root, checkpoint, _identity(trt, checkpoint, gpu, recipe), compile)


def make(config: EngineConfig, request: BuildRequest, tell: OnProgress) -> Path:
    """Compile a plan as requested. Returns its folder.

    Raises StartError, or KeyboardInterrupt when interrupted.
    """
    runtime = request.runtime or choose_runtime()
    here = at_hand(config.devices[0] if config.devices else 0)
    gpu = _target(runtime, request.compute_capability, here)
    trt = library.load(runtime)
    if not library.builds_here(trt):
        library.compute_capability(trt, gpu.compute_capability)  # refused before the weights load
    checkpoint = checkpoints.load(config)
    dtype = choose_dtype(request.dtype, gpu.compute_capability)
    if request.calibration is not None and dtype == "fp8":
        calibration.run(checkpoint, request.calibration)
    recipe = _recipe(trt, checkpoint, gpu, dtype, request.profiles)
    identity = _identity(trt, checkpoint, gpu, recipe)
    compile = _compiler(trt, checkpoint, recipe, cache_root(config), tell)
    if request.output is None:
        return store.obtain(cache_root(config) / "plans", checkpoint, identity, compile)
    store.replace(request.output, checkpoint, identity, compile)
    return request.output


def cache_root(config: EngineConfig) -> Path:
    """Where plans and tactic timings are kept."""
    return config.cache_dir or Path.home() / ".cache" / "crossrank"


def logged() -> OnProgress:
    """Progress as log lines, one for each tenth of the way."""
    told = -1

    def tell(share: float, phase: str) -> None:
        nonlocal told
        if int(share * 10) > told:
            told = int(share * 10)
            log.info("building the TensorRT plan: %d %% (%s)", told * 10, phase)

    return tell


def _target(runtime: str, wanted: str | None, gpu: Gpu | None) -> Gpu:
    """What to build for. Only TensorRT-RTX builds for a GPU that is not there."""
    if wanted is None:
        if gpu is None:
            raise StartError("no GPU is here: say which one to build for (--compute-capability)")
        return gpu
    if gpu is not None and wanted == gpu.compute_capability:
        return gpu
    if runtime == "tensorrt":
        have = gpu.compute_capability if gpu else "none"
        raise StartError(
            f"tensorrt builds for the GPU at hand ({have}), and {wanted} was asked for: build on "
            "that GPU, or use the tensorrt-rtx runtime"
        )
    return Gpu(wanted, None)


def _recipe(trt: Any, checkpoint: Checkpoint, gpu: Gpu, dtype: str, profiles: str | None) -> Recipe:
    """TensorRT builds for the GPU it runs on, and is told none; RTX is told which."""
    return Recipe(
        None if library.builds_here(trt) else gpu.compute_capability,
        dtype,
        choose_profiles(checkpoint, gpu, profiles),
        _scales(checkpoint, dtype),
    )


def _check_given(config: EngineConfig, wanted: Identity) -> None:
    assert config.plan is not None
    found = Manifest.read(config.plan).identity
    ignored = ["profiles", "scales"] + (["dtype"] if config.dtype == "auto" else [])
    if differences := found.differences(wanted, ignored):
        raise StartError(
            f"the plan in {config.plan} does not fit: {'; '.join(differences)}. Build it again "
            "with `crossrank build`, or give no plan and one is built at start"
        )


def _identity(trt: Any, checkpoint: Checkpoint, gpu: Gpu, recipe: Recipe) -> Identity:
    return Identity(
        checkpoint=fingerprint(checkpoint),
        runtime=library.runtime_of(trt),
        version=library.version(trt),
        compute_capability=gpu.compute_capability,
        dtype=recipe.dtype,
        profiles=recipe.profiles,
        scales=scales_digest(recipe.scales),
    )


def _compiler(
    trt: Any, checkpoint: Checkpoint, recipe: Recipe, root: Path, tell: OnProgress
) -> Callable[[], Compiled]:
    """Compiles with the tactic timings of earlier builds, and keeps those of this one."""
    kept = root / "timings" / f"{library.runtime_of(trt)}-{library.version(trt)}.bin"

    def compile() -> Compiled:
        timings = kept.read_bytes() if kept.is_file() else b""
        compiled = build.compile(trt, checkpoint, recipe, tell, timings)
        if compiled.timings:
            store.keep(kept, compiled.timings)
        return compiled

    return compile


def _scales(checkpoint: Checkpoint, dtype: str) -> Scales | None:
    return fp8.load(checkpoint, fingerprint(checkpoint)) if dtype == "fp8" else None
