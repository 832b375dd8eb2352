"""A stand-in for a loaded plan and its GPU: work is queued, and done only when it is waited for.

So memory that is written again too early gives wrong scores here, as it does on a GPU.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from engine.backends.tensorrt import network
from engine.backends.tensorrt.feeds import Shape, dimensions
from engine.backends.tensorrt.profiles import Profile
from engine.types import Checkpoint
from tests import eager_trt

Work = Callable[[], object]


class QueueDevice:
    """Implements engine.backends.tensorrt.device.Device on the CPU."""

    stream = 7

    def __init__(self) -> None:
        self.queue: list[Work] = []
        self.captured = self.replayed = 0

    def host(self, count: int, dtype: torch.dtype) -> Tensor:
        return torch.zeros(count, dtype=dtype)

    memory = host

    def copy(self, source: Tensor, target: Tensor) -> None:
        self.queue.append(lambda: target.copy_(source))

    def mark(self) -> "QueueMark":
        return QueueMark(self, len(self.queue))

    def capture(self, run: Callable[[], None]) -> Callable[[], None]:
        self.captured += 1
        before, self.queue = self.queue, []
        run()
        recorded, self.queue = self.queue, before

        def replay() -> None:
            self.replayed += 1
            self.queue.extend(recorded)

        return replay


class QueueMark:
    """Does the work up to here."""

    def __init__(self, device: QueueDevice, end: int) -> None:
        self._device = device
        self._last = device.queue[end - 1] if end else None

    def synchronize(self) -> None:
        queue = self._device.queue
        while self._last in queue:
            queue.pop(0)()


class Engine:
    """ICudaEngine of a checkpoint, computed in float32."""

    def __init__(
        self, checkpoint: Checkpoint, profiles: tuple[Profile, ...], device: QueueDevice
    ) -> None:
        self.checkpoint, self.profiles, self.device = checkpoint, profiles, device
        names = ["ids", "cells", "places", "lengths", "positions"]
        if checkpoint.family == "bert":
            names.append("types")
        if getattr(checkpoint.config, "join_layer", None) is not None:
            names += ["half_cells", "half_places", "half_lengths", "half_mask"]
        self.inputs = names
        self.output = "row_scores" if checkpoint.family == "bert" else "token_scores"
        self.types: dict[str, str] = dict.fromkeys(self.inputs, "INT32") | {self.output: "FLOAT"}
        self.num_io_tensors = len(self.types)
        self.num_optimization_profiles = len(profiles)

    def get_tensor_name(self, number: int) -> str:
        return list(self.types)[number]

    def get_tensor_mode(self, name: str) -> str:
        return "OUTPUT" if name == self.output else "INPUT"

    def get_tensor_dtype(self, name: str) -> str:
        return self.types[name]

    def get_device_memory_size_for_profile_v2(self, number: int) -> int:
        return 1024 * (number + 1)

    def create_execution_context(self, strategy: str) -> "Context":
        assert strategy == "USER_MANAGED"
        return Context(self)


class Context:
    """IExecutionContext: shapes and addresses as they are when it is run."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._memory = 0

    def set_optimization_profile_async(self, number: int, stream: int) -> bool:
        self._profile = self._engine.profiles[number]
        self._needs = self._engine.get_device_memory_size_for_profile_v2(number)
        return stream == QueueDevice.stream

    def set_device_memory(self, address: int, size: int) -> None:
        assert size >= self._needs
        self._memory = address

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        profile = self._profile
        limit = dimensions(name, Shape(profile.tokens, profile.rows, profile.width))
        fits = len(shape) == len(limit) and all(
            1 <= n <= m for n, m in zip(shape, limit, strict=True)
        )
        if fits:
            self._shapes[name] = shape
        return fits

    def infer_shapes(self) -> list[str]:
        return [name for name in self._engine.inputs if name not in self._shapes]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shapes["lengths" if name == "row_scores" else "ids"]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return address != 0

    def execute_async_v3(self, stream: int) -> bool:
        assert self._memory, "the context has no memory"
        shapes, addresses = dict(self._shapes), dict(self._addresses)
        self._engine.device.queue.append(lambda: self._run(shapes, addresses))
        return stream == QueueDevice.stream

    def _run(self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int]) -> None:
        values = {
            name: _view(addresses[name], shape, torch.int32) for name, shape in shapes.items()
        }
        definition = eager_trt.Network(values)
        graph = network.define(eager_trt, definition, self._engine.checkpoint, torch.float32)
        [scores] = [tensor.value for tensor in definition.outputs.values()]
        del graph
        output = _view(addresses[self._engine.output], tuple(scores.shape), torch.float32)
        output.copy_(scores)


class Trt:
    """What the runtime asks of the `trt` module."""

    DataType = TensorIOMode = ExecutionContextAllocationStrategy = eager_trt.DataType


def _view(address: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    count = int(torch.tensor(shape).prod())
    memory: Any = (ctypes.c_char * (count * dtype.itemsize)).from_address(address)
    return torch.frombuffer(memory, dtype=dtype).reshape(shape)
