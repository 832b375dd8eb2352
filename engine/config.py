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
    max_queue_tokens: int = 1_048_576
    max_queue_requests: int = 1024
    stuck_after_seconds: float = 300.0
    faults: str = ""
    dtype: str = "auto"
    plan: Path | None = None
    devices: tuple[int, ...] = ()
    tokenizer_threads: int | None = None
    compute_threads: int | None = None
    compile: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """A plan to compile. `None` means: decide from what is there.

    output: the plan's folder; else the cache. compute_capability: such as "8.9".
    profiles: boxes of rows x width such as "2x8192,128x128". calibration: text for FP8, one
    {"query", "passages"} a line.
    """

    output: Path | None = None
    runtime: str | None = None
    compute_capability: str | None = None
    dtype: str = "auto"
    profiles: str | None = None
    calibration: Path | None = None
