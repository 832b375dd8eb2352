"""One call's inputs and scores, in pinned host memory and on the device, checked before use."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from engine.backends.tensorrt import feeds
from engine.backends.tensorrt.device import Device, Mark
from engine.backends.tensorrt.feeds import Shape, dimensions
from engine.backends.tensorrt.profiles import Profile
from engine.errors import StartError
from engine.types import Ids, Logits


class Staging:
    """Buffers for the largest profile. To be filled again only once its fetch is done."""

    def __init__(self, trt: Any, engine: Any, profiles: Sequence[Profile], device: Device) -> None:
        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        inputs = [n for n in names if engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT]
        self.output = _only_output(set(names) - set(inputs))
        _check_types(trt, engine, inputs, self.output)
        sizes = {name: _largest(name, profiles) for name in (*inputs, self.output)}
        self._host = {n: device.host(sizes[n], torch.int32) for n in inputs}
        self._device = {n: device.memory(sizes[n], torch.int32) for n in inputs}
        self._scores = device.memory(sizes[self.output], torch.float32)
        self._fetched = device.host(sizes[self.output], torch.float32)

    def fill(self, arrays: Mapping[str, Ids], device: Device) -> None:
        """Copy the plan's inputs to the device. Raises RuntimeError if one is too large."""
        for name, host in self._host.items():
            array = arrays[name]
            if array.size > host.numel():
                raise RuntimeError(f"{name} has {array.size} values, the plan takes {host.numel()}")
            host[: array.size] = torch.from_numpy(array.reshape(-1))
            device.copy(host[: array.size], self._device[name][: array.size])

    def bind(self, context: Any, shape: Shape) -> None:
        """Give a context shapes, then addresses. Raises RuntimeError where it refuses one."""
        for name, buffer in self._device.items():
            wanted = dimensions(name, shape)
            if not context.set_input_shape(name, wanted):
                raise RuntimeError(f"TensorRT refuses {name} of shape {list(wanted)}")
            _set_address(context, name, buffer)
        if missing := context.infer_shapes():
            raise RuntimeError(f"TensorRT lacks the shapes of {', '.join(missing)}")
        made = tuple(context.get_tensor_shape(self.output))
        if made != dimensions(self.output, shape):
            raise RuntimeError(f"TensorRT would give {self.output} of shape {list(made)}")
        _set_address(context, self.output, self._scores)

    def fetch(self, device: Device) -> Mark:
        """Queue the copy of the scores to the host."""
        device.copy(self._scores, self._fetched)
        return device.mark()

    @property
    def scores(self) -> Logits:
        """float32, as long as the largest profile's; valid once the fetch's mark is reached."""
        array: Logits = self._fetched.numpy()
        return array


def _largest(name: str, profiles: Sequence[Profile]) -> int:
    return max(prod(dimensions(name, Shape(p.tokens, p.rows, p.width))) for p in profiles)


def _only_output(names: set[str]) -> str:
    if len(names) != 1 or not names <= set(feeds.REDUCE):
        raise StartError(
            f"the plan gives {', '.join(sorted(names))}, wanted is one of "
            f"{', '.join(feeds.REDUCE)}: build it again"
        )
    return next(iter(names))


def _check_types(trt: Any, engine: Any, inputs: Sequence[str], output: str) -> None:
    """TensorRT reads whatever lies at an address: a wrong type would be wrong scores, silently."""
    wanted = dict.fromkeys(inputs, trt.DataType.INT32) | {output: trt.DataType.FLOAT}
    for name, dtype in wanted.items():
        if (found := engine.get_tensor_dtype(name)) != dtype:
            raise StartError(f"the plan's {name} is {found}, wanted is {dtype}: build it again")


def _set_address(context: Any, name: str, buffer: Tensor) -> None:
    if not context.set_tensor_address(name, buffer.data_ptr()):
        raise RuntimeError(f"TensorRT refuses the address of {name}")
