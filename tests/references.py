"""Logits by transformers' own classes, pair by pair and without padding: what ours must equal."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file

from engine.types import Pair


@torch.inference_mode()
def classifier(folder: Path, pairs: Sequence[Pair]) -> list[float]:
    """The class that a BERT or RoBERTa config names, its weights loaded strictly."""
    raw = json.loads((folder / "config.json").read_text())
    model = getattr(transformers, raw["architectures"][0])(transformers.AutoConfig.for_model(**raw))
    model.load_state_dict(_weights(folder), strict=True)
    model.eval()
    logits = []
    for pair in pairs:
        types = (torch.arange(pair.tokens)[None] >= pair.split).long()
        logits.append(model(input_ids=_ids(pair), token_type_ids=types).logits.item())
    return logits


@torch.inference_mode()
def cosine(folder: Path, pairs: Sequence[Pair]) -> list[float]:
    """The stock BERT layers, with a mask between the halves below the join layer."""
    raw = json.loads((folder / "config.json").read_text())
    weights = _weights(folder)
    scale, shift = weights.pop("ranking.scale"), weights.pop("ranking.shift")
    model = transformers.BertModel(transformers.BertConfig(**raw), add_pooling_layer=False)
    model.load_state_dict({n.removeprefix("bert."): w for n, w in weights.items()}, strict=True)
    model.eval()
    logits = []
    for pair in pairs:
        passage = torch.arange(pair.tokens) >= pair.split
        apart = (passage[:, None] == passage[None])[None, None]
        hidden = model.embeddings(input_ids=_ids(pair), token_type_ids=passage[None].long())
        for number, layer in enumerate(model.encoder.layer):
            mask = apart if number < raw["join_layer"] else torch.ones_like(apart)
            hidden = layer(hidden, attention_mask=mask)
        query, text = hidden[0, ~passage].mean(0), hidden[0, passage].mean(0)
        logits.append((torch.cosine_similarity(query, text, dim=0) * scale + shift).item())
    return logits


@torch.inference_mode()
def llama(folder: Path, pairs: Sequence[Pair], **changes: Any) -> list[float]:
    """The stock Llama body with is_causal=False, and the published pooling and head over it.

    changes: fields of config.json to override, to see what a wrong network would answer.
    """
    raw = json.loads((folder / "config.json").read_text()) | {"is_causal": False} | changes
    pooling, temperature = raw.pop("pooling"), raw.pop("temperature", 1.0)
    weights = _weights(folder)
    score = weights.pop("score.weight")[0]
    model = transformers.LlamaModel(transformers.LlamaConfig(**raw))
    model.load_state_dict({n.removeprefix("model."): w for n, w in weights.items()}, strict=True)
    model.eval()
    logits = []
    for pair in pairs:
        hidden = model(input_ids=_ids(pair)).last_hidden_state[0]
        pooled = hidden.mean(0) if pooling == "avg" else hidden[0]
        logits.append((pooled @ score).item() / temperature)
    return logits


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: w.float() for name, w in load_file(folder / "model.safetensors").items()}


def _ids(pair: Pair) -> torch.Tensor:
    return torch.from_numpy(pair.ids)[None].long()
