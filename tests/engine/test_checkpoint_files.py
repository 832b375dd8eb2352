"""Files that are missing, damaged or not of this model are refused, and named."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from engine import checkpoint
from engine.config import EngineConfig
from engine.errors import CheckpointError
from engine.types import Checkpoint
from tests import checkpoints

Tensors = dict[str, torch.Tensor]
INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return checkpoints.llama(tmp_path / "one")


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return checkpoints.llama(tmp_path / "many", shards=2)


def load(folder: Path) -> Checkpoint:
    return checkpoint.load(EngineConfig(checkpoint=str(folder)))


def refused(folder: Path, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason):
        load(folder)


def edit_weights(folder: Path, edit: Callable[[Tensors], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    checkpoints.save_weights(folder, weights)


def edit_index(folder: Path, tensor: str, file: str) -> None:
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"][tensor] = file
    (folder / INDEX).write_text(json.dumps(index))


def test_tensors_and_files_that_no_score_needs_are_tolerated(tmp_path: Path, folder: Path) -> None:
    bert = checkpoints.bert(tmp_path / "bert")
    wanted = set(load(folder).tensors), set(load(bert).tensors)
    edit_weights(folder, lambda w: w.update({"lm_head.weight": torch.zeros(512, 64)}))
    edit_weights(bert, lambda w: w.update({"bert.embeddings.position_ids": torch.arange(512)}))
    (bert / "pytorch_model.bin").write_bytes(b"a pickle beside the safetensors")
    assert (set(load(folder).tensors), set(load(bert).tensors)) == wanted


def test_one_whole_file_is_preferred_to_a_leftover_index(folder: Path) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": {"score.weight": "gone.safetensors"}}))
    assert set(load(folder).tensors.values()) == {folder / "model.safetensors"}


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda w: w.pop("score.weight"), "the weights lack score.weight: not a ranking model"),
        (lambda w: w.pop("model.norm.weight"), "the weights lack model.norm.weight"),
        (lambda w: w.update({"score.bias": torch.ones(1)}), "hold score.bias, which this arch"),
        (lambda w: w.update({"score.weight": torch.ones(2, 64)}), r"shape \[2, 64\].* \[1, 64\]"),
        (lambda w: w.update({"model.norm.weight": torch.ones(63)}), r"shape \[63\].*asks for \[64"),
        (
            lambda w: w.update({"score.weight": torch.ones(1, 64, dtype=torch.int8)}),
            "score.weight is stored as I8; crossrank reads",
        ),
    ],
)
def test_weights_that_do_not_fit_the_network_are_refused_by_name(
    folder: Path, edit: Callable[[Tensors], object], reason: str
) -> None:
    edit_weights(folder, edit)
    refused(folder, reason)


def test_a_long_list_of_names_is_cut(folder: Path) -> None:
    edit_weights(folder, lambda w: [w.pop(n) for n in list(w) if "layers.2" in n])
    refused(folder, r"the weights lack (model\.layers\.2\.\S+, ){4}\S+ and 4 more: not a ranking")


@pytest.mark.parametrize("name", ["classifier.weight", "classifier.bias", "bert.pooler.dense.bias"])
def test_a_bert_without_its_whole_head_is_refused(tmp_path: Path, name: str) -> None:
    bert = checkpoints.bert(tmp_path / "bert")
    edit_weights(bert, lambda w: w.pop(name))
    refused(bert, f"the weights lack {name}")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "model.ckpt"])
def test_pickled_weights_are_refused_with_the_remedy(folder: Path, name: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    refused(folder, f"{name} can run code when loaded; .* save_pretrained")


def test_a_folder_without_weights_says_what_is_read(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    refused(folder, "has no model.safetensors and no model.safetensors.index.json")


@pytest.mark.parametrize("kept", [0, 7, 100, 20000, -1])
def test_a_truncated_file_is_refused_by_name(folder: Path, kept: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    refused(folder, r"model.safetensors is damaged or cut short .*: copy or download it again")


def test_a_file_that_is_not_safetensors_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n" * 3)
    refused(folder, "model.safetensors is damaged or cut short")


def test_a_truncated_shard_is_refused_by_name(sharded: Path) -> None:
    path = sharded / "model-00002-of-00002.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    refused(sharded, "model-00002-of-00002.safetensors is damaged or cut short")


def test_a_missing_shard_is_refused_by_name(sharded: Path) -> None:
    (sharded / "model-00002-of-00002.safetensors").unlink()
    refused(sharded, "lacks model-00002-of-00002.safetensors: copy or download it again")


@pytest.mark.parametrize("file", ["../one/model.safetensors", "/etc/passwd", "sub/x.safetensors"])
def test_an_index_may_not_name_files_outside_its_folder(
    sharded: Path, folder: Path, file: str
) -> None:
    edit_index(sharded, "score.weight", file)
    refused(sharded, f"names files outside its folder: {file}")


@pytest.mark.parametrize("file", ["..", ".", ""])
def test_an_index_may_not_name_folders(sharded: Path, file: str) -> None:
    edit_index(sharded, "score.weight", file)
    refused(sharded, "outside its folder|lacks")


def test_an_index_that_promises_too_much_is_refused(sharded: Path) -> None:
    edit_index(sharded, "model.extra.weight", "model-00001-of-00002.safetensors")
    refused(sharded, "promises model.extra.weight, which its files do not hold")


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b'{"weight_map": []}', b"null", b"\xff"])
def test_an_index_that_is_none_is_refused(sharded: Path, content: bytes) -> None:
    (sharded / INDEX).write_bytes(content)
    refused(sharded, "is not a safetensors index")


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "has no config.json")


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1,}', b"\xff\xfe", b"[]", b"null", b"7"])
def test_a_config_that_is_not_a_json_object_is_refused(folder: Path, content: bytes) -> None:
    (folder / "config.json").write_bytes(content)
    refused(folder, "config.json is not valid JSON|config.json must hold a JSON object")


def test_a_config_that_cannot_be_read_is_refused(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    refused(folder, "config.json cannot be read: Is a directory")


def test_a_folder_without_a_tokenizer_is_refused_with_the_remedy(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    refused(folder, "has no tokenizer.json: save the tokenizer again as a fast tokenizer")


@pytest.mark.parametrize("content", ["", "{}", '{"model": {"type": "BPE"}', "\0"])
def test_a_damaged_tokenizer_is_refused(folder: Path, content: str) -> None:
    (folder / "tokenizer.json").write_text(content)
    refused(folder, "tokenizer.json is not a tokenizer")


def test_a_tokenizer_of_another_model_is_refused_with_both_sizes(tmp_path: Path) -> None:
    small = checkpoints.llama(tmp_path / "small", config={"vocab_size": 503})
    refused(small, "tokenizer.json has 504 ids but config.json a vocab_size of 503")
    large = checkpoints.llama(tmp_path / "large", config={"vocab_size": 1017})
    refused(large, "tokenizer.json has 504 ids but config.json a vocab_size of 1017")
    assert load(checkpoints.llama(tmp_path / "padded", config={"vocab_size": 1016}))
