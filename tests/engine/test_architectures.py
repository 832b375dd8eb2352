"""Every family agrees with transformers' own class, however its pairs are packed."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from engine import architectures, checkpoint
from engine.architectures.llama import rope_frequencies
from engine.architectures.packing import Packing
from engine.backends import Backend
from engine.backends import torch as torch_backend
from engine.config import EngineConfig
from engine.families.llama import Rope
from engine.types import Batch, Checkpoint, Pair
from tests import checkpoints, references

TOLERANCE = 1e-4  # float32, on logits that lie around ±10
BFLOAT16_TOLERANCE = 0.25
FAR = 1000 * TOLERANCE  # what a wrong network must differ by, to be caught
LENGTHS = (5, 3, 2, 33, 7, 7, 7, 64, 200, 129, 512, 7)
LLAMA, BERT, XLMR = checkpoints.llama, checkpoints.bert, checkpoints.xlm_roberta
COSINE = checkpoints.cosine


ROBERTA = {"model_type": "roberta", "architectures": ["RobertaForSequenceClassification"]}


class Case:
    """One checkpoint, some pairs of it, and the reference's logits for them."""

    def __init__(self, folder: Path, lengths: Sequence[int] = LENGTHS) -> None:
        self.folder = folder
        self.checkpoint = load(folder)
        self.backend = open_backend(self.checkpoint)
        self.pairs = random_pairs(self.checkpoint, lengths)
        self.expected = reference(self.checkpoint)(folder, self.pairs)

    def score(self, order: Sequence[int]) -> list[float]:
        logits = self.backend.score(Batch.pack([self.pairs[i] for i in order]))
        return [float(logit) for logit in logits]


def reference(checkpoint: Checkpoint) -> Callable[[Path, Sequence[Pair]], list[float]]:
    if checkpoint.family == "llama":
        return references.llama
    cosine = "join_layer" in checkpoint.raw_config
    return references.cosine if cosine else references.classifier


def load(folder: Path) -> Checkpoint:
    return checkpoint.load(EngineConfig(checkpoint=str(folder)))


def open_backend(checkpoint: Checkpoint) -> Backend:
    return torch_backend.open(checkpoint, EngineConfig(checkpoint="", compute_threads=1))


def random_pairs(checkpoint: Checkpoint, lengths: Sequence[int]) -> list[Pair]:
    random = np.random.default_rng(7)
    typed = checkpoint.raw_config["model_type"] == "bert"
    return [
        Pair(
            random.integers(0, checkpoint.config.vocab_size, length, dtype=np.int32),
            split=int(random.integers(1, max(length, 2))) if typed else length,
        )
        for length in lengths
    ]


@pytest.fixture(scope="module", params=[LLAMA, BERT, XLMR, COSINE])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(request.param(tmp_path_factory.mktemp("architecture") / "model"))


def test_the_tiny_checkpoints_tell_pairs_apart(case: Case) -> None:
    assert np.std(case.expected) > 1


def test_a_batch_of_varied_lengths_agrees_with_the_reference(case: Case) -> None:
    assert case.score(range(len(LENGTHS))) == pytest.approx(case.expected, abs=TOLERANCE)


@settings(max_examples=30)
@given(data=st.data())
def test_a_score_does_not_depend_on_what_shares_its_batch(case: Case, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(LENGTHS))))
    cut = data.draw(st.integers(1, len(order)))
    for batch in (order[:cut], order[cut:]):
        expected = [case.expected[i] for i in batch]
        if batch:
            assert case.score(batch) == pytest.approx(expected, abs=TOLERANCE)


def test_a_pair_alone_scores_as_in_any_batch(case: Case) -> None:
    alone = [case.score([i])[0] for i in range(len(LENGTHS))]
    assert alone == pytest.approx(case.expected, abs=TOLERANCE)


