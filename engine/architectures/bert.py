"""BERT and (XLM-)RoBERTa classifiers with one label, over packed tokens.

Parameter names are the checkpoint's own (Hugging Face layout).
"""

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


def build(config: BertConfig) -> nn.Module:
    """The network, on the current default device."""
    if config.join_layer is not None:
        return CosineRanker(config, config.join_layer)
    return BertCrossEncoder(config) if config.prefix == "bert" else RobertaCrossEncoder(config)


class BertCrossEncoder(nn.Module):
    """Body, pooler (dense and tanh on CLS), classifier. Both heads are computed in float32."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.bert = Body(config)
        self.bert.pooler = _module(dense=nn.Linear(config.hidden_size, config.hidden_size))
        self.classifier = nn.Linear(config.hidden_size, 1)

    def forward(self, ids: Tensor, positions: Tensor, types: Tensor, packing: Packing) -> Tensor:
        """ids, positions, types: int [T] → float32 [rows]."""
        cls = self.bert.first(ids, positions, types, packing)
        return _head(cls, self.bert.pooler.get_submodule("dense"), self.classifier)


class CosineRanker(nn.Module):
    """Query and passage apart up to the join layer, together from there; scaled cosine of means.

    Pooling and cosine are computed in float32.
    """

    def __init__(self, config: BertConfig, join_layer: int) -> None:
        super().__init__()
        self.bert = Body(config)
        self.apart, self.together = join_layer, config.layers - join_layer
        self.ranking = nn.ParameterDict({"scale": torch.empty(1), "shift": torch.empty(1)})

    def forward(self, ids: Tensor, positions: Tensor, types: Tensor, packing: Packing) -> Tensor:
        """ids, positions, types: int [T] → float32 [rows]."""
        halves = packing.halves()
        packings = [halves] * self.apart + [packing] * self.together
        hidden = self.bert(ids, positions, types, packings)
        means = halves.mean(hidden)
        cosine = functional.cosine_similarity(means[0::2], means[1::2])
        scale, shift = self.ranking["scale"].float(), self.ranking["shift"].float()
        return torch.addcmul(shift, cosine, scale)


class RobertaCrossEncoder(nn.Module):
    """Body and two-layer classifier on the first token, computed in float32."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.roberta = Body(config)
        self.pad_id = config.position_offset - 1
        self.classifier = _module(
            dense=nn.Linear(config.hidden_size, config.hidden_size),
            out_proj=nn.Linear(config.hidden_size, 1),
        )

    def forward(self, ids: Tensor, positions: Tensor, types: Tensor, packing: Packing) -> Tensor:
        """ids, positions: int [T] (RoBERTa has no types) → float32 [rows]."""
        positions = _count_without(ids == self.pad_id, positions, packing.offsets)
        first = self.roberta.first(ids, positions, torch.zeros_like(types), packing)
        return _head(first, *self.classifier.children())


class Body(nn.Module):
    """Embeddings and post-norm layers: int [T] → [T, hidden]."""

    pooler: nn.Module

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.position_offset = config.position_offset
        hidden = config.hidden_size
        self.embeddings = _module(
            word_embeddings=nn.Embedding(config.vocab_size, hidden),
            position_embeddings=nn.Embedding(config.positions, hidden),
            token_type_embeddings=nn.Embedding(config.token_types, hidden),
            LayerNorm=nn.LayerNorm(hidden, config.norm_eps),
        )
        self.encoder = _module(layer=nn.ModuleList(Layer(config) for _ in range(config.layers)))

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

        Of the last layer nothing else is read, so there, nothing else is computed: with 6 layers
        that is an eighth of all products. Not on GPUs yet, where one call attends for all pairs.
        """
        if packing.varlen:
            return packing.first(self(ids, positions, types, repeat(packing)))
        *_, last = self.layers()
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
        self.attention = _module(
            self=_module(**{name: nn.Linear(hidden, hidden) for name in ("query", "key", "value")}),
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

    def first(self, hidden: Tensor, packing: Packing) -> Tensor:
        """The same for each pair's first token alone: [T, hidden] → [rows, hidden]."""
        mixed = packing.attend_first(*self._heads(hidden))
        # to a round number of rows, as kernels are compiled for each number that is met
        extra = -len(mixed) % _ROUND_ROWS
        mixed, before = (
            functional.pad(x, (0, 0, 0, extra)) for x in (mixed, hidden[packing.offsets[:-1]])
        )
        return self._feed_forward(mixed, before)[: len(mixed) - extra]

    def _heads(self, hidden: Tensor) -> Iterator[Tensor]:
        """Query, key and value: [T, heads, dim] each."""
        parts = self.qkv(hidden).chunk(3, dim=-1)
        return (part.view(len(part), self.heads, -1) for part in parts)

    def _feed_forward(self, mixed: Tensor, hidden: Tensor) -> Tensor:
        """What follows attention, token by token."""
        hidden = _add_norm(self.attention.get_submodule("output"), mixed, hidden)
        return _add_norm(self.output, self.intermediate(hidden), hidden)


class Activated(nn.Module):
    """A linear layer and the activation of that name behind it."""

    def __init__(self, dense: nn.Linear, activation: str) -> None:
        super().__init__()
        self.dense = dense
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """x: [T, in] → [T, out]."""
        return ACTIVATIONS[self.activation](self.dense(x))


def _count_without(pads: Tensor, positions: Tensor, offsets: Tensor) -> Tensor:
    """Positions as RoBERTa counts them: a literal <pad> in a text takes row pad_id, and no turn.

    pads: bool [T]. Source: transformers' create_position_ids_from_input_ids.
    """
    seen = torch.cat((offsets.new_zeros(1), pads.cumsum(0)))
    before = seen[:-1] - seen[offsets[:-1]].repeat_interleave(offsets.diff())
    return torch.where(pads, -1, positions - before)


def _module(**children: nn.Module) -> nn.Module:
    """A bare module with these children: it exists to give parameters the checkpoint's names."""
    module = nn.Module()
    for name, child in children.items():
        module.add_module(name, child)
    return module


def _output(into: int, out: int, eps: float) -> nn.Module:
    return _module(dense=nn.Linear(into, out), LayerNorm=nn.LayerNorm(out, eps))


def _add_norm(output: nn.Module, update: Tensor, residual: Tensor) -> Tensor:
    dense, norm = output.children()
    assert isinstance(norm, nn.LayerNorm)
    return add_layer_norm(residual, dense(update), norm.weight, norm.bias, norm.eps)


def _head(pooled: Tensor, dense: nn.Module, out: nn.Module) -> Tensor:
    """tanh(dense) then one logit. pooled: float32 [rows, hidden] → float32 [rows]."""
    inner = torch.tanh(_linear32(dense, pooled))
    return _linear32(out, inner).squeeze(-1)


def _linear32(layer: nn.Module, x: Tensor) -> Tensor:
    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    return functional.linear(x, weight.float(), bias.float())
