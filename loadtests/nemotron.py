"""A checkpoint of the 1B's exact shape with seeded random weights, for measuring without the model.

Its scores mean nothing, but they are of the size that real ones are, and tell pairs apart.
To write one: python -m loadtests.nemotron FOLDER
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from engine.families import llama
from engine.types import Checkpoint

# The published model's shape; `layers` and sizes may be lowered for a dry run.
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaBidirectionalForSequenceClassification"],
    "model_type": "llama_bidirec",
    "pooling": "avg",
    "temperature": 1.0,
    "id2label": {"0": "LABEL_0"},
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "attention_bias": False,
    "mlp_bias": False,
    "max_position_embeddings": 131072,
    "rope_theta": 500000.0,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
    "vocab_size": 128256,
    "torch_dtype": "bfloat16",
}
_SCORE_SCALE = 8.0  # logits spread over about ±8


def write(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """Write config, tokenizer and bfloat16 weights. The same seed gives the same weights."""
    raw = CONFIG | changes
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(raw, indent=2))
    _tokenizer(raw["vocab_size"]).save(str(folder / "tokenizer.json"))
    tensors = list(llama.tensors(llama.parse(raw)))
    with ThreadPoolExecutor() as pool:
        drawn = pool.map(_random, *zip(*tensors, strict=True), range(seed, seed + len(tensors)))
        weights = {name: weight for (name, _), weight in zip(tensors, drawn, strict=True)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _random(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    if len(shape) == 1:
        return torch.ones(shape, dtype=torch.bfloat16)
    spread = 1.0 if "embed" in name else shape[1] ** -0.5
    spread *= _SCORE_SCALE if name == "score.weight" else 1.0
    generator = torch.Generator().manual_seed(seed)
    noise = torch.empty(shape, dtype=torch.bfloat16)
    return noise.normal_(0.0, spread, generator=generator)


def _tokenizer(size: int) -> Tokenizer:
    """One id a word: "w0", "w1" and so on."""
    unknown = "w0"
    tokenizer = Tokenizer(WordLevel({f"w{n}": n for n in range(size)}, unk_token=unknown))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return tokenizer


def stock_copy(checkpoint: Checkpoint) -> Path:
    """The same weights as transformers' stock sequence classifier, in a folder beside."""
    folder = checkpoint.folder / "stock"
    folder.mkdir(exist_ok=True)
    stock = {
        "architectures": ["LlamaForSequenceClassification"],
        "model_type": "llama",
        "pad_token_id": 0,
    }
    (folder / "config.json").write_text(json.dumps(dict(checkpoint.raw_config) | stock))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "w0"})
    )
    for name in ("tokenizer.json", "model.safetensors"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(checkpoint.folder / name)
    return folder


if __name__ == "__main__":
    write(Path(sys.argv[1]))
