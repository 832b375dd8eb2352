"""What makes a folder a checkpoint that can be served, and what is said where it is not one."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import checkpoint
from engine.config import EngineConfig
from engine.errors import CheckpointError, StartError
from engine.types import Checkpoint
from tests import checkpoints

EVERY_FAMILY = [checkpoints.llama, checkpoints.bert, checkpoints.xlm_roberta]


def load(folder: Path, **config: Any) -> Checkpoint:
    return checkpoint.load(EngineConfig(checkpoint=str(folder), **config))


@pytest.mark.parametrize("rope", [checkpoints.LLAMA3_ROPE, checkpoints.DEFAULT_ROPE])
def test_both_config_layouts_mean_the_same(tmp_path: Path, rope: dict[str, Any]) -> None:
    old = load(checkpoints.llama(tmp_path / "v4", rope=rope, layout=4))
    new = load(checkpoints.llama(tmp_path / "v5", rope=rope, layout=5))
    assert "rope_theta" in old.raw_config
    assert "rope_theta" not in new.raw_config
    assert old.config == new.config


def test_fields_that_a_config_leaves_out_have_the_published_values(tmp_path: Path) -> None:
    spelled = {"temperature": 1.0, "pooling": "avg", "num_labels": 1, "is_causal": False}
    silent = dict.fromkeys([*spelled, "id2label"])
    full = load(checkpoints.llama(tmp_path / "full", config=spelled))
    assert load(checkpoints.llama(tmp_path / "bare", config=silent)).config == full.config


@pytest.mark.parametrize("make", EVERY_FAMILY)
def test_shards_hold_the_same_tensors_as_one_file(
    tmp_path: Path, make: Callable[..., Path]
) -> None:
    whole, sharded = load(make(tmp_path / "whole")), load(make(tmp_path / "sharded", shards=3))
    assert set(sharded.tensors) == set(whole.tensors)
    assert len(set(sharded.tensors.values())) == 3
    assert sharded.config == whole.config


def test_a_nemotron_pair_may_have_8192_tokens_and_a_bert_pair_512(tmp_path: Path) -> None:
    llama = checkpoints.llama(tmp_path / "llama", config={"max_position_embeddings": 131072})
    assert load(llama).max_pair_tokens == 8192
    assert load(checkpoints.bert(tmp_path / "bert")).max_pair_tokens == 512
    assert load(checkpoints.xlm_roberta(tmp_path / "xlmr")).max_pair_tokens == 512


def test_the_pair_limit_can_be_lowered_but_not_raised(bert_folder: Path) -> None:
    assert load(bert_folder, max_pair_tokens=100).max_pair_tokens == 100
    with pytest.raises(StartError, match=r"513 tokens was asked for.* takes 512: set it to 512"):
        load(bert_folder, max_pair_tokens=513)


def test_a_folder_is_served_under_its_published_name_or_its_own(tmp_path: Path) -> None:
    name = "nvidia/llama-3.2-nv-rerankqa-1b-v2"
    known = checkpoints.llama(tmp_path / "a", config={"_name_or_path": name})
    local = checkpoints.llama(tmp_path / "mine", config={"_name_or_path": "/home/me/run 7"})
    assert load(known).name == name
    assert load(local).name == "mine"


def test_code_in_the_folder_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkpoints.llama(tmp_path / "trap")
    code = f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit('remote code ran')\n"
    for name in ("llama_bidirectional_model", "tokenization", "__init__", "sitecustomize"):
        (folder / f"{name}.py").write_text(code)
    assert "auto_map" in json.loads((folder / "config.json").read_text())
    monkeypatch.chdir(folder)
    load(folder)
    assert not (tmp_path / "ran").exists()
    assert "llama_bidirectional_model" not in sys.modules


CONFIG_REFUSALS = [
    ({"pooling": "last"}, "pooling is 'last'; crossrank serves 'avg' or 'cls'"),
    ({"pooling": "weighted_avg"}, "pooling is 'weighted_avg'"),
    ({"model_type": "llama"}, "model_type 'llama' is not served"),
    ({"model_type": None}, "model_type None is not served"),
    ({"model_type": ["bert"]}, "is not served"),
    ({"architectures": ["LlamaForSequenceClassification"]}, "A causal model"),
    ({"architectures": ["LlamaForCausalLM"]}, "A causal model"),
    ({"architectures": ["LlamaBidirectionalModel"]}, "without a ranking head"),
    ({"architectures": None}, "is saved from LlamaBidirectionalForSequenceClassification"),
    ({"architectures": 7}, "is saved from LlamaBidirectionalForSequenceClassification"),
    ({"is_causal": True}, "is_causal is True, which is not served"),
    ({"is_decoder": True}, "is_decoder is True, which is not served"),
    ({"attention_bias": True}, "attention_bias is True"),
    ({"id2label": {"0": "a", "1": "b"}}, "declares 2 labels; a reranker has exactly 1"),
    ({"id2label": None, "num_labels": 3}, "declares 3 labels"),
    ({"temperature": 0}, "temperature must be a number above 0, not 0"),
    ({"temperature": -1.0}, "temperature must be a number above 0"),
    ({"temperature": float("nan")}, "temperature must be a number above 0"),
    ({"temperature": float("inf")}, "temperature must be a number above 0"),
    ({"temperature": "warm"}, "temperature must be a number above 0"),
    ({"rope_scaling": {"rope_type": "yarn", "factor": 8.0}}, "'yarn'; crossrank serves 'default'"),
    ({"rope_scaling": {"type": "linear", "factor": 8.0}}, "rope_type is 'linear'"),
    ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "low_freq_factor"),
    ({"rope_scaling": "llama3"}, "must be an object"),
    ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
    ({"num_key_value_heads": 3}, "does not divide"),
    ({"hidden_size": None}, "has no 'hidden_size'"),
    ({"num_hidden_layers": 2.5}, "whole number above 0, not 2.5"),
    ({"num_hidden_layers": 5}, "lack .*: not a ranking model, or not all"),
    ({"num_hidden_layers": 3}, "model.layers.3.*which this architecture has no place for"),
    ({"vocab_size": 513}, r"embed_tokens.weight has shape \[512, 64\], but .* \[513, 64\]"),
]


@pytest.mark.parametrize(("change", "reason"), CONFIG_REFUSALS, ids=str)
def test_a_config_that_cannot_be_served_is_refused_with_the_reason(
    llama_folder: Path, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    for file in llama_folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    raw = json.loads((llama_folder / "config.json").read_text()) | change
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(raw))
    with pytest.raises(CheckpointError, match=reason):
        load(tmp_path)
