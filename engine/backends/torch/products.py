"""The layers' matrix products on the CPU, with weights laid out once for its matrix units.

torch's own linear layer copies the bias first, lays the weights out at every call, and leaves the
activation to a pass of its own. Kernels are compiled for each number of tokens that is met: pad it.
"""

import platform
from collections.abc import Callable

import torch
from torch import Tensor, nn

from engine.architectures.encoder import ACTIVATIONS, Activated, LastLayer
from engine.architectures.stacking import Stack
from engine.errors import StartError

Make = Callable[..., nn.Module]  # (weight, bias, activation="") → its product

# oneDNN's names for what it does to a product before it is written: operation, variant.
_POST = {"": ("none", ""), "gelu": ("gelu", "none"), "gelu_new": ("gelu", "tanh"),
         "relu": ("relu", "")}  # fmt: skip
SMALL_FORMATS = {  # instructions without which a format is slower than float32, or not exact
    "bf16": ("amx_bf16", "avx512_bf16"),
    "int8": ("amx_int8", "avx512_vnni", "avx_vnni"),
}
_LARGEST = 127.0  # of a weight in int8, the same on both sides of 0
_STEPS = 256  # of int8


class Packed(nn.Module):
    """x · weightᵀ + bias in x's own format, activated. bias: None for none."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str = "") -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight)
        self._bias = bias
        self._post, self._variant = _POST[activation]

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, in] → [T, out]."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self._weight, self._bias, self._post, [], self._variant
        )
        return product


class Quantized(nn.Module):
    """The same with 8-bit weights, scaled by output, and inputs, scaled and shifted by token.

    A token's 256 steps go from its lowest input to its highest: what a norm or GELU gives is far
    from the same on both sides of 0. They are its own, so that what shares the batch moves a score
    by rounding alone. With x = scale · step + middle, x · weight is
    scale · (step · weight) + middle · (the weight's sum).
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str = "") -> None:
        super().__init__()
        scale = _at_least_tiny(weight.abs().amax(1, keepdim=True).div_(_LARGEST))
        rounded = torch.round(weight / scale)
        self._weight = torch.ops.onednn.qlinear_prepack(rounded.to(torch.int8), None)
        self._scale = scale.flatten()
        self._sums = rounded.sum(1) * self._scale
        self._zero = torch.zeros(len(weight), dtype=torch.int32)
        self._bias = torch.zeros(len(weight)) if bias is None else bias
        self._first_step = torch.full(weight.shape[1:], -_STEPS / 2)
        self._activation = ACTIVATIONS[activation] if activation else None

    def forward(self, x: Tensor) -> Tensor:
        """x: float32 [T, in] → float32 [T, out]."""
        lowest = x.amin(1, keepdim=True)
        scale = _at_least_tiny(x.amax(1, keepdim=True).sub_(lowest).div_(_STEPS - 1))
        steps = torch.sub(x, lowest)  # first, or a row of much the same values would overflow
        torch.addcmul(self._first_step, steps, scale.reciprocal(), out=steps)
        product = self._multiply(steps.round_())
        torch.addcmul(self._bias, product, scale, out=product)
        middle = torch.add(lowest, scale, alpha=_STEPS / 2)
        product.addcmul_(middle, self._sums)
        return product if self._activation is None else self._activation(product)

    def _multiply(self, steps: Tensor) -> Tensor:
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            steps.to(torch.int8), 1.0, 0, self._weight, self._scale, self._zero,
            None, 1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        return product


def _at_least_tiny(x: Tensor) -> Tensor:
    return x.clamp_(min=torch.finfo(torch.float32).tiny)


def lay_out(network: nn.Module, dtype: str) -> None:
    """Replace the products of a network's layers; whatever is outside of them stays as it is.

    dtype: fp32, bf16 (the network's own format, too) or int8.
    """
    if not available():
        return
    make: Make = Quantized if dtype == "int8" else Packed
    layers = [m for m in network.modules() if isinstance(m, nn.ModuleList)]
    modules = [module for layer in layers for module in layer.modules()]
    stacked = {layer for m in modules if isinstance(m, Stack) for layer in m.layers}
    for module in modules:
        for name, child in module.named_children():
            # the last layer reads its stack's weights themselves
            if isinstance(child, Stack) and not isinstance(module, LastLayer):
                setattr(module, name, make(child.weight, child.bias))
                child.free()
    for module in modules:
        for name, child in module.named_children():
            if isinstance(child, Activated):
                product = make(child.dense.weight, child.dense.bias, child.activation)
                setattr(module, name, product)
            elif (
                isinstance(child, nn.Linear)
                and child not in stacked
                and not isinstance(module, Activated)
            ):
                setattr(module, name, make(child.weight, child.bias))


def available() -> bool:
    """Whether oneDNN is there: on x86, where it has kernels for every format."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return x86 and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def check(dtype: str) -> None:
    """Raises StartError where this CPU has no instructions for a format."""
    if dtype not in ("auto", "fp32", *SMALL_FORMATS):
        raise StartError(f"{dtype} needs a GPU, and torch finds none: use fp32, bf16 or int8")
    needed = SMALL_FORMATS.get(dtype, ())
    has = torch.cpu.get_capabilities()
    if needed and not (available() and any(has.get(name) for name in needed)):
        raise StartError(
            f"{dtype} is slow without one of {', '.join(needed)}, and this CPU has none: use fp32"
        )
