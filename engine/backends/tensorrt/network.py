"""A checkpoint → a TensorRT network: tokens are packed everywhere but inside attention.

Inputs, all int32: ids [T], cells [rows, width], places [T], lengths [rows], and by family
positions [T] and types [T]. Output: token_scores [T] or row_scores [rows], float32.
"""

import importlib
from typing import Any

import torch

from engine import architectures
from engine.backends.tensorrt.feeds import Shape, inputs
from engine.backends.tensorrt.graph import Box, Graph, Scales
from engine.errors import StartError
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
    if reason := refusal(checkpoint):
        raise StartError(f"TensorRT cannot take this checkpoint: {reason}. Use the torch backend")
    weights = architectures.read(checkpoint.tensors, dtype, torch.device("cpu"))
    graph = Graph(trt, network, weights, dtype, scales)
    family = importlib.import_module(f"{__package__}.{checkpoint.family}")
    ids = graph.input("ids")
    box = Box(graph.input("cells", rank=2), graph.input("places"), graph.input("lengths"))
    name, scores = family.define(graph, checkpoint.config, ids, box)
    graph.output(scores, name)
    return graph


def refusal(checkpoint: Checkpoint) -> str:
    """Why this checkpoint cannot be compiled; empty if it can."""
    if getattr(checkpoint.config, "join_layer", None) is not None:
        return "its query and passage are encoded apart, which is not built here"
    return ""


def feeds(checkpoint: Checkpoint, batch: Batch, shape: Shape) -> dict[str, Ids]:
    """The inputs' values for one call of this shape; some families use fewer."""
    family = importlib.import_module(f"{__package__}.{checkpoint.family}")
    return inputs(batch, family.positions(checkpoint.config, batch), shape)
