"""A server as a process of its own, and what it answers when it is asked without any SDK."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from loadtests.process import crossrank, post, url_when_ready

NAME = "nvidia/llama-nemotron-rerank-1b-v2"
OLD_NAME = "nvidia/llama-3.2-nv-rerankqa-1b-v2"
QUERY = "How do I keep basil fresh?"
PASSAGES = [
    "The keep of a castle was its strongest tower.",
    "Basil is grown in many warm countries and sold fresh or dried.",
    "Stand the cut stems of basil in a glass of water and leave it on the counter.",
    "Rain is expected in the north.",
]


@dataclass(frozen=True)
class Server:
    """Where it is, and each passage's logit."""

    url: str
    logits: dict[int, float]

    @property
    def order(self) -> list[int]:
        """The passages' indices, most relevant first."""
        return sorted(self.logits, key=lambda index: -self.logits[index])

    @property
    def scores(self) -> list[float]:
        """What 0..1 dialects answer, in that order."""
        return [1 / (1 + math.exp(-self.logits[index])) for index in self.order]


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    python = os.environ.get("SERVER_PYTHON", ".venv/bin/python")
    settings = {key: value for key, value in os.environ.items() if key == "CROSSRANK_CHECKPOINT"}
    with crossrank(python, CROSSRANK_MODEL_NAME=NAME, **settings) as process:
        url = url_when_ready(process)
        body = {"query": {"text": QUERY}, "passages": [{"text": text} for text in PASSAGES]}
        answer: Any = post(f"{url}/v1/ranking", body)
        yield Server(url, {item["index"]: item["logit"] for item in answer["rankings"]})
