"""The encoder of BERT and (XLM-)RoBERTa: embeddings and post-norm layers, over packed tokens."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import repeat
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.architectures.packing import Packing
from engine.architectures.pointwise import add_layer_norm
from engine.architectures.stacking import Stack
from engine.families.bert import BertConfig

_ROUND_ROWS = 8
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "gelu_new": partial(functional.gelu, approximate="tanh"),
    "relu": functional.relu,
}


class Encoder(nn.Module):
    """Embeddings and post-norm layers: int [T] → [T, hidden]."""

    pooler: nn.Module

    def __init__(self, config: BertConfig, last: "type[Layer] | None" = None) -> None:
        """last: LastLayer where `first` is asked for, and nothing else."""
        super().__init__()
        self.position_offset = config.position_offset
        hidden = config.hidden_size
        self.embeddings = group(
            word_embeddings=nn.Embedding(config.vocab_size, hidden),
            position_embeddings=nn.Embedding(config.positions, hidden),
            token_type_embeddings=nn.Embedding(config.token_types, hidden),
            LayerNorm=nn.LayerNorm(hidden, config.norm_eps),
        )
        kinds = [Layer] * (config.layers - 1) + [last or Layer]
        self.encoder = group(layer=nn.ModuleList(kind(config) for kind in kinds))

    def forward(
        self, ids: Tensor, positions: Tensor, types: Tensor, packings: Iterable[Packing]
    ) -> Tensor:
        """packings: which tokens see each other, layer by layer."""
        words, places, kinds, norm = self.embeddings.children()
        hidden: Tensor = norm(words(ids) + places(positions + self.position_offset) + kinds(types))
        for layer, packing in zip(self.layers(), packings, strict=False):
            hidden = layer(hidden, packing)
        return hidden

    def first(self, ids: Tensor, positions: Tensor, types: Tensor, packing: Packing) -> Tensor:
        """What becomes of each pair's first token (CLS): int [T] → float32 [rows, hidden].

        By the last layer's own way on the CPU alone: on GPUs one call attends for all pairs, and
        FP8 is calibrated on the products that are computed there.
        """
        if not packing.first_alone:
            return packing.first(self(ids, positions, types, repeat(packing)))
        *_, last = self.layers()
        assert isinstance(last, LastLayer)
        hidden = self(ids, positions, types, repeat(packing, len(self.layers()) - 1))
        return last.first(hidden, packing).float()

    def layers(self) -> Sequence["Layer"]:
        """In their order."""
        return cast(Sequence[Layer], self.encoder.get_submodule("layer"))


class Layer(nn.Module):
    """One post-norm transformer layer."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        hidden, inner = config.hidden_size, config.intermediate_size
        self.heads = config.heads
        self.attention = group(
            self=group(**{name: nn.Linear(hidden, hidden) for name in ("query", "key", "value")}),
            output=_output(hidden, hidden, config.norm_eps),
        )
        self.intermediate = Activated(nn.Linear(hidden, inner), config.activation)
        self.output = _output(inner, hidden, config.norm_eps)
        self.qkv = Stack()

    def stacked(self) -> list[nn.Module]:
        """What reads the same input: query, key, value."""
        return list(self.attention.get_submodule("self").children())

    def forward(self, hidden: Tensor, packing: Packing) -> Tensor:
        return self._feed_forward(packing.attend(*self._heads(hidden)), hidden)

    def _heads(self, hidden: Tensor) -> Iterator[Tensor]:
        """Query, key and value: [T, heads, dim] each."""
        parts = self.qkv(hidden).chunk(3, dim=-1)
        return (part.view(len(part), self.heads, -1) for part in parts)

    def _feed_forward(self, mixed: Tensor, hidden: Tensor) -> Tensor:
        """What follows attention, token by token."""
        hidden = _add_norm(self.attention.get_submodule("output"), mixed, hidden)
        return _add_norm(self.output, self.intermediate(hidden), hidden)


class LastLayer(Layer):
    """The last layer, of which one token of each pair is read: the first."""

    def first(self, hidden: Tensor, packing: Packing) -> Tensor:
        """[T, hidden] → [rows, hidden].

        No key and no value is computed: q·(K x) is (Kᵀ q)·x, and a weighted sum of V x is V times
        that sum of x. A key's bias adds the same to all of a query's scores, so softmax drops it.
        With 6 layers that leaves out a sixth of all products. The identity is the one by which
        DeepSeek-V2 (2024, section 2.1.2) absorbs its projections.
        """
        before = hidden[packing.offsets[:-1]]
        query, key, value = (cast(nn.Linear, layer) for layer in self.stacked())
        keys, values = (
            layer.weight.view(self.heads, -1, layer.in_features) for layer in (key, value)
        )
        asked = torch.einsum("rhd,hdi->rhi", query(before).view(len(before), self.heads, -1), keys)
        read = packing.read(asked, hidden, scale=keys.shape[1] ** -0.5)
        mixed = torch.einsum("rhi,hdi->rhd", read, values).flatten(1) + value.bias
        return self._feed_forward(*_round_rows(mixed, before))[: len(mixed)]


class Activated(nn.Module):
    """A linear layer and the activation of that name behind it."""

    def __init__(self, dense: nn.Linear, activation: str) -> None:
        super().__init__()
        self.dense = dense
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, in] → [T, out]."""
        return ACTIVATIONS[self.activation](self.dense(x))


def _round_rows(*tensors: Tensor) -> tuple[Tensor, ...]:
    """With rows of zeros: kernels are compiled for each number of rows that is met."""
    return tuple(functional.pad(x, (0, 0, 0, -len(x) % _ROUND_ROWS)) for x in tensors)


def group(**children: nn.Module) -> nn.Module:
    """A bare module with these children: it exists to give parameters the checkpoint's names."""
    module = nn.Module()
    for name, child in children.items():
        module.add_module(name, child)
    return module


def _output(into: int, out: int, eps: float) -> nn.Module:
    return group(dense=nn.Linear(into, out), LayerNorm=nn.LayerNorm(out, eps))


def _add_norm(output: nn.Module, update: Tensor, residual: Tensor) -> Tensor:
    dense, norm = output.children()
    assert isinstance(norm, nn.LayerNorm)
    return add_layer_norm(residual, dense(update), norm.weight, norm.bias, norm.eps)
