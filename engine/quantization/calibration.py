"""Calibration text: a file of queries with passages, as the pairs that the model will see."""

import asyncio
import json
from pathlib import Path

import numpy as np

from engine.checkpoint import fingerprint
from engine.errors import StartError
from engine.quantization import fp8
from engine.tokenizer import PairTokenizer
from engine.types import Batch, Checkpoint, Pair, Query, Truncate

_TOKENS = 16384  # in one forward pass; further passages of a query are left out


def run(checkpoint: Checkpoint, file: Path) -> Path:
    """Calibrate, hold the order to its bound, and keep the scales beside the checkpoint.

    Raises StartError.
    """
    scales, agreement = fp8.calibrate(checkpoint, read(checkpoint, file))
    return fp8.save(checkpoint, fingerprint(checkpoint), scales, agreement)


def read(checkpoint: Checkpoint, file: Path) -> list[Batch]:
    """One batch a line: {"query": text, "passages": [texts]}. Raises StartError."""
    try:
        lines = [line for line in file.read_text().splitlines() if line.strip()]
        queries = [_query(line) for line in lines]
    except OSError as error:
        raise StartError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StartError(
            f'{file} must hold lines of {{"query": "...", "passages": ["...", "..."]}} with two '
            "passages or more"
        ) from error
    return asyncio.run(_encode(checkpoint, queries))


async def _encode(checkpoint: Checkpoint, queries: list[Query]) -> list[Batch]:
    tokenizer = PairTokenizer(checkpoint, 1)
    try:
        return [_batch(await tokenizer.encode(query)) for query in queries]
    finally:
        tokenizer.close()


def _batch(pairs: list[Pair]) -> Batch:
    """As many of a query's pairs as one pass takes, and two at least."""
    total = np.cumsum([pair.tokens for pair in pairs])
    return Batch.pack(pairs[: max(2, int((total <= _TOKENS).sum()))])


def _query(line: str) -> Query:
    raw = json.loads(line)
    passages = [str(passage) for passage in raw["passages"]]
    if len(passages) < 2:
        raise ValueError("one passage has no order")
    return Query(str(raw["query"]), passages, Truncate.END)
