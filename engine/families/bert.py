"""BERT and (XLM-)RoBERTa sequence classifiers with one label, as rerankers are saved.

Also BertForCosineRanking, the form of the shipped checkpoint: query and passage attend to each
other only from `join_layer` on (as in PreTTR, MacAvaney et al. 2020), and the logit is the cosine
of their mean vectors, scaled and shifted.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.families import Shape, fields

MODEL_TYPES = ("bert", "roberta", "xlm-roberta")
COSINE = "BertForCosineRanking"
ARCHITECTURES = {
    "bert": ("BertForSequenceClassification", COSINE),
    "roberta": ("RobertaForSequenceClassification",),
    "xlm-roberta": ("XLMRobertaForSequenceClassification",),
}
# Buffers that older transformers saved, and the pooler that RoBERTa's classifier does not use.
IGNORED = (
    "*.embeddings.position_ids",
    "*.embeddings.token_type_ids",
    "roberta.pooler.dense.weight",
    "roberta.pooler.dense.bias",
)


@dataclass(frozen=True, slots=True)
class BertConfig:
    """The numbers that fix the network.

    prefix: first part of the tensor names. position_offset: the first position's row in the
    position table; RoBERTa counts from pad_token_id + 1. join_layer: the first layer in which query
    and passage see each other; None for the standard classifier.
    """

    prefix: str
    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    activation: str
    norm_eps: float
    positions: int
    position_offset: int
    token_types: int
    join_layer: int | None = None
    template: str | None = None

    @property
    def max_pair_tokens(self) -> int:
        """Tokens that have a row in the position table."""
        return self.positions - self.position_offset


def parse(raw: Mapping[str, Any]) -> BertConfig:
    """Read a config.json. Raises CheckpointError for what is not served."""
    kind = str(raw["model_type"])
    architecture = fields.architecture(raw, ARCHITECTURES[kind])
    fields.single_label(raw)
    fields.must_be_off(raw, "is_decoder", "add_cross_attention")
    fields.one_of(raw, "position_embedding_type", ("absolute",), "absolute")
    hidden, heads = fields.count(raw, "hidden_size"), fields.count(raw, "num_attention_heads")
    fields.divides("num_attention_heads", heads, "hidden_size", hidden)
    roberta = kind != "bert"
    return BertConfig(
        prefix="roberta" if roberta else "bert",
        vocab_size=fields.count(raw, "vocab_size"),
        hidden_size=hidden,
        layers=fields.count(raw, "num_hidden_layers"),
        heads=heads,
        intermediate_size=fields.count(raw, "intermediate_size"),
        activation=fields.one_of(raw, "hidden_act", ("gelu", "gelu_new", "relu"), "gelu"),
        norm_eps=fields.positive(raw, "layer_norm_eps", 1e-12),
        positions=fields.count(raw, "max_position_embeddings"),
        # Source: transformers' create_position_ids_from_input_ids; pad_token_id is 1 by default.
        position_offset=fields.count(raw, "pad_token_id", 1, least=0) + 1 if roberta else 0,
        token_types=fields.count(raw, "type_vocab_size", 2),
        join_layer=fields.count(raw, "join_layer", least=0) if architecture == COSINE else None,
    )


def tensors(config: BertConfig) -> Iterator[tuple[str, Shape]]:
    """Every tensor the network needs, with its shape [out, in]."""
    hidden, body = config.hidden_size, config.prefix
    yield f"{body}.embeddings.word_embeddings.weight", (config.vocab_size, hidden)
    yield f"{body}.embeddings.position_embeddings.weight", (config.positions, hidden)
    yield f"{body}.embeddings.token_type_embeddings.weight", (config.token_types, hidden)
    yield from _norm(f"{body}.embeddings.LayerNorm", hidden)
    for layer in range(config.layers):
        yield from _layer(f"{body}.encoder.layer.{layer}.", hidden, config.intermediate_size)
    if config.join_layer is not None:
        yield from (("ranking.scale", (1,)), ("ranking.shift", (1,)))
    elif body == "bert":
        yield from _linear("bert.pooler.dense", hidden, hidden)
        yield from _linear("classifier", 1, hidden)
    else:
        yield from _linear("classifier.dense", hidden, hidden)
        yield from _linear("classifier.out_proj", 1, hidden)


def _layer(prefix: str, hidden: int, intermediate: int) -> Iterator[tuple[str, Shape]]:
    for name in ("query", "key", "value"):
        yield from _linear(f"{prefix}attention.self.{name}", hidden, hidden)
    yield from _linear(f"{prefix}attention.output.dense", hidden, hidden)
    yield from _norm(f"{prefix}attention.output.LayerNorm", hidden)
    yield from _linear(f"{prefix}intermediate.dense", intermediate, hidden)
    yield from _linear(f"{prefix}output.dense", hidden, intermediate)
    yield from _norm(f"{prefix}output.LayerNorm", hidden)


def _linear(name: str, out: int, into: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (out, into)
    yield f"{name}.bias", (out,)


def _norm(name: str, size: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (size,)
    yield f"{name}.bias", (size,)
