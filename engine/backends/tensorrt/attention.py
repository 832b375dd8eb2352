"""Attention over packed tokens: the one place with padding, a box of rows and width."""

from collections.abc import Sequence

import torch

from engine.backends.tensorrt.graph import Graph, Node


class Box:
    """The padded [rows, width] view that attention works on, and the inputs that describe it.

    cells: int32 [rows, width], the token that each cell shows; padding shows any token.
    places: int32 [T], each token's cell, counted row by row. lengths: int32 [rows].
    """

    def __init__(self, graph: Graph, prefix: str = "") -> None:
        self._graph = graph
        self.cells = graph.input(f"{prefix}cells", rank=2)
        self.places = graph.input(f"{prefix}places")
        self.lengths = graph.input(f"{prefix}lengths")

    def attend(self, heads: Sequence[Node], dim: int, width: int, name: str) -> Node:
        """Bidirectional attention inside each row.

        heads: q [T, heads, dim], k and v [T, kv_heads, dim]. Returns [T, width = heads · dim].
        """
        graph, trt = self._graph, self._graph.trt
        q, k, v = heads
        # the layer has no scale of its own
        q = graph.mul(q, graph.constant(torch.full((1, 1, 1), dim**-0.5), graph.dtype))
        kinds = (trt.AttentionNormalizationOp.SOFTMAX, trt.CausalMaskKind.NONE)
        boxed = [self._turned(graph.gather(x, self.cells)) for x in (q, k, v)]
        layer = graph.network.add_attention_v2(*boxed, *kinds)
        layer.decomposable = False  # the build fails rather than run attention unfused
        layer.key_value_lengths = self.lengths
        mixed = self._turned(graph.out(layer, name))
        return graph.gather(graph.reshape(mixed, (-1, width)), self.places)

    def first(self) -> Node:
        """The first token of each row: int32 [rows]."""
        graph = self._graph
        column = graph.constant(torch.zeros(1), torch.int32)
        return graph.reshape(graph.out(graph.network.add_gather(self.cells, column, 1)), (-1,))

    def _turned(self, x: Node) -> Node:
        """[rows, a, b, dim] → [rows, b, a, dim]."""
        layer = self._graph.network.add_shuffle(x)
        layer.first_transpose = self._graph.trt.Permutation([0, 2, 1, 3])
        return self._graph.out(layer)


def rotate(graph: Graph, x: Node, tables: tuple[Node, Node], positions: Node) -> Node:
    """Rotary embedding, halves layout. x: [T, heads, dim]; cos and sin: [positions, dim / 2]."""
    heads = graph.reshape(x, (0, 0, 1, -1))
    layer = graph.network.add_rotary_embedding(heads, *tables, False, 0)
    layer.set_input(3, graph.reshape(positions, (-1, 1)))
    return graph.reshape(graph.out(layer), (0, 0, -1))
