"""What is compared: our backends, transformers' own model, and sentence-transformers."""

import gc
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from engine import architectures
from engine.architectures.packing import Packing
from engine.checkpoint import fingerprint
from engine.config import EngineConfig
from engine.errors import StartError
from engine.quantization import fp8
from engine.types import Batch, Checkpoint, Logits, Pair

Score = Callable[[Batch], Logits]
Open = Callable[[Checkpoint], tuple[Score, Callable[[], None]]]


class Skipped(Exception):  # noqa: N818 - it is no error
    """This candidate cannot run here; says why."""


@dataclass(frozen=True)
class Candidate:
    """One way to score."""

    name: str
    open: Open

    @contextmanager
    def opened(self, checkpoint: Checkpoint) -> Iterator[Score]:
        """Its scoring function; everything is freed afterwards. Raises Skipped."""
        _forget()
        try:
            score, close = self.open(checkpoint)
        except (StartError, ImportError) as error:
            raise Skipped(str(error)) from error
        try:
            yield score
        finally:
            close()
            del score
            _forget()

    def peak_mib(self) -> int:
        """Memory in use on the GPU, weights and all; 0 on the CPU. Call while it is open."""
        if not torch.cuda.is_available():
            return 0
        free, total = torch.cuda.mem_get_info()
        return (total - free) >> 20


def reference(checkpoint: Checkpoint, batch: Batch) -> Logits:
    """The torch network in float32, pair by pair."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = architectures.load(checkpoint, torch.float32, device)
    arrays = (torch.from_numpy(a).to(device) for a in (batch.ids, batch.positions, batch.types))
    with torch.inference_mode():
        logits: Logits = network(*arrays, Packing.of(batch, device)).cpu().numpy()
    return logits


def _ours(backend: str, dtype: str = "auto") -> Open:
    def open(checkpoint: Checkpoint) -> tuple[Score, Callable[[], None]]:
        module = importlib.import_module(f"engine.backends.{backend}")
        opened = module.open(checkpoint, EngineConfig(checkpoint="", dtype=dtype))
        opened.warm_up()
        return opened.score, opened.close

    return open


def _fp8(backend: str) -> Open:
    """Scales from random ids, as the weights are random too: the gate is left out."""

    def open(checkpoint: Checkpoint) -> tuple[Score, Callable[[], None]]:
        if not torch.cuda.is_available():
            raise Skipped("FP8 runs on an NVIDIA GPU only")
        random = np.random.default_rng(4)
        size = checkpoint.config.vocab_size
        queries = [
            Batch.pack([Pair(random.integers(0, size, 512, dtype=np.int32), 512) for _ in range(8)])
            for _ in range(4)
        ]
        scales, held_out = fp8.measure(checkpoint, queries)
        fp8.save(checkpoint, fingerprint(checkpoint), scales, held_out)
        return _ours(backend, "fp8")(checkpoint)

    return open


def _transformers(checkpoint: Checkpoint) -> tuple[Score, Callable[[], None]]:
    """The stock body made bidirectional, on padded batches, in the GPU's half precision."""
    import transformers  # noqa: PLC0415 - not everywhere

    cuda = torch.cuda.is_available()
    device, dtype = ("cuda", torch.bfloat16) if cuda else ("cpu", torch.float32)
    raw = dict(checkpoint.raw_config) | {"is_causal": False}
    with torch.device("meta"):
        model = transformers.LlamaModel(transformers.LlamaConfig(**raw))
    weights = architectures.read(checkpoint.tensors, dtype, torch.device(device))
    head = weights.pop("score.weight")[0].float()
    body = {name.removeprefix("model."): weight for name, weight in weights.items()}
    model.load_state_dict(body, strict=True, assign=True)
    model.rotary_emb = type(model.rotary_emb)(model.config).to(device)  # its buffers are not saved
    model.eval()

    @torch.inference_mode()
    def score(batch: Batch) -> Logits:
        lengths = torch.tensor(batch.lengths)
        mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
        ids = torch.zeros(mask.shape, dtype=torch.long)
        ids[mask] = torch.from_numpy(batch.ids).long()
        hidden = model(ids.to(device), mask.to(device).long()).last_hidden_state.float()
        weight = mask.to(device)[..., None]
        means = (hidden * weight).sum(1) / weight.sum(1)
        logits: Logits = (means @ head).cpu().numpy()
        return logits

    return score, lambda: None


def _sentence_transformers(checkpoint: Checkpoint) -> tuple[Score, Callable[[], None]]:
    """CrossEncoder on the same weights. It runs them causally: for speed only, not for scores."""
    from sentence_transformers import CrossEncoder  # noqa: PLC0415 - not everywhere

    from loadtests import nemotron  # noqa: PLC0415

    folder = nemotron.stock_copy(checkpoint)
    half = {"dtype": torch.bfloat16} if torch.cuda.is_available() else {}
    model = CrossEncoder(str(folder), model_kwargs=half)

    def score(batch: Batch) -> Logits:
        texts = [
            ("", " ".join(f"w{n}" for n in ids)) for ids in np.split(batch.ids, batch.offsets[1:-1])
        ]
        return np.asarray(model.predict(texts, batch_size=32), dtype=np.float32)

    return score, lambda: None


def _forget() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


CANDIDATES: Any = (
    Candidate("torch", _ours("torch")),
    Candidate("torch fp8", _fp8("torch")),
    Candidate("tensorrt", _ours("tensorrt")),
    Candidate("tensorrt fp8", _fp8("tensorrt")),
    Candidate("transformers", _transformers),
    Candidate("sentence-transformers", _sentence_transformers),
)
