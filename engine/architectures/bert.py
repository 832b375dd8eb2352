"""BERT and (XLM-)RoBERTa classifiers with one label, over packed tokens.

Parameter names are the checkpoint's own (Hugging Face layout).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.architectures.encoder import Encoder, LastLayer, group
from engine.architectures.packing import Packing
from engine.families.bert import BertConfig


def build(config: BertConfig) -> nn.Module:
    """The network, on the current default device."""
    if config.join_layer is not None:
        return CosineRanker(config, config.join_layer)
    return BertCrossEncoder(config) if config.prefix == "bert" else RobertaCrossEncoder(config)


class BertCrossEncoder(nn.Module):
    """Encoder, pooler (dense and tanh on CLS), classifier. Both heads are computed in float32."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.bert = Encoder(config, LastLayer)
        self.bert.pooler = group(dense=nn.Linear(config.hidden_size, config.hidden_size))
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
        self.bert = Encoder(config)
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
    """Encoder and two-layer classifier on the first token, computed in float32."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.roberta = Encoder(config, LastLayer)
        self.pad_id = config.position_offset - 1
        self.classifier = group(
            dense=nn.Linear(config.hidden_size, config.hidden_size),
            out_proj=nn.Linear(config.hidden_size, 1),
        )

    def forward(self, ids: Tensor, positions: Tensor, types: Tensor, packing: Packing) -> Tensor:
        """ids, positions: int [T] (RoBERTa has no types) → float32 [rows]."""
        positions = _count_without(ids == self.pad_id, positions, packing.offsets)
        first = self.roberta.first(ids, positions, torch.zeros_like(types), packing)
        return _head(first, *self.classifier.children())


def _count_without(pads: Tensor, positions: Tensor, offsets: Tensor) -> Tensor:
    """Positions as RoBERTa counts them: a literal <pad> in a text takes row pad_id, and no turn.

    pads: bool [T]. Source: transformers' create_position_ids_from_input_ids.
    """
    seen = torch.cat((offsets.new_zeros(1), pads.cumsum(0)))
    before = seen[:-1] - seen[offsets[:-1]].repeat_interleave(offsets.diff())
    return torch.where(pads, -1, positions - before)


def _head(pooled: Tensor, dense: nn.Module, out: nn.Module) -> Tensor:
    """tanh(dense) then one logit. pooled: float32 [rows, hidden] → float32 [rows]."""
    inner = torch.tanh(_linear32(dense, pooled))
    return _linear32(out, inner).squeeze(-1)


def _linear32(layer: nn.Module, x: Tensor) -> Tensor:
    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    return functional.linear(x, weight.float(), bias.float())
