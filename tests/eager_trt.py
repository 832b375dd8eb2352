"""A stand-in for the `trt` module: the network API, each layer computed at once in torch.

It proves what a network definition computes, on any machine, with the very code that TensorRT
compiles. Layers are computed when a result is asked for, as attributes are set after the call.
"""

import ctypes
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional

DTYPES = {
    "FLOAT": torch.float32,
    "HALF": torch.float16,
    "BF16": torch.bfloat16,
    "INT32": torch.int32,
    "FP8": torch.float8_e4m3fn,
}


class _Names:
    """An enum whose members are their own names."""

    def __getattr__(self, name: str) -> str:
        return name


DataType = ElementWiseOperation = UnaryOperation = ActivationType = _Names()
ReduceOperation = MatrixOperation = AttentionNormalizationOp = CausalMaskKind = _Names()
Permutation = list


class Weights:
    """Reads the weights where they lie, as the builder does."""

    def __init__(self, dtype: str, pointer: int, count: int) -> None:
        size = torch.empty(0, dtype=DTYPES[dtype]).element_size()
        memory = (ctypes.c_char * (count * size)).from_address(pointer)
        self.values = torch.frombuffer(memory, dtype=DTYPES[dtype])


class Tensor:
    """One result, computed on first use."""

    def __init__(self, compute: Callable[[], torch.Tensor]) -> None:
        self._compute = compute
        self._value: torch.Tensor | None = None
        self.name = ""

    @property
    def value(self) -> torch.Tensor:
        if self._value is None:
            self._value = self._compute()
        return self._value


class Layer:
    """One layer; attributes may be set until its result is used."""

    name = ""

    def __init__(self, compute: Callable[["Layer"], torch.Tensor], **attributes: Any) -> None:
        self.__dict__.update(attributes)
        self._inputs: dict[int, Tensor] = {}
        self._output = Tensor(lambda: compute(self))

    def __getattr__(self, name: str) -> Any:
        return None

    def set_input(self, index: int, tensor: Tensor) -> None:
        self._inputs[index] = tensor

    def get_output(self, index: int) -> Tensor:
        assert index == 0
        return self._output


