"""What the engine is told at start. Frozen; only app/settings.py reads the environment."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """How to find the checkpoint and how to run it. `None` means: decide from what is there."""

    checkpoint: str
    revision: str | None = None
    hub_token: str | None = None
    cache_dir: Path | None = None
    offline: bool = False
    backend: str = "auto"
    max_pair_tokens: int | None = None
    max_batch_tokens: int | None = None
    tokenizer_threads: int | None = None
    compute_threads: int | None = None
