"""A folder or hub id → verified files, parsed config and pair template, or the reason why not."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from engine import families, hub, weights
from engine.config import EngineConfig
from engine.errors import CheckpointError, StartError
from engine.types import Checkpoint

_PUBLISHED_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
# Vocabularies are padded up to a round size for the GPU; more unused rows than this is a mix-up.
_MAX_UNUSED_IDS = 512


def load(config: EngineConfig) -> Checkpoint:
    """Find, read and verify the checkpoint. Raises StartError or CheckpointError with the reason.

    No code that comes with the checkpoint is ever run.
    """
    folder, revision = hub.locate(config)
    raw = _read_json(folder / "config.json")
    name, family = families.find(raw.get("model_type"))
    parsed = family.parse(raw)
    tensors = weights.verify(weights.locate(folder), family.tensors(parsed), family.IGNORED)
    _check_tokenizer(folder / "tokenizer.json", parsed.vocab_size)
    return Checkpoint(
        name=_served_name(config.checkpoint, revision, raw, folder),
        folder=folder,
        revision=revision,
        family=name,
        config=parsed,
        template=parsed.template,
        max_pair_tokens=_pair_limit(config.max_pair_tokens, parsed.max_pair_tokens),
        tensors=tensors,
        raw_config=raw,
    )


def fingerprint(checkpoint: Checkpoint) -> str:
    """sha256 over config.json and the weight files, names left out: copies are the same."""
    total = hashlib.sha256()
    for path in (checkpoint.folder / "config.json", *sorted(set(checkpoint.tensors.values()))):
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        raw = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} has no {path.name}") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(raw, dict):
        raise CheckpointError(f"{path} must hold a JSON object")
    return raw


def _served_name(source: str, revision: str | None, raw: Mapping[str, Any], folder: Path) -> str:
    published = raw.get("_name_or_path")
    if revision is not None:
        return source
    if isinstance(published, str) and _PUBLISHED_NAME.fullmatch(published):
        return published
    return folder.resolve().name


def _pair_limit(asked: int | None, limit: int) -> int:
    if asked is not None and asked > limit:
        raise StartError(
            f"a pair limit of {asked} tokens was asked for, but this checkpoint takes {limit}: "
            f"set it to {limit} or less, or leave it out"
        )
    return asked or limit


def _check_tokenizer(path: Path, vocab_size: int) -> None:
    if not path.is_file():
        raise CheckpointError(
            f"{path.parent} has no tokenizer.json: save the tokenizer again as a fast tokenizer"
        )
    try:
        vocab = Tokenizer.from_file(str(path)).get_vocab(with_added_tokens=True)
    except Exception as error:  # tokenizers raises bare Exception
        raise CheckpointError(f"{path} is not a tokenizer: {error}") from error
    size = max(vocab.values(), default=-1) + 1
    if not vocab_size - _MAX_UNUSED_IDS <= size <= vocab_size:
        raise CheckpointError(
            f"tokenizer.json has {size} ids but config.json a vocab_size of {vocab_size}: they "
            "are not of one model"
        )
