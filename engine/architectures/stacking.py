"""Linear layers that read the same input, computed as one matrix product.

The layers keep their names and parameters, which become views of the stacked weight: checkpoints
are loaded by name, and nothing is held twice.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class Stack(nn.Module):
    """Made empty, and filled once the layers have their weights."""

    weight: Tensor | None
    bias: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", None, persistent=False)
        self.register_buffer("bias", None, persistent=False)
        self.layers: tuple[nn.Linear, ...] = ()  # a tuple: they stay children of their own module

    def fill(self, layers: Sequence[nn.Linear]) -> None:
        """Stack the layers' weights; the layers then show parts of the stack."""
        self.layers = tuple(layers)
        self.weight = _joined([layer.weight for layer in layers])
        if layers[0].bias is not None:
            self.bias = _joined([layer.bias for layer in layers])

    def free(self) -> None:
        """Let go of weight and bias, and of the layers' views of them: another product is there."""
        self.weight = self.bias = None
        for layer in self.layers:
            layer.register_parameter("weight", None)
            layer.register_parameter("bias", None)

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, in] → [T, all the layers' outputs, side by side]."""
        assert self.weight is not None, "stacks are filled when a checkpoint is loaded"
        return functional.linear(x, self.weight, self.bias)


def fill_all(network: nn.Module) -> None:
    """Fill every stack of a network: modules that have one say of what in `stacked`."""
    for module in network.modules():
        for stack in module.children():
            if isinstance(stack, Stack):
                stack.fill(module.stacked())  # type: ignore[operator]


def _joined(parts: Sequence[Tensor]) -> Tensor:
    whole = torch.cat([part.data for part in parts])
    views = torch.split(whole, [len(part) for part in parts])
    for part, view in zip(parts, views, strict=True):
        part.data = view
    return whole
