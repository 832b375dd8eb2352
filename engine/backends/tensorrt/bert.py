"""BERT and (XLM-)RoBERTa as a TensorRT network: engine/architectures/bert.py, layer for layer."""

import numpy as np
import torch

from engine.backends.tensorrt.attention import Box
from engine.backends.tensorrt.graph import Graph, Node
from engine.families.bert import BertConfig
from engine.types import Batch, Ids

ACTIVATIONS = {"gelu": "GELU_ERF", "gelu_new": "GELU_TANH", "relu": "RELU"}


def define(graph: Graph, config: BertConfig, ids: Node, box: Box) -> tuple[str, Node]:
    """ids: int32 [T]. Returns the output's name and float32 scores, one a row."""
    hidden = _embeddings(graph, config, ids)
    apart = config.join_layer or 0
    halves = None if config.join_layer is None else Box(graph, "half_")
    for layer in range(config.layers):
        seen = halves if halves is not None and layer < apart else box
        hidden = _layer(graph, config, hidden, seen, f"{config.prefix}.encoder.layer.{layer}")
    if halves is not None:
        return "row_scores", _cosine(graph, config, hidden, halves)
    first = graph.cast(graph.gather(hidden, box.first()), torch.float32)
    dense, out = (
        ("bert.pooler.dense", "classifier")
        if config.prefix == "bert"
        else ("classifier.dense", "classifier.out_proj")
    )
    inner = graph.activation(_linear32(graph, first, dense), "TANH")
    return "row_scores", graph.reshape(_linear32(graph, inner, out), (-1,))


def positions(config: BertConfig, batch: Batch) -> Ids:
    """Each token's row in the position table, int32 [T].

    RoBERTa counts past a literal <pad>: engine.architectures.bert says how.
    """
    if config.prefix == "bert":
        return batch.positions
    pads = batch.ids == config.position_offset - 1
    seen = np.concatenate(([0], np.cumsum(pads)))
    before = seen[:-1] - np.repeat(seen[batch.offsets[:-1]], np.diff(batch.offsets))
    counted = np.where(pads, -1, batch.positions - before)
    return (counted + config.position_offset).astype(np.int32)


def _embeddings(graph: Graph, config: BertConfig, ids: Node) -> Node:
    """Words, places and kinds; RoBERTa has one kind, a constant."""
    name = f"{config.prefix}.embeddings"
    places = graph.embed(f"{name}.position_embeddings.weight", graph.input("positions"))
    kinds = f"{name}.token_type_embeddings.weight"
    if config.prefix == "bert":
        kind = graph.embed(kinds, graph.input("types"))
    else:
        kind = graph.constant(graph.weight(kinds)[:1], graph.dtype, kinds)
    words = graph.embed(f"{name}.word_embeddings.weight", ids)
    summed = graph.add(graph.add(words, places), kind)
    return graph.layer_norm(summed, f"{name}.LayerNorm", config.norm_eps)


def _layer(graph: Graph, config: BertConfig, hidden: Node, box: Box, name: str) -> Node:
    width = config.hidden_size // config.heads
    heads = [
        graph.reshape(
            graph.linear(hidden, f"{name}.attention.self.{part}", bias=True),
            (-1, config.heads, width),
        )
        for part in ("query", "key", "value")
    ]
    mixed = box.attend(heads, width, config.hidden_size, f"{name}.attention.self")
    hidden = _add_norm(graph, config, mixed, hidden, f"{name}.attention.output")
    inner = graph.linear(hidden, f"{name}.intermediate.dense", bias=True)
    inner = graph.activation(inner, ACTIVATIONS[config.activation])
    return _add_norm(graph, config, inner, hidden, f"{name}.output")


def _add_norm(graph: Graph, config: BertConfig, update: Node, residual: Node, name: str) -> Node:
    summed = graph.add(graph.linear(update, f"{name}.dense", bias=True), residual)
    return graph.layer_norm(summed, f"{name}.LayerNorm", config.norm_eps)


def _cosine(graph: Graph, config: BertConfig, hidden: Node, halves: Box) -> Node:
    """Scaled cosine of each pair's two mean vectors, in float32."""
    mask = graph.cast(graph.reshape(graph.input("half_mask", rank=2), (0, 0, 1)), torch.float32)
    cells = graph.gather(graph.cast(hidden, torch.float32), halves.cells)
    # the mean's length cancels in the cosine: the sum will do
    sums = graph.reduce(graph.mul(cells, mask), "SUM", keep=False, axis=1)
    pairs = graph.reshape(sums, (-1, 2, config.hidden_size))
    dots = graph.reduce(graph.reduce(pairs, "PROD", keep=False, axis=1), "SUM", keep=True)
    squares = graph.reduce(graph.mul(pairs, pairs), "SUM", keep=False, axis=2)
    length = graph.unary(graph.reduce(squares, "PROD", keep=True), "SQRT")
    floor = graph.constant(torch.full((1, 1), 1e-12), torch.float32)
    cosine = graph.mul(dots, graph.unary(graph.add(length, floor), "RECIP"))
    scale, shift = (graph.row(f"ranking.{name}", torch.float32) for name in ("scale", "shift"))
    return graph.reshape(graph.add(graph.mul(cosine, scale), shift), (-1,))


def _linear32(graph: Graph, x: Node, name: str) -> Node:
    """The head stays in float32."""
    weight = graph.constant(graph.weight(f"{name}.weight"), torch.float32, f"{name}.weight")
    return graph.add(graph.matmul(x, weight, name), graph.row(f"{name}.bias", torch.float32))
