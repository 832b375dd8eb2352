"""Reranking: query and passages in, raw logits out. Knows nothing of HTTP.

`import engine` needs no torch, no web framework and no GPU; the names below load when first used.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.config import EngineConfig
    from engine.reranker import Reranker
    from engine.types import Query, Ranking, Truncate

__all__ = ["EngineConfig", "Query", "Ranking", "Reranker", "Truncate"]

_HOME = {"EngineConfig": "config", "Reranker": "reranker"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    return getattr(importlib.import_module(f"engine.{_HOME.get(name, 'types')}"), name)
