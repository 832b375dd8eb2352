"""The TensorRT network computes what the torch network computes, run in torch by a stand-in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import checkpoint as checkpoints_of
from engine.architectures.scaled import Scales
from engine.backends import torch as torch_backend
from engine.backends.tensorrt import feeds, network
from engine.backends.tensorrt.feeds import Shape
from engine.config import EngineConfig
from engine.types import Batch, Checkpoint, Logits, Pair
from tests import checkpoints, eager_trt

TOLERANCE = 1e-4  # float32, on logits that lie around ±10
ROBERTA = {"model_type": "roberta", "architectures": ["RobertaForSequenceClassification"]}
TOGETHER = checkpoints.COSINE | {"join_layer": 0}
VARIANTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "llama": (checkpoints.llama, {}),
    "llama, cls pooling": (checkpoints.llama, {"config": {"pooling": "cls"}}),
    "llama, temperature": (checkpoints.llama, {"config": {"temperature": 0.5}}),
    "llama, plain rope": (checkpoints.llama, {"rope": checkpoints.DEFAULT_ROPE}),
    "llama, one kv head": (checkpoints.llama, {"config": {"num_key_value_heads": 1}}),
    "bert": (checkpoints.bert, {}),
    "bert, gelu_new": (checkpoints.bert, {"config": {"hidden_act": "gelu_new"}}),
    "bert, relu": (checkpoints.bert, {"config": {"hidden_act": "relu"}}),
    "xlm-roberta": (checkpoints.xlm_roberta, {}),
    "halves apart": (checkpoints.cosine, {}),
    "halves together from the start": (checkpoints.bert, {"config": TOGETHER}),
    "roberta": (checkpoints.xlm_roberta, {"config": ROBERTA}),
}


@pytest.fixture(scope="module", params=VARIANTS)
def checkpoint(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Checkpoint:
    make, options = VARIANTS[request.param]
    return load(make(tmp_path_factory.mktemp("network") / "model", **options))


def load(folder: Path) -> Checkpoint:
    return checkpoints_of.load(EngineConfig(checkpoint=str(folder)))


def batch_of(checkpoint: Checkpoint, lengths: Sequence[int], seed: int = 7) -> Batch:
    """Random ids, special and padding ids among them, under random splits."""
    random = np.random.default_rng(seed)
    return Batch.pack(
        [
            Pair(
                random.integers(0, checkpoint.config.vocab_size, length, dtype=np.int32),
                split=split_of(checkpoint, length, random),
            )
            for length in lengths
        ]
    )


def split_of(checkpoint: Checkpoint, length: int, random: np.random.Generator) -> int:
    """Where types change; a pair whose halves are encoded apart has both."""
    if checkpoint.raw_config["model_type"] != "bert":
        return length
    apart = checkpoint.raw_config.get("join_layer") is not None
    return int(random.integers(1, length if apart else length + 1))


def reference(checkpoint: Checkpoint, batch: Batch) -> Logits:
    config = EngineConfig(checkpoint="", compute_threads=1)
    return torch_backend.open(checkpoint, config).score(batch)


def run(
    checkpoint: Checkpoint,
    batch: Batch,
    shape: Shape | None = None,
    dtype: torch.dtype = torch.float32,
    scales: Scales | None = None,
) -> Logits:
    """The network's logits, by the stand-in."""
    arrays = network.feeds(checkpoint, batch, shape or Shape.of(batch))
    definition = eager_trt.Network({name: torch.from_numpy(a) for name, a in arrays.items()})
    graph = network.define(eager_trt, definition, checkpoint, dtype, scales)
    [(name, scores)] = definition.outputs.items()
    assert scores.value.dtype == torch.float32
    del graph
    return feeds.REDUCE[name](scores.value.numpy(), batch)


@settings(max_examples=8)
@given(lengths=st.lists(st.integers(2, 90), min_size=1, max_size=9), seed=st.integers(0, 2**16))
def test_any_packing_scores_as_the_torch_network_scores_it(
    checkpoint: Checkpoint, lengths: list[int], seed: int
) -> None:
    batch = batch_of(checkpoint, lengths, seed)
    assert run(checkpoint, batch) == pytest.approx(reference(checkpoint, batch), abs=TOLERANCE)


def test_the_longest_pair_beside_the_shortest(checkpoint: Checkpoint) -> None:
    batch = batch_of(checkpoint, [checkpoint.max_pair_tokens, 2])
    assert run(checkpoint, batch) == pytest.approx(reference(checkpoint, batch), abs=TOLERANCE)


def test_room_that_is_left_over_changes_nothing(checkpoint: Checkpoint) -> None:
    batch = batch_of(checkpoint, [3, 40, 7])
    roomy = run(checkpoint, batch, Shape(tokens=64, rows=5, width=48))
    assert roomy == pytest.approx(run(checkpoint, batch), abs=1e-5)


def test_a_literal_pad_token_is_counted_as_the_reference_counts_it(xlmr_folder: Path) -> None:
    checkpoint = load(xlmr_folder)
    batch = batch_of(checkpoint, [9, 9, 40, 9])
    batch.ids[[0, 2, 3, 12, 17, 30, 66]] = 1
    assert run(checkpoint, batch) == pytest.approx(reference(checkpoint, batch), abs=TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near_and_gives_float32_scores(
    checkpoint: Checkpoint, dtype: torch.dtype
) -> None:
    batch = batch_of(checkpoint, [5, 60, 31])
    expected = reference(checkpoint, batch)
    assert run(checkpoint, batch, dtype=dtype) == pytest.approx(expected, abs=0.25)
