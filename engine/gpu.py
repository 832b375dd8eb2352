"""What an NVIDIA GPU's errors mean to the engine."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from engine.errors import DeviceLostError


@contextmanager
def engine_errors() -> Iterator[None]:
    """Inside, a lack of memory is MemoryError, and an error that stays is DeviceLostError.

    After some errors CUDA refuses all further work of the process (an illegal address, a fallen
    bus): waiting for the device then raises as well.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
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
