"""The container commands of NIM 1.x: profiles, the download cache, and a model store."""

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from app.settings import Settings
from engine import checkpoint as checkpoints
from engine import hub
from engine.config import EngineConfig
from engine.errors import StartError
from engine.types import Checkpoint


def list_model_profiles(settings: Settings) -> int:
    """Say what would be served. There is one profile: whatever the checkpoint and device are."""
    config = settings.engine()
    name = f"{config.checkpoint}@{config.revision or hub.PINNED.get(config.checkpoint, 'local')}"
    sys.stdout.write("MODEL PROFILES\n- Compatible with system and runnable:\n")
    sys.stdout.write(f"  - {name} ({config.backend})\n- Incompatible with system:\n")
    return 0


def download(settings: Settings) -> int:
    """Fetch and verify the checkpoint, so that a later start needs no network."""
    _report(checkpoints.load(settings.engine()))
    return 0


def create_model_store(settings: Settings, repository: str | None, store: Path) -> int:
    """Write the checkpoint's files into a folder that can be served as it is."""
    loaded = checkpoints.load(_at(settings.engine(), repository))
    try:
        store.mkdir(parents=True, exist_ok=True)
        for file in _files(loaded.folder):
            shutil.copyfile(file, store / file.name)
    except OSError as error:
        raise StartError(f"{store} cannot be written: {error.strerror}") from error
    sys.stdout.write(f"{loaded.name} is in {store}: serve it with CROSSRANK_CHECKPOINT={store}\n")
    return 0


def _at(config: EngineConfig, repository: str | None) -> EngineConfig:
    if repository is None:
        return config
    if repository.startswith("ngc://"):
        raise StartError(
            "models are not fetched from NGC: give a hub id such as "
            "nvidia/llama-nemotron-rerank-1b-v2, or a folder"
        )
    return replace(config, checkpoint=repository.removeprefix("hf://"), revision=None)


def _files(folder: Path) -> Iterator[Path]:
    for pattern in hub.FILES:
        yield from sorted(folder.glob(pattern))


def _report(loaded: Checkpoint) -> None:
    revision = loaded.revision or "local"
    sys.stdout.write(f"{loaded.name} at revision {revision} is in {loaded.folder}, verified\n")
