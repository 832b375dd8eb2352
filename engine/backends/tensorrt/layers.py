"""What the compiler made of the network, by its own report: fused attention, joined GEMMs."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from engine.errors import StartError

_LAYER = re.compile(r"^Name: (?P<name>.+?)_myl(?P<profile>\d+)_\d+, LayerType: (?P<kind>\w+)", re.M)
_ACTIVATIONS = re.compile(r"^Total Activation Memory: (\d+) bytes", re.M)
_SUFFIX = re.compile(r" \[profile \d+\]")


@dataclass(frozen=True, slots=True)
class LayerReport:
    """The first profile's layers as (name, kind), in the order they run; empty if not reported.

    activation_bytes: device memory that the hungriest profile needs beside the weights.
    """

    layers: tuple[tuple[str, str], ...]
    activation_bytes: int = 0

    @classmethod
    def read(cls, lines: Iterable[str]) -> "LayerReport":
        """From a builder's verbose messages, at detailed profiling verbosity."""
        text = "\n".join(lines)
        found = [m for m in _LAYER.finditer(text) if int(m["profile"]) == 0]
        return cls(
            tuple((_SUFFIX.sub("", m["name"]), m["kind"]) for m in found),
            max(map(int, _ACTIVATIONS.findall(text)), default=0),
        )

    @property
    def fused_attention(self) -> int:
        """How many attention layers run as one kernel each."""
        return sum("mha" in name for name, _ in self.layers)

    @property
    def gemms(self) -> tuple[frozenset[str], ...]:
        """The linear layers that each GEMM computes together."""
        joined = (frozenset(name.split("+")) for name, kind in self.layers if kind == "gemm")
        return tuple(joined)

    def check(self, attention_layers: int) -> None:
        """Raise StartError where a reported network does not have all its attention fused."""
        if self.layers and self.fused_attention < attention_layers:
            raise StartError(
                f"the compiler fused {self.fused_attention} of {attention_layers} attention layers:"
                " this network would be slow and use much memory; run the torch backend instead"
            )
