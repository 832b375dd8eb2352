"""The TensorRT packages: which one is here, what it builds for, and its one logger a process.

Imports of `tensorrt` crash the process where there is no driver, so one is looked for first.
"""

import ctypes
import functools
import importlib
import importlib.util
import logging
from typing import Any

from engine.errors import StartError

log = logging.getLogger(__name__)

PACKAGES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
_LEVELS = {"INTERNAL_ERROR": 40, "ERROR": 40, "WARNING": 30, "INFO": 10, "VERBOSE": 5}


def installed(runtime: str) -> bool:
    """Whether the package of this runtime is there; nothing is imported."""
    return importlib.util.find_spec(PACKAGES[runtime]) is not None


@functools.cache
def driver_present() -> bool:
    """Whether an NVIDIA driver answers and has a GPU. Needs neither NVML nor torch."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return (
        cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    )


def load(runtime: str) -> Any:
    """The `trt` module of a runtime. Raises StartError with what is missing."""
    if runtime not in PACKAGES:
        raise StartError(f"no runtime {runtime!r}: choose one of {', '.join(PACKAGES)}")
    if not installed(runtime):
        raise StartError(f"{runtime} is not installed: pip install 'crossrank[{runtime}]'")
    if runtime == "tensorrt" and not driver_present():
        raise StartError(
            "tensorrt needs an NVIDIA driver and a GPU, and finds none: run it on the GPU host, or "
            "compile with the tensorrt-rtx runtime, which needs neither"
        )
    try:
        return importlib.import_module(PACKAGES[runtime])
    except (ImportError, OSError) as error:
        raise StartError(
            f"{runtime} is installed but cannot be loaded ({error}): install it again"
        ) from error


def version(trt: Any) -> str:
    """Such as "11.4.0.106"."""
    return str(trt.__version__)


def builds_here(trt: Any) -> bool:
    """Whether the builder works on the GPU it builds for, and keeps the timings of kernels."""
    return runtime_of(trt) == "tensorrt"


def runtime_of(trt: Any) -> str:
    """The runtime's name for a module that load() returned."""
    return next(name for name, package in PACKAGES.items() if package == trt.__name__)


def compute_capability(trt: Any, wanted: str) -> Any:
    """The builder's name for a compute capability such as "8.9". Raises StartError."""
    offered = {
        f"{name[2:-1]}.{name[-1]}": member
        for name, member in getattr(trt, "ComputeCapability", _Nothing).__members__.items()
        if name.startswith("SM")
    }
    if wanted not in offered:
        raise StartError(
            f"compute capability {wanted} is not among those that {trt.__name__} "
            f"{version(trt)} builds for ({', '.join(offered) or 'only the GPU at hand'}): build on "
            "the GPU itself with the tensorrt runtime"
        )
    return offered[wanted]


class _Nothing:
    __members__: dict[str, Any] = {}  # noqa: RUF012 - never written


@functools.cache
def recorder(trt: Any) -> Any:
    """The logger to give to every builder and runtime: only a process's first one is honoured.

    It forwards to logging and keeps what it heard in `lines`, which the user clears.
    """

    class Recorder(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[str] = []
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            level = _LEVELS.get(severity.name, logging.INFO)
            self.lines.append(message)
            if level >= logging.ERROR:
                self.errors.append(message)
            log.log(level, "%s", message)

    return Recorder()
