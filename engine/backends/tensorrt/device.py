"""The GPU as the runtime sees it: memory, one stream, events and graphs, through torch."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from engine.backends.tensorrt.choices import Gpu
from engine.errors import StartError
from engine.gpu import recording


class Mark(Protocol):
    """A place in the stream's work."""

    def synchronize(self) -> None:
        """Wait until the stream has come here."""
        ...


class Device(Protocol):
    """One GPU and one stream on it. Used by the thread that opened it."""

    stream: int

    def host(self, count: int, dtype: torch.dtype) -> Tensor:
        """Host memory that can be copied from and to while other work runs."""
        ...

    def memory(self, count: int, dtype: torch.dtype) -> Tensor:
        """Device memory. Raises StartError where there is not enough."""
        ...

    def copy(self, source: Tensor, target: Tensor) -> None:
        """Queue a copy on the stream, of equal sizes."""
        ...

    def mark(self) -> Mark:
        """A mark behind all that is queued so far."""
        ...

    def capture(self, run: Callable[[], None]) -> Callable[[], None]:
        """Record what `run` queues; calling the result queues it again, at little cost."""
        ...


class CudaDevice:
    """A GPU through torch's CUDA runtime."""

    def __init__(self, index: int) -> None:
        self._device = torch.device("cuda", index)
        torch.cuda.set_device(self._device)  # of this thread
        self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        self.stream: int = self._stream.cuda_stream

    def host(self, count: int, dtype: torch.dtype) -> Tensor:
        return torch.empty(count, dtype=dtype, pin_memory=True)

    def memory(self, count: int, dtype: torch.dtype) -> Tensor:
        try:
            return torch.empty(count, dtype=dtype, device=self._device)
        except torch.OutOfMemoryError as error:
            free, total = torch.cuda.mem_get_info(self._device)
            raise StartError(
                f"the GPU has {free >> 20} of {total >> 20} MiB free, but "
                f"{count * dtype.itemsize >> 20} MiB more are needed: free some, or lower the "
                "pair limit"
            ) from error

    def copy(self, source: Tensor, target: Tensor) -> None:
        with torch.cuda.stream(self._stream):
            target.copy_(source, non_blocking=True)

    def mark(self) -> Mark:
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(self._stream)
        return event

    def capture(self, run: Callable[[], None]) -> Callable[[], None]:
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with recording(graph, self._stream):
            run()

        def replay() -> None:
            with torch.cuda.stream(self._stream):
                graph.replay()

        return replay


def at_hand(index: int) -> Gpu | None:
    """The GPU of this number, or None where torch finds no GPU. Raises StartError."""
    if not torch.cuda.is_available():
        return None
    if index >= (count := torch.cuda.device_count()):
        raise StartError(f"device {index} was asked for, but there are {count}: count from 0")
    properties = torch.cuda.get_device_properties(index)
    return Gpu(f"{properties.major}.{properties.minor}", properties.total_memory)
