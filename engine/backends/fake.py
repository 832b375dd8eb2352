"""A backend without a model, for trying out the service: the scores mean nothing.

Each score depends on its pair's ids alone. Needs no torch.
"""

import zlib

import numpy as np

from engine import backends
from engine.config import EngineConfig
from engine.types import Batch, Checkpoint, Limits, Logits


class FakeBackend:
    """Hashes each pair's ids to a logit between -10 and 10."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def warm_up(self) -> None:
        """Nothing is cold."""

    def score(self, batch: Batch) -> Logits:
        pairs = np.split(batch.ids, batch.offsets[1:-1])
        hashes = np.array([zlib.crc32(ids.tobytes()) for ids in pairs], dtype=np.float64)
        return (hashes / 2**32 * 20 - 10).astype(np.float32)

    def cells(self, batch: Batch) -> int:
        """Nothing is padded."""
        return batch.tokens

    def close(self) -> None:
        """Nothing to free."""


def open(checkpoint: Checkpoint, config: EngineConfig) -> FakeBackend:
    """Takes any checkpoint; reads none of its weights."""
    return FakeBackend(backends.limits(checkpoint, config, tokens=16384, rows=1024))
