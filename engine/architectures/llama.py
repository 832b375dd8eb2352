"""Bidirectional Llama with a one-logit head, over packed tokens.

Parameter names are the checkpoint's own (Hugging Face layout).
"""

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.architectures.packing import Packing
from engine.architectures.pointwise import add_rms_norm, rotate, silu_mul, steps_of
from engine.architectures.stacking import Stack
from engine.families.llama import LlamaConfig, Rope


def build(config: LlamaConfig) -> nn.Module:
    """The network, on the current default device."""
    return LlamaCrossEncoder(config)


class LlamaCrossEncoder(nn.Module):
    """Body, pooling and head. Pooling, head and temperature are computed in float32."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Body(config)
        self.score = nn.Linear(config.hidden_size, 1, bias=False)

    def forward(self, ids: Tensor, positions: Tensor, types: Tensor, packing: Packing) -> Tensor:
        """ids, positions, types: int [T] (types are unused) → float32 [rows]."""
        hidden = self.model(ids, positions, packing)
        weight = self.score.weight.float()
        if self.config.pooling == "avg":
            # the head is linear: it commutes with the mean, and one number a token is less to sum
            logits = packing.mean(functional.linear(hidden.float(), weight))
        else:
            logits = functional.linear(packing.first(hidden), weight)
        return logits.squeeze(-1) / self.config.temperature


class Body(nn.Module):
    """Embedding, layers, final norm: int [T] → [T, hidden]."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.hidden_size, config.norm_eps)
        frequencies = rope_frequencies(config.rope, config.head_dim)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, ids: Tensor, positions: Tensor, packing: Packing) -> Tensor:
        hidden = self.embed_tokens(ids)
        # angles in float32, whatever the dtype: large positions lose phase in bfloat16
        angles = positions[:, None].float() * self.get_buffer("frequencies")
        rotation = (angles.cos().to(hidden.dtype)[:, None], angles.sin().to(hidden.dtype)[:, None])
        layers = cast(Sequence[Layer], self.layers)
        normed: Tensor = layers[0].input_layernorm(hidden)
        for layer, following in zip(layers, [*layers[1:], None], strict=True):
            hidden, update = layer(hidden, normed, rotation, packing)
            norm = following.input_layernorm if following else self.norm
            into = following.self_attn.qkv if following else None
            hidden, normed = _add_norm(hidden, update, norm, into)
        return normed


class Layer(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(config.hidden_size, config.norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, config.norm_eps)
        self.mlp = FeedForward(config)

    def forward(
        self, hidden: Tensor, normed: Tensor, rotation: tuple[Tensor, Tensor], packing: Packing
    ) -> tuple[Tensor, Tensor]:
        """hidden, and hidden under this layer's first norm → hidden, and what is to be added.

        The addition is left to the caller: it shares a kernel with the next norm.
        """
        mixed = self.self_attn(normed, rotation, packing)
        hidden, normed = _add_norm(hidden, mixed, self.post_attention_layernorm, self.mlp.gate_up)
        return hidden, self.mlp(normed)


class Attention(nn.Module):
    """Grouped-query attention with rotary positions, bidirectional."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        hidden, width = config.hidden_size, config.heads * config.head_dim
        kv_width = config.kv_heads * config.head_dim
        self.widths = (width, kv_width, kv_width)
        self.q_proj = nn.Linear(hidden, width, bias=False)
        self.k_proj = nn.Linear(hidden, kv_width, bias=False)
        self.v_proj = nn.Linear(hidden, kv_width, bias=False)
        self.o_proj = nn.Linear(width, hidden, bias=False)
        self.qkv = Stack()

    def stacked(self) -> list[nn.Linear]:
        """What reads the same input."""
        return [self.q_proj, self.k_proj, self.v_proj]

    def forward(self, hidden: Tensor, rotation: tuple[Tensor, Tensor], packing: Packing) -> Tensor:
        parts = self.qkv(hidden).split(self.widths, dim=-1)
        q, k, v = (part.view(len(part), -1, self.head_dim) for part in parts)
        mixed = packing.attend(*rotate(q, k, *rotation), v)
        out: Tensor = self.o_proj(mixed)
        return out


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.gate_up = Stack()

    def stacked(self) -> list[nn.Linear]:
        """What reads the same input."""
        return [self.gate_proj, self.up_proj]

    def forward(self, hidden: Tensor) -> Tensor:
        out: Tensor = self.down_proj(silu_mul(self.gate_up(hidden), steps_of(self.down_proj)))
        return out


def _add_norm(
    hidden: Tensor, update: Tensor, norm: nn.RMSNorm, into: nn.Module | None
) -> tuple[Tensor, Tensor]:
    """into: the only reader of what is normed."""
    assert norm.eps is not None
    return add_rms_norm(hidden, update, norm.weight, norm.eps, steps_of(into))


def rope_frequencies(rope: Rope, head_dim: int) -> Tensor:
    """float32 [head_dim / 2]. Source: Llama 3.1's scaling rule, as in transformers' "llama3"."""
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device="cpu") / head_dim
    frequencies = 1.0 / (rope.theta**exponents)
    wavelengths = 2 * math.pi / frequencies
    low, high = rope.low_freq_factor, rope.high_freq_factor
    kept = ((rope.original_max_positions / wavelengths - low) / (high - low)).clamp(0, 1)
    return frequencies * ((1 - kept) / rope.factor + kept)
