"""A folder stays a folder; a hub id becomes a folder of verified files at a pinned revision."""

import hashlib
import logging
import re
from pathlib import Path

from engine.config import EngineConfig
from engine.errors import StartError

log = logging.getLogger(__name__)

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
FILES = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "LICENSE*",
    "NOTICE*",
]
_NEMOTRON_1B = "d896ceda696c5c6fe0abf65f63a77c691bbf4548"
# The repository was renamed; the hub forwards the old name, and the commits stay the same.
PINNED = {
    "nvidia/llama-nemotron-rerank-1b-v2": _NEMOTRON_1B,
    "nvidia/llama-3.2-nv-rerankqa-1b-v2": _NEMOTRON_1B,
}
# Source: the hub's listing of the files at that commit, as published with measured results.
SHA256 = {
    _NEMOTRON_1B: {
        "model.safetensors": "7d60ff24db62fe6a639c4c6f4aeac3a3b32ed20939ab72a0be4b019c2219e5e0",
        "config.json": "34d45f095f896f950db008c19e2bb4c935fc2866f71212c0cd26022eb1167d7b",
        "tokenizer.json": "79e3e522635f3171300913bb421464a87de6222182a0570b9b2ccba2a964b2b4",
    }
}


def locate(config: EngineConfig) -> tuple[Path, str | None]:
    """The checkpoint's folder, and its commit when it came from the hub.

    Raises StartError when it is not there and cannot be fetched; the message names the remedy.
    """
    folder = Path(config.checkpoint).expanduser()
    if folder.is_dir():
        return folder, None
    if not _HUB_ID.fullmatch(config.checkpoint):
        raise StartError(
            f"no folder {config.checkpoint!r}: give a folder with config.json, tokenizer.json and "
            "model.safetensors, or a hub id such as nvidia/llama-nemotron-rerank-1b-v2"
        )
    return _download(config, config.revision or PINNED.get(config.checkpoint))


def _download(config: EngineConfig, revision: str | None) -> tuple[Path, str]:
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - slow, and a folder needs none

    if revision is None:
        log.warning(
            "%s is not pinned: taking its newest commit. Set a revision.", config.checkpoint
        )
    try:
        path = snapshot_download(
            config.checkpoint,
            revision=revision,
            cache_dir=config.cache_dir,
            token=config.hub_token,
            local_files_only=config.offline,
            allow_patterns=FILES,
        )
    except Exception as error:  # its own errors, its HTTP client's, the disk's: no common root
        raise StartError(_explain(config, revision, error)) from error
    commit = Path(path).name
    _check(Path(path), SHA256.get(commit, {}))
    log.info("checkpoint %s at commit %s", config.checkpoint, commit)
    return Path(path), commit


def _explain(config: EngineConfig, revision: str | None, error: Exception) -> str:
    from huggingface_hub import errors  # noqa: PLC0415

    at = f"{config.checkpoint} at revision {revision or 'main'}"
    cause = error.__cause__ or error
    status = getattr(getattr(cause, "response", None), "status_code", None)
    if config.offline or isinstance(cause, errors.OfflineModeIsEnabled):
        return f"{at} is not in the cache, and offline mode is on: download it once with a network"
    if isinstance(error, errors.GatedRepoError):
        return f"{at} is gated: accept its terms on the hub and set HF_TOKEN"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{at} does not exist: check the revision"
    if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 403):
        return (
            f"{at} is no folder here, and on the hub it does not exist or is private: check the "
            "name, or set HF_TOKEN to a token that may read it"
        )
    return (
        f"{at} could not be downloaded ({type(cause).__name__}: {' '.join(str(cause).split())}): "
        "check the network, HF_ENDPOINT and the disk, then start again (finished files are kept), "
        "or give a folder with the files"
    )


def _check(folder: Path, digests: dict[str, str]) -> None:
    for name, expected in digests.items():
        if not (folder / name).is_file():
            raise StartError(f"{folder} lacks {name}: delete the folder and start again")
        with (folder / name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise StartError(
                f"{folder / name} has sha256 {found}, but the pinned commit's is {expected}: "
                "delete it and start again"
            )