class Network:
    """INetworkDefinition over given inputs; strongly typed, as TensorRT 11 is."""

    def __init__(self, feeds: dict[str, torch.Tensor]) -> None:
        self._feeds = feeds
        self.inputs: list[str] = []
        self.outputs: dict[str, Tensor] = {}

    def add_input(self, name: str, dtype: str, shape: Sequence[int]) -> Tensor:
        value = self._feeds[name]
        assert value.dtype == DTYPES[dtype]
        assert value.ndim == len(shape)
        self.inputs.append(name)
        return Tensor(lambda: value)

    def mark_output(self, tensor: Tensor) -> None:
        self.outputs[tensor.name] = tensor

    def add_constant(self, shape: Sequence[int], weights: Weights) -> Layer:
        return Layer(lambda _: weights.values.clone().reshape(tuple(shape)))

    def add_cast(self, x: Tensor, dtype: str) -> Layer:
        return Layer(lambda _: x.value.to(DTYPES[dtype]))

    def add_elementwise(self, a: Tensor, b: Tensor, operation: str) -> Layer:
        functions: dict[str, Callable[..., torch.Tensor]] = {"SUM": torch.add, "PROD": torch.mul}
        return Layer(lambda _: functions[operation](*_alike(a, b)))

    def add_unary(self, x: Tensor, operation: str) -> Layer:
        functions = {"SQRT": torch.sqrt, "RECIP": torch.reciprocal}
        return Layer(lambda _: functions[operation](x.value))

    def add_activation(self, x: Tensor, kind: str) -> Layer:
        functions: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
            "SIGMOID": torch.sigmoid,
            "TANH": torch.tanh,
            "RELU": torch.relu,
            "GELU_ERF": functional.gelu,
            "GELU_TANH": lambda value: functional.gelu(value, approximate="tanh"),
        }
        return Layer(lambda _: functions[kind](x.value))

    def add_reduce(self, x: Tensor, operation: str, axes: int, keep: bool) -> Layer:
        functions: dict[str, Callable[..., torch.Tensor]] = {
            "AVG": torch.mean,
            "SUM": torch.sum,
            "PROD": lambda x, dims, keepdim: torch.prod(x, dims[0], keepdim=keepdim),
        }
        dims = tuple(d for d in range(8) if axes >> d & 1)
        return Layer(lambda _: functions[operation](x.value, dims, keepdim=keep))

    def add_gather(self, x: Tensor, indices: Tensor, axis: int) -> Layer:
        def compute(_: Layer) -> torch.Tensor:
            size, where = x.value.shape[axis], indices.value
            assert where.dtype == torch.int32
            assert int(where.min()) >= 0, "an index below the table"
            assert int(where.max()) < size, "an index past the table"
            picked = x.value.index_select(axis, where.flatten())
            return picked.reshape(*x.value.shape[:axis], *where.shape, *x.value.shape[axis + 1 :])

        return Layer(compute)

    def add_shuffle(self, x: Tensor) -> Layer:
        def compute(layer: Layer) -> torch.Tensor:
            value = x.value
            if layer.first_transpose is not None:
                value = value.permute(*layer.first_transpose)
            if layer.reshape_dims is None:
                return value
            wanted = [value.shape[i] if n == 0 else n for i, n in enumerate(layer.reshape_dims)]
            return value.reshape(wanted)

        return Layer(compute)

    def add_matrix_multiply(self, a: Tensor, op_a: str, b: Tensor, op_b: str) -> Layer:
        def compute(_: Layer) -> torch.Tensor:
            left, right = _alike(a, b)
            left = left.mT if op_a == "TRANSPOSE" else left
            return left @ (right.mT if op_b == "TRANSPOSE" else right)

        return Layer(compute)

    def add_normalization_v2(self, x: Tensor, scale: Tensor, bias: Tensor, axes: int) -> Layer:
        assert axes == 1 << 1

        def compute(layer: Layer) -> torch.Tensor:
            _alike(x, scale)
            _alike(x, bias)
            size = x.value.shape[-1:]
            return functional.layer_norm(
                x.value, size, scale.value[0], bias.value[0], layer.epsilon
            )

        return Layer(compute, epsilon=1e-5)

    def add_rotary_embedding(
        self, x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool, dim: int
    ) -> Layer:
        assert not interleaved
        assert dim == 0

        def compute(layer: Layer) -> torch.Tensor:
            rows = layer._inputs[3].value  # [batch, sequence]
            c, s = (table.value[rows][:, None] for table in (cos, sin))  # [batch, 1, sequence, d/2]
            left, right = x.value.chunk(2, dim=-1)
            return torch.cat((left * c - right * s, right * c + left * s), dim=-1)

        return Layer(compute)

    def add_attention_v2(self, q: Tensor, k: Tensor, v: Tensor, norm: str, causal: str) -> Layer:
        assert (norm, causal) == ("SOFTMAX", "NONE")

        def compute(layer: Layer) -> torch.Tensor:
            assert layer.decomposable is False
            groups = q.value.shape[1] // k.value.shape[1]
            keys, values = (x.value.repeat_interleave(groups, 1) for x in (k, v))
            logits = q.value.float() @ keys.float().mT
            lengths = layer.key_value_lengths.value
            unused = torch.arange(keys.shape[2]) >= lengths[:, None, None, None]
            weights = logits.masked_fill(unused, -math.inf).softmax(-1)
            return (weights @ values.float()).to(q.value.dtype)

        return Layer(compute)

    def add_quantize(self, x: Tensor, scale: Tensor, dtype: str) -> Layer:
        limit = torch.finfo(DTYPES[dtype]).max
        return Layer(
            lambda _: (x.value.float() / scale.value).clamp(-limit, limit).to(DTYPES[dtype])
        )

    def add_dequantize(self, x: Tensor, scale: Tensor, dtype: str) -> Layer:
        return Layer(lambda _: (x.value.float() * scale.value).to(DTYPES[dtype]))


def _alike(a: Tensor, b: Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Strong typing: both of one dtype and of one rank, or the builder refuses."""
    left, right = a.value, b.value
    assert left.dtype == right.dtype, f"{left.dtype} meets {right.dtype}"
    assert left.ndim == right.ndim, f"rank {left.ndim} meets rank {right.ndim}"
    return left, right
