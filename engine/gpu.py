"""What an NVIDIA GPU's errors mean to the engine, and how its work is recorded."""

import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from engine.errors import DeviceLostError

_one_recording = threading.Lock()


@contextmanager
def engine_errors() -> Iterator[None]:
    """Inside, a lack of memory is MemoryError, and an error that stays is DeviceLostError.

    After some errors CUDA refuses all further work of the process (an illegal address, a fallen
    bus): waiting for the device then raises as well.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        # its frames hold the failed batch's tensors, and the retry comes while it is handled
        traceback.clear_frames(error.__traceback__)
        raise MemoryError(str(error)) from error
    except RuntimeError as error:
        if _lost():
            raise DeviceLostError(f"the GPU computes no more: {error}") from error
        raise


def _lost() -> bool:
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


@contextmanager
def recording(
    graph: torch.cuda.CUDAGraph, stream: torch.cuda.Stream, pool: Any = None
) -> Iterator[None]:
    """Inside, this thread's work goes into the graph and is not run. One at a time in the process.

    stream: the caller's own, on the GPU at hand. Torch's choice would be one for all GPUs, on the
    first that records: on the others the graph would stay empty, and repeat old results for ever.
    """
    with _one_recording, torch.cuda.graph(graph, pool, stream, "thread_local"):
        yield  # the mode forbids allocating and waiting to this thread alone: other GPUs go on
