"""Tiny seeded checkpoints of every served family, written as Hugging Face writes them.

Weights are scaled so that different pairs get clearly different logits.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from engine import families
from tests import vocabularies

Config = dict[str, Any]
_HEADS = ("score.weight", "classifier.weight", "classifier.out_proj.weight")

LLAMA: Config = {
    "architectures": ["LlamaBidirectionalForSequenceClassification"],
    "auto_map": {"AutoConfig": "llama_bidirectional_model.LlamaBidirectionalConfig"},
    "model_type": "llama_bidirec",
    "pooling": "avg",
    "id2label": {"0": "LABEL_0"},
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 16,  # 8 * 16 is not hidden_size: the projections are not square
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": True,
    "max_position_embeddings": 1024,
}
# Wavelengths here run from 6 to 20000 tokens: some are kept, one is blended, the rest stretched.
LLAMA3_ROPE: Config = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}
DEFAULT_ROPE: Config = {"rope_type": "default"}
BERT: Config = {
    "architectures": ["BertForSequenceClassification"],
    "model_type": "bert",
    "id2label": {"0": "LABEL_0"},
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "pad_token_id": 0,
}
COSINE: Config = BERT | {"architectures": ["BertForCosineRanking"], "join_layer": 3}
XLM_ROBERTA: Config = BERT | {
    "architectures": ["XLMRobertaForSequenceClassification"],
    "model_type": "xlm-roberta",
    "layer_norm_eps": 1e-5,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "pad_token_id": 1,
}


def llama(
    folder: Path,
    *,
    config: Mapping[str, Any] | None = None,
    rope: Mapping[str, Any] | None = None,
    layout: int = 4,
    dtype: torch.dtype = torch.float32,
    shards: int = 1,
    seed: int = 0,
    tokenizer: Tokenizer | None = None,
) -> Path:
    """A bidirectional Llama. layout: the transformers generation whose config.json it has."""
    rope = LLAMA3_ROPE if rope is None else rope
    raw = LLAMA | _rope(rope, layout) | _dtype(dtype, layout) | dict(config or {})
    raw = _describe(folder, raw, tokenizer or vocabularies.llama())
    save_weights(folder, random_weights(raw, seed, dtype), shards)
    return folder


def bert(
    folder: Path,
    *,
    config: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
    shards: int = 1,
    seed: int = 1,
) -> Path:
    """A BERT classifier with one label."""
    raw = BERT | _dtype(dtype, 5) | dict(config or {})
    raw = _describe(folder, raw, vocabularies.bert())
    save_weights(folder, random_weights(raw, seed, dtype), shards)
    return folder


def cosine(folder: Path) -> Path:
    """A BERT ranker of the shipped checkpoint's form."""
    return bert(folder, config=COSINE)


def xlm_roberta(
    folder: Path,
    *,
    config: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
    shards: int = 1,
    seed: int = 2,
) -> Path:
    """An XLM-RoBERTa classifier with one label."""
    raw = XLM_ROBERTA | _dtype(dtype, 4) | dict(config or {})
    raw = _describe(folder, raw, vocabularies.xlm_roberta())
    save_weights(folder, random_weights(raw, seed, dtype), shards)
    return folder


def random_weights(
    raw: Mapping[str, Any], seed: int, dtype: torch.dtype = torch.float32
) -> dict[str, torch.Tensor]:
    """Weights for a config.json; the same seed gives the same weights."""
    _, family = families.find(raw["model_type"])
    generator = torch.Generator().manual_seed(seed)
    return {
        name: _random(name, shape, generator).to(dtype)
        for name, shape in family.tensors(family.parse(raw))
    }


def save_weights(folder: Path, tensors: Mapping[str, torch.Tensor], shards: int = 1) -> None:
    """One file, or several and the index that says which tensor is where."""
    names = sorted(tensors)
    if shards == 1:
        _save({name: tensors[name] for name in names}, folder / "model.safetensors")
        return
    where = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        mine = names[shard::shards]
        _save({name: tensors[name] for name in mine}, folder / file)
        where.update(dict.fromkeys(mine, file))
    index = {"metadata": {"total_size": 0}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _describe(folder: Path, raw: Config, tokenizer: Tokenizer) -> Config:
    """Write config.json and tokenizer.json; the vocab_size is rounded up, as it often is."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = {"vocab_size": -(-tokenizer.get_vocab_size() // 64) * 64} | raw
    (folder / "config.json").write_text(json.dumps(raw, indent=2))
    tokenizer.save(str(folder / "tokenizer.json"))
    return raw


def _save(tensors: dict[str, torch.Tensor], path: Path) -> None:
    save_file(tensors, path, metadata={"format": "pt"})


def _rope(rope: Mapping[str, Any], layout: int) -> Config:
    if layout == 5:
        return {"rope_parameters": {**rope, "rope_theta": 10000.0}}
    return {"rope_scaling": None if rope == DEFAULT_ROPE else dict(rope), "rope_theta": 10000.0}


def _dtype(dtype: torch.dtype, layout: int) -> Config:
    return {"dtype" if layout == 5 else "torch_dtype": str(dtype).removeprefix("torch.")}


def _random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    noise = torch.randn(shape, generator=generator)
    if name == "ranking.scale":
        return noise.add(20)
    if len(shape) == 1:
        norm = "norm" in name.lower() and name.endswith("weight")
        return noise.mul(0.1).add(1.0 if norm else 0.0)
    if "embed" in name or name in _HEADS:
        return noise
    return noise.div(shape[1] ** 0.5)
