"""The operations our networks are made of, over TensorRT's network API.

`trt` is a parameter: tensorrt, tensorrt_rtx, or the tests' stand-in that runs each call in torch.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from engine.architectures.scaled import Scales

Node = Any  # trt.ITensor
_TYPES = {
    torch.float32: "FLOAT",
    torch.float16: "HALF",
    torch.bfloat16: "BF16",
    torch.int32: "INT32",
    torch.float8_e4m3fn: "FP8",
}


class Graph:
    """Adds layers to one network definition. Tensors are [T, …] unless said otherwise.

    weights: by checkpoint name, in the compute dtype or wider. scales: which linear layers run in
    FP8; the others stay in dtype.
    """

    def __init__(
        self,
        trt: Any,
        network: Any,
        weights: Mapping[str, torch.Tensor],
        dtype: torch.dtype,
        scales: Scales | None = None,
    ) -> None:
        self.trt = trt
        self.network = network
        self.dtype = dtype
        self._weights = weights
        self._scales = scales or {}
        self._kept: list[torch.Tensor] = []  # the builder reads these where they lie

    def input(self, name: str, rank: int = 1) -> Node:
        """An int32 input whose dimensions are all free."""
        return self.network.add_input(name, self.trt.DataType.INT32, (-1,) * rank)

    def output(self, x: Node, name: str) -> None:
        """Mark an output of the network."""
        x.name = name
        self.network.mark_output(x)

    def constant(self, value: torch.Tensor, dtype: torch.dtype, name: str = "") -> Node:
        """A constant, converted to `dtype` if it is of another."""
        value = value.to(dtype).contiguous()
        self._kept.append(value)
        weights = self.trt.Weights(self._type(dtype), value.data_ptr(), value.numel())
        return self.out(self.network.add_constant(tuple(value.shape), weights), name)

    def weight(self, name: str) -> torch.Tensor:
        """A tensor of the checkpoint."""
        return self._weights[name]

    def cast(self, x: Node, dtype: torch.dtype) -> Node:
        """x in another dtype."""
        return self.out(self.network.add_cast(x, self._type(dtype)))

    def add(self, a: Node, b: Node) -> Node:
        """a + b, of equal rank, with broadcasting."""
        operation = self.trt.ElementWiseOperation.SUM
        return self.out(self.network.add_elementwise(a, b, operation))

    def mul(self, a: Node, b: Node) -> Node:
        """a · b, of equal rank, with broadcasting."""
        operation = self.trt.ElementWiseOperation.PROD
        return self.out(self.network.add_elementwise(a, b, operation))

    def unary(self, x: Node, operation: str) -> Node:
        """SQRT, RECIP and their like."""
        return self.out(self.network.add_unary(x, getattr(self.trt.UnaryOperation, operation)))

    def activation(self, x: Node, kind: str) -> Node:
        """SIGMOID, TANH, RELU, GELU_ERF or GELU_TANH."""
        return self.out(self.network.add_activation(x, getattr(self.trt.ActivationType, kind)))

    def reduce(self, x: Node, operation: str, keep: bool, axis: int = 1) -> Node:
        """AVG, SUM or PROD over an axis: by default, the last of a [T, hidden] tensor."""
        kind = getattr(self.trt.ReduceOperation, operation)
        return self.out(self.network.add_reduce(x, kind, 1 << axis, keep))

    def gather(self, x: Node, indices: Node) -> Node:
        """Rows of x: [N, …] at int32 indices of any shape."""
        return self.out(self.network.add_gather(x, indices, 0))

    def reshape(self, x: Node, shape: Sequence[int]) -> Node:
        """0 keeps a dimension, one -1 is inferred."""
        layer = self.network.add_shuffle(x)
        layer.reshape_dims = tuple(shape)
        return self.out(layer)

    def embed(self, name: str, ids: Node) -> Node:
        """Rows of a table of the checkpoint."""
        return self.gather(self.constant(self.weight(name), self.dtype, name), ids)

    def linear(self, x: Node, name: str, bias: bool = False) -> Node:
        """x · Wᵀ (+ b) with the checkpoint's `name`.weight [out, in], in FP8 if it has a scale."""
        weight, scales = self.weight(f"{name}.weight"), self._scales.get(f"{name}.weight")
        if scales is None:
            right = self.constant(weight, self.dtype, f"{name}.weight")
        else:
            x = self._quantized(x, scales[0])
            right = self._quantized_weight(weight, scales[1], f"{name}.weight")
        out = self.matmul(x, right, name)
        return self.add(out, self.row(f"{name}.bias", self.dtype)) if bias else out

    def matmul(self, x: Node, weight: Node, name: str = "") -> Node:
        """x · weightᵀ."""
        none, turned = self.trt.MatrixOperation.NONE, self.trt.MatrixOperation.TRANSPOSE
        return self.out(self.network.add_matrix_multiply(x, none, weight, turned), name)

    def row(self, name: str, dtype: torch.dtype) -> Node:
        """A vector of the checkpoint as [1, size]."""
        return self.constant(self.weight(name)[None], dtype, name)

    def rms_norm(self, x: Node, name: str, eps: float) -> Node:
        """Root-mean-square norm in float32. Written out: INormalization subtracts the mean."""
        wide = self.cast(x, torch.float32)
        mean = self.reduce(self.mul(wide, wide), "AVG", keep=True)
        root = self.unary(
            self.add(mean, self.constant(torch.full((1, 1), eps), torch.float32)), "SQRT"
        )
        normed = self.mul(
            self.mul(wide, self.unary(root, "RECIP")), self.row(f"{name}.weight", torch.float32)
        )
        return self.cast(normed, self.dtype)

    def layer_norm(self, x: Node, name: str, eps: float) -> Node:
        """Layer norm in float32, over the last axis of [T, hidden]."""
        parts = [self.row(f"{name}.{part}", torch.float32) for part in ("weight", "bias")]
        layer = self.network.add_normalization_v2(self.cast(x, torch.float32), *parts, 1 << 1)
        layer.epsilon = eps
        return self.cast(self.out(layer, name), self.dtype)

    def _quantized(self, x: Node, scale: float) -> Node:
        step = self.constant(torch.tensor(scale), torch.float32)
        small = self.out(self.network.add_quantize(x, step, self.trt.DataType.FP8))
        return self.out(self.network.add_dequantize(small, step, self._type(self.dtype)))

    def _quantized_weight(self, weight: torch.Tensor, scale: float, name: str) -> Node:
        small = self.constant((weight.float() / scale), torch.float8_e4m3fn, name)
        step = self.constant(torch.tensor(scale), torch.float32)
        return self.out(self.network.add_dequantize(small, step, self._type(self.dtype)))

    def _type(self, dtype: torch.dtype) -> Any:
        return getattr(self.trt.DataType, _TYPES[dtype])

    def out(self, layer: Any, name: str = "") -> Node:
        """The output of a layer that was just added."""
        assert layer is not None, f"the network API refused a layer {name}"
        if name:
            layer.name = name
        return layer.get_output(0)
