"""A checkpoint → a TensorRT network: tokens are packed everywhere but inside attention.

Inputs, all int32: ids [T], cells [rows, width], places [T], lengths [rows], and by family
positions [T], types [T], and a box of the pairs' halves. Output, float32: token_scores [T] or
row_scores [rows].
"""

import importlib
from typing import Any

import torch

from engine import architectures
from engine.architectures.scaled import Scales
from engine.backends.tensorrt.attention import Box
from engine.backends.tensorrt.feeds import Shape, half_inputs, inputs
from engine.backends.tensorrt.graph import Graph
from engine.types import Batch, Checkpoint, Ids


def define(
    trt: Any,
    network: Any,
    checkpoint: Checkpoint,
    dtype: torch.dtype,
    scales: Scales | None = None,
) -> Graph:
    """Add the checkpoint's layers to an empty, strongly typed `network`.

    Keep the Graph alive until the network is built: the
    builder reads the weights where they lie.
    """
    weights = architectures.read(checkpoint.tensors, dtype, torch.device("cpu"))
    graph = Graph(trt, network, weights, dtype, scales)
    family = importlib.import_module(f"{__package__}.{checkpoint.family}")
    ids = graph.input("ids")
    box = Box(graph)
    name, scores = family.define(graph, checkpoint.config, ids, box)
    graph.output(scores, name)
    return graph


def feeds(checkpoint: Checkpoint, batch: Batch, shape: Shape) -> dict[str, Ids]:
    """The inputs' values for one call of this shape; some families use fewer."""
    family = importlib.import_module(f"{__package__}.{checkpoint.family}")
    arrays = inputs(batch, family.positions(checkpoint.config, batch), shape)
    apart = getattr(checkpoint.config, "join_layer", None) is not None
    return arrays | half_inputs(batch, shape) if apart else arrays
