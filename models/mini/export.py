"""Writes a trained model in Hugging Face's layout: config, safetensors in fp16, tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from safetensors.torch import save_file
from tokenizers import Tokenizer

from models.mini import network, teacher

LONGEST = 512


NAME = "crossrank/mini"


def save(model: network.Ranker, folder: Path) -> None:
    """All of the files; what is there is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: w.detach().half().contiguous() for name, w in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    _save_config(model, folder / "config.json")
    _save_tokenizer(folder)


def _save_config(model: network.Ranker, file: Path) -> None:
    config = model.bert.config.to_dict() | {
        "_name_or_path": NAME,
        "architectures": ["BertForCosineRanking"],
        "dtype": "float16",
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
        "join_layer": network.JOIN_LAYER,
    }
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _save_tokenizer(folder: Path) -> None:
    """The base's own, without its fixed padding and 128-token limit."""
    base = teacher.weights_folder()
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    shutil.copyfile(base / "special_tokens_map.json", folder / "special_tokens_map.json")
    settings = json.loads((base / "tokenizer_config.json").read_text())
    settings |= {"model_max_length": LONGEST, "name_or_path": NAME}
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    (folder / "tokenizer_config.json").write_text(text)
