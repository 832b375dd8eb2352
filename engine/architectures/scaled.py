"""Linear layers in FP8: inputs and weights in float8_e4m3fn, one scale for each, float32 sums.

Whoever computes a layer's input may give it in FP8 already; see pointwise.
"""

from collections.abc import Mapping, MutableMapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.architectures.pointwise import quantize
from engine.architectures.stacking import Stack
from engine.errors import StartError

# What multiplies → its weights, by checkpoint name.
Layers = MutableMapping[nn.Module, Mapping[str, Tensor]]
# By weight name: what one FP8 step is worth in the layer's input, and in its weight.
Scales = Mapping[str, tuple[float, float]]
_ALIGNED = 16  # what the GPU's products ask of a weight's both sides


class Scaled(nn.Module):
    """Stands for a linear layer, or for several of one input.

    weight: [out, in]. step, weight_step: what one FP8 step is worth in the input and the weight.
    steps: how many 1.0 is worth in the input, to multiply by.
    """

    weight: Tensor
    bias: Tensor | None
    step: Tensor
    steps: Tensor
    weight_step: Tensor

    def __init__(
        self, weight: Tensor, bias: Tensor | None, step: float, weight_step: float
    ) -> None:
        super().__init__()
        self._dtype = weight.dtype
        for name, value in (("step", step), ("steps", 1 / step), ("weight_step", weight_step)):
            self.register_buffer(name, torch.tensor(value, device=weight.device), persistent=False)
        small = quantize(weight.data, 1 / self.weight_step)
        self.register_buffer("weight", small, persistent=False)
        self.register_buffer("bias", None if bias is None else bias.data, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, in], in FP8 or to be quantized → [T, out] in the weight's former dtype."""
        small = x if x.dtype == self.weight.dtype else quantize(x, self.steps)
        whole = functional.ScalingType.TensorWise
        out: Tensor = functional.scaled_mm(
            small,
            self.weight.t(),
            self.step,
            whole,
            self.weight_step,
            whole,
            bias=self.bias,
            output_dtype=self._dtype,
            use_fast_accum=True,
        )
        return out


def scale(network: nn.Module, layers: Layers, scales: Scales) -> None:
    """Put FP8 in the place of these layers, one after the other. Raises StartError.

    layers: each with its weights by name; emptied, so that each weight is freed at once. scales:
    (step, weight step) by the same names; layers that are one product share theirs.
    """
    paths = {module: path for path, module in network.named_modules()}
    while layers:
        layer, weights = layers.popitem()
        name, weight = next(iter(weights)), layer.weight
        assert isinstance(weight, Tensor)
        if any(side % _ALIGNED for side in weight.shape):
            raise StartError(
                f"FP8 takes layers whose sizes are multiples of {_ALIGNED}, and {name} is of "
                f"{list(weight.shape)}: use bf16"
            )
        scaled = Scaled(weight, cast("Tensor | None", layer.bias), *scales[name])
        layer.free() if isinstance(layer, Stack) else layer.register_parameter("weight", None)
        parent, _, child = paths[layer].rpartition(".")
        setattr(network.get_submodule(parent), child, scaled)
