"""The bidirectional Llama as a TensorRT network: engine/architectures/llama.py, layer for layer."""

import torch

from engine.architectures.llama import rope_frequencies
from engine.backends.tensorrt.attention import Box, rotate
from engine.backends.tensorrt.graph import Graph, Node
from engine.families.llama import LlamaConfig
from engine.types import Batch, Ids


def define(graph: Graph, config: LlamaConfig, ids: Node, box: Box) -> tuple[str, Node]:
    """ids: int32 [T]. Returns the output's name and float32 scores, a token ("avg") or a row."""
    body = _Body(graph, config, box)
    hidden = graph.embed("model.embed_tokens.weight", ids)
    for layer in range(config.layers):
        hidden = body.layer(hidden, f"model.layers.{layer}")
    if config.pooling == "avg":
        # the head is linear: it commutes with the mean, which is left to the caller
        return "token_scores", _head(graph, config, hidden)
    return "row_scores", _head(graph, config, graph.gather(hidden, box.first()))


def positions(config: LlamaConfig, batch: Batch) -> Ids:
    """Each token's row in the rotary tables, int32 [T]."""
    return batch.positions


class _Body:
    """What every layer shares: rotary tables, positions and the box."""

    def __init__(self, graph: Graph, config: LlamaConfig, box: Box) -> None:
        self.graph, self.config, self.box = graph, config, box
        self.positions = graph.input("positions")
        # angles in float32, whatever the dtype: large positions lose phase in bfloat16
        rows = torch.arange(config.max_pair_tokens, dtype=torch.float32)[:, None]
        angles = rows * rope_frequencies(config.rope, config.head_dim)
        self.tables = (
            graph.constant(angles.cos(), graph.dtype, "rotary.cos"),
            graph.constant(angles.sin(), graph.dtype, "rotary.sin"),
        )

    def layer(self, hidden: Node, name: str) -> Node:
        graph, eps = self.graph, self.config.norm_eps
        normed = graph.rms_norm(hidden, f"{name}.input_layernorm", eps)
        hidden = graph.add(hidden, self.attention(normed, f"{name}.self_attn"))
        normed = graph.rms_norm(hidden, f"{name}.post_attention_layernorm", eps)
        return graph.add(hidden, self.feed_forward(normed, f"{name}.mlp"))

    def attention(self, x: Node, name: str) -> Node:
        graph, dim = self.graph, self.config.head_dim
        q, k, v = (
            graph.reshape(graph.linear(x, f"{name}.{part}_proj"), (-1, heads, dim))
            for part, heads in zip("qkv", self.heads, strict=True)
        )
        q, k = (rotate(graph, part, self.tables, self.positions) for part in (q, k))
        mixed = self.box.attend((q, k, v), dim, self.config.heads * dim, name)
        return graph.linear(mixed, f"{name}.o_proj")

    @property
    def heads(self) -> tuple[int, int, int]:
        return self.config.heads, self.config.kv_heads, self.config.kv_heads

    def feed_forward(self, x: Node, name: str) -> Node:
        graph = self.graph
        gate, up = graph.linear(x, f"{name}.gate_proj"), graph.linear(x, f"{name}.up_proj")
        gated = graph.mul(graph.mul(gate, graph.activation(gate, "SIGMOID")), up)
        return graph.linear(gated, f"{name}.down_proj")


def _head(graph: Graph, config: LlamaConfig, hidden: Node) -> Node:
    """One logit a row of hidden, temperature applied, in float32."""
    normed = graph.cast(graph.rms_norm(hidden, "model.norm", config.norm_eps), torch.float32)
    head = graph.weight("score.weight").float() / config.temperature
    return graph.reduce(graph.mul(normed, graph.constant(head, torch.float32)), "SUM", keep=False)