VARIANTS: dict[str, tuple[Callable[..., Path], dict[str, Any]]] = {
    "cls pooling": (LLAMA, {"config": {"pooling": "cls"}}),
    "temperature": (LLAMA, {"config": {"temperature": 0.5}}),
    "plain rope": (LLAMA, {"rope": checkpoints.DEFAULT_ROPE}),
    "plain rope, transformers 5": (LLAMA, {"rope": checkpoints.DEFAULT_ROPE, "layout": 5}),
    "llama3 rope, transformers 5": (LLAMA, {"layout": 5}),
    "one kv head": (LLAMA, {"config": {"num_key_value_heads": 1}}),
    "as many kv heads as heads": (LLAMA, {"config": {"num_key_value_heads": 8}}),
    "llama in bfloat16": (LLAMA, {"dtype": torch.bfloat16}),
    "llama in float16": (LLAMA, {"dtype": torch.float16}),
    "bert in bfloat16": (BERT, {"dtype": torch.bfloat16}),
    "bert in float16": (BERT, {"dtype": torch.float16}),
    "bert with gelu_new": (BERT, {"config": {"hidden_act": "gelu_new"}}),
    "bert with relu": (BERT, {"config": {"hidden_act": "relu"}}),
    "xlm-roberta in bfloat16": (XLMR, {"dtype": torch.bfloat16}),
    "roberta": (XLMR, {"config": ROBERTA}),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_of_a_family_agrees_with_the_reference(name: str, tmp_path: Path) -> None:
    make, options = VARIANTS[name]
    case = Case(make(tmp_path, **options), lengths=(7, 150, 7, 7, 31, 300))
    assert case.score(range(6)) == pytest.approx(case.expected, abs=TOLERANCE)


def test_shards_score_as_one_file(case: Case, tmp_path: Path) -> None:
    whole = load_file(case.folder / "model.safetensors")
    shutil.copy(case.folder / "config.json", tmp_path)
    shutil.copy(case.folder / "tokenizer.json", tmp_path)
    checkpoints.save_weights(tmp_path, whole, shards=3)
    sharded = open_backend(load(tmp_path))
    assert sharded.score(Batch.pack(case.pairs)).tolist() == case.score(range(len(LENGTHS)))


def test_a_literal_pad_token_is_counted_as_the_reference_counts_it(tmp_path: Path) -> None:
    case = Case(XLMR(tmp_path), lengths=(9, 9, 40, 9))
    for pair in case.pairs:
        pair.ids[[2, 3, 8]] = 1
    expected = references.classifier(case.folder, case.pairs)
    assert case.score(range(4)) == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize(
    "mistake",
    [{"is_causal": True}, {"rope_scaling": None}, {"pooling": "cls"}, {"temperature": 0.5}],
    ids=str,
)
def test_a_wrong_network_would_be_far_off(llama_folder: Path, mistake: dict[str, Any]) -> None:
    pairs = random_pairs(load(llama_folder), LENGTHS)
    right = references.llama(llama_folder, pairs)
    wrong = references.llama(llama_folder, pairs, **mistake)
    assert max(abs(a - b) for a, b in zip(right, wrong, strict=True)) > FAR


def test_the_published_rope_scaling_is_transformers_own() -> None:
    published = checkpoints.LLAMA3_ROPE | {"factor": 32.0, "original_max_position_embeddings": 8192}
    config = transformers.LlamaConfig(
        head_dim=64, rope_parameters=published | {"rope_theta": 500000.0}
    )
    expected, attention_factor = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    ours = rope_frequencies(Rope(500000.0, 32.0, 1.0, 4.0, 8192), head_dim=64)
    assert attention_factor == 1
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=0)


def test_a_half_precision_network_pools_and_scores_in_float32(case: Case) -> None:
    network = architectures.load(case.checkpoint, torch.bfloat16, torch.device("cpu"))
    batch = Batch.pack(case.pairs)
    arrays = (torch.from_numpy(array) for array in (batch.ids, batch.positions, batch.types))
    with torch.inference_mode():
        logits = network(*arrays, Packing.of(batch, torch.device("cpu")))
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())
    assert logits.tolist() == pytest.approx(case.expected, abs=BFLOAT16_TOLERANCE)


def test_weights_are_loaded_whole_in_the_asked_dtype_and_frozen(case: Case) -> None:
    network = architectures.load(case.checkpoint, torch.float32, torch.device("cpu"))
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert {t.device.type for t in [*network.parameters(), *network.buffers()]} == {"cpu"}
    assert not any(p.requires_grad for p in network.parameters())
    assert set(network.state_dict()) == set(case.checkpoint.tensors)
