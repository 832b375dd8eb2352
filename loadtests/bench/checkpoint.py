"""The benchmark's checkpoint: MiniLM-L6's shape and BERT's tokenizer, with seeded random weights.

A standard cross-encoder that transformers 4 and 5 load too. Its scores mean nothing, but they
spread like real ones.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from app.settings import SHIPPED_CHECKPOINT
from engine.families import bert

MAX_TOKENS = 2048  # MiniLM has 512 positions: long pairs need more, and every server must take them
CONFIG: dict[str, Any] = {
    "architectures": ["BertForSequenceClassification"],
    "model_type": "bert",
    "id2label": {"0": "LABEL_0"},
    "label2id": {"LABEL_0": 0},
    "vocab_size": 30522,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": MAX_TOKENS,
    "type_vocab_size": 2,
    "pad_token_id": 0,
    "torch_dtype": "float32",
    # as ms-marco-MiniLM has it: CrossEncoder's predict gives raw logits
    "sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"},
}
_TOKENIZER: dict[str, Any] = {
    "tokenizer_class": "BertTokenizer",
    "model_max_length": MAX_TOKENS,
    "do_lower_case": True,
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
_SCORE_SCALE = 4.0  # logits spread over a few units, as a trained cross-encoder's do


def write(folder: Path, seed: int = 0) -> Path:
    """Write config, tokenizer and float32 weights. The same seed gives the same weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2))
    (folder / "tokenizer_config.json").write_text(json.dumps(_TOKENIZER, indent=2))
    shutil.copyfile(SHIPPED_CHECKPOINT / "tokenizer.json", folder / "tokenizer.json")
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: _random(name, shape, generator) for name, shape in bert.tensors(bert.parse(CONFIG))
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    noise = torch.randn(shape, generator=generator)
    if name.endswith("LayerNorm.weight"):
        return noise.mul(0.1).add(1.0)
    if len(shape) == 1:
        return noise.mul(0.1)
    if "embeddings" in name:
        return noise
    scale = _SCORE_SCALE if name == "classifier.weight" else 1.0
    return noise.mul(scale * shape[1] ** -0.5)
