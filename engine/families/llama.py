"""Bidirectional Llama cross-encoders: nvidia/llama-nemotron-rerank-1b-v2 and its siblings."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.errors import CheckpointError
from engine.families import Shape, fields

MODEL_TYPES = ("llama_bidirec",)
ARCHITECTURES = ("LlamaBidirectionalForSequenceClassification",)
# Fine-tunes may carry a language-model head; older exports carry rotary buffers. Neither is used.
IGNORED = ("lm_head.weight", "*.rotary_emb.inv_freq")
# Source: the model card's prompt; one sequence, so the tokenizer adds a single BOS.
TEMPLATE = "question:{query} \n \n passage:{passage}"
# Source: the model card, "evaluated up to 8192 tokens"; max_position_embeddings says 131072.
MAX_PAIR_TOKENS = 8192


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary position embedding. factor 1 means no scaling; else the llama3 rule."""

    theta: float
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_positions: int = 8192


@dataclass(frozen=True, slots=True)
class LlamaConfig:
    """The numbers that fix the network. temperature divides the logit."""

    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate_size: int
    norm_eps: float
    rope: Rope
    pooling: str
    temperature: float
    max_pair_tokens: int
    template: str | None = TEMPLATE


def parse(raw: Mapping[str, Any]) -> LlamaConfig:
    """Read a config.json of transformers 4 or 5. Raises CheckpointError for what is not served."""
    fields.architecture(raw, ARCHITECTURES)
    fields.single_label(raw)
    fields.one_of(raw, "hidden_act", ("silu",), "silu")
    fields.must_be_off(raw, "is_causal", "is_decoder", "attention_bias", "mlp_bias")
    hidden, heads = fields.count(raw, "hidden_size"), fields.count(raw, "num_attention_heads")
    kv_heads = fields.count(raw, "num_key_value_heads", heads)
    fields.divides("num_key_value_heads", kv_heads, "num_attention_heads", heads)
    return LlamaConfig(
        vocab_size=fields.count(raw, "vocab_size"),
        hidden_size=hidden,
        layers=fields.count(raw, "num_hidden_layers"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=fields.count(raw, "head_dim", hidden // heads),
        intermediate_size=fields.count(raw, "intermediate_size"),
        norm_eps=fields.positive(raw, "rms_norm_eps", 1e-6),
        rope=_rope(raw),
        pooling=fields.one_of(raw, "pooling", ("avg", "cls"), "avg"),
        temperature=fields.positive(raw, "temperature", 1.0),
        max_pair_tokens=min(fields.count(raw, "max_position_embeddings"), MAX_PAIR_TOKENS),
    )


def tensors(config: LlamaConfig) -> Iterator[tuple[str, Shape]]:
    """Every tensor the network needs, with its shape [out, in]."""
    hidden, q, kv = (
        config.hidden_size,
        config.heads * config.head_dim,
        config.kv_heads * config.head_dim,
    )
    yield "model.embed_tokens.weight", (config.vocab_size, hidden)
    yield "model.norm.weight", (hidden,)
    yield "score.weight", (1, hidden)
    for layer in range(config.layers):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", (hidden,)
        yield prefix + "post_attention_layernorm.weight", (hidden,)
        yield prefix + "self_attn.q_proj.weight", (q, hidden)
        yield prefix + "self_attn.k_proj.weight", (kv, hidden)
        yield prefix + "self_attn.v_proj.weight", (kv, hidden)
        yield prefix + "self_attn.o_proj.weight", (hidden, q)
        yield prefix + "mlp.gate_proj.weight", (config.intermediate_size, hidden)
        yield prefix + "mlp.up_proj.weight", (config.intermediate_size, hidden)
        yield prefix + "mlp.down_proj.weight", (hidden, config.intermediate_size)


def _rope(raw: Mapping[str, Any]) -> Rope:
    """transformers 5 writes rope_parameters; transformers 4 wrote rope_scaling and rope_theta."""
    found = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
    if not isinstance(found, Mapping):
        raise CheckpointError("config.json: rope_parameters/rope_scaling must be an object")
    theta = fields.positive({"rope_theta": found.get("rope_theta", raw.get("rope_theta"))},
                            "rope_theta", 10000.0)  # fmt: skip
    kind = found.get("rope_type", found.get("type", "default"))
    fields.one_of({"rope_type": kind}, "rope_type", ("default", "llama3"))
    if kind == "default":
        return Rope(theta=theta)
    return Rope(
        theta=theta,
        factor=fields.positive(found, "factor"),
        low_freq_factor=fields.positive(found, "low_freq_factor"),
        high_freq_factor=fields.positive(found, "high_freq_factor"),
        original_max_positions=fields.count(found, "original_max_position_embeddings"),
    )
