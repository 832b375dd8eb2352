"""The layers as torch.compile makes them, in the place of oneDNN's products: an option on the CPU.

Attention stays as it is: its shapes are other ones in every batch, and each would be compiled. So
does a BERT's last layer, which has few rows. Layers share their code, and weights are its inputs:
frozen into it, every layer would be compiled by itself, and measured no faster.
"""

import torch
from torch import Tensor, nn

from engine.architectures.packing import Packing
from engine.backends.torch.cpu import CpuBackend
from engine.errors import StartError

_FORMATS = ("auto", "fp32", "bf16")


class Untraced(Packing):
    """A packing whose attention is called from compiled code, and not compiled into it."""

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """As Packing.attend."""
        return Packing.attend(self, q, k, v)


class CompiledBackend(CpuBackend):
    """Runs every shard on as many threads as any other: code is compiled for that number."""

    packing = Untraced

    @staticmethod
    def lay_out(network: nn.Module, dtype: str) -> None:
        """Layers are compiled, for any number of tokens, when they are first called."""
        for layers in network.modules():
            if isinstance(layers, nn.ModuleList):
                for layer in layers:
                    layer.compile(dynamic=True)

    def _alone(self, shards: int) -> int:
        return self._each


def check(dtype: str) -> None:
    """Raises StartError where nothing can be compiled: tries it on one addition."""
    if dtype not in _FORMATS:
        raise StartError(f"CROSSRANK_COMPILE takes fp32 or bf16, not {dtype}: unset one of them")
    try:
        torch.compile(torch.add)(torch.ones(2), 1)
    except RuntimeError as error:
        raise StartError(
            "CROSSRANK_COMPILE needs a C++ compiler that works; install g++, or unset it: "
            + str(error).splitlines()[0]
        ) from error
