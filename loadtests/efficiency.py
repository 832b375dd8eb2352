"""Service efficiency: passages per second over HTTP as a share of the bare model's, in one run.

Rounds alternate between a real server process and the same backend called directly with the same
pairs in perfectly packed batches. Run: python -m loadtests.efficiency
On a GPU, where one request leaves gaps: --clients 8 --checkpoint FOLDER
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from app.settings import SHIPPED_CHECKPOINT
from engine import checkpoint as checkpoints
from engine.backends import Backend, open_backend
from engine.config import EngineConfig
from engine.tokenizer import PairTokenizer
from engine.types import Batch, Pair, Query
from loadtests.bare import score_all
from loadtests.process import crossrank, drain, url_when_ready

# Words that are one token each in BERT's vocabulary, so that lengths are exact.
WORDS = ("river", "stone", "bread", "light", "paper", "green", "music", "winter", "garden", "train")
QUERY = "where does the river go"


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passages", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=100, help="tokens in a passage")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clients", type=int, default=1, help="requests at a time")
    parser.add_argument("--checkpoint", default=str(SHIPPED_CHECKPOINT), help="folder or hub id")
    parser.add_argument("--dtype", default="auto", help="number format, as CROSSRANK_DTYPE")
    arguments = parser.parse_args()
    passages = [
        " ".join(WORDS[(i + j) % len(WORDS)] for j in range(arguments.tokens))
        for i in range(arguments.passages)
    ]
    config = EngineConfig(checkpoint=arguments.checkpoint, dtype=arguments.dtype)
    checkpoint = checkpoints.load(config)
    pairs = asyncio.run(PairTokenizer(checkpoint).encode(Query(QUERY, passages)))
    backend = open_backend(checkpoint, config)
    backend.warm_up()
    batches = list(packed(pairs * arguments.clients, backend))
    body = json.dumps({"query": {"text": QUERY}, "passages": [{"text": p} for p in passages]})
    settings = {"CROSSRANK_CHECKPOINT": arguments.checkpoint, "CROSSRANK_DTYPE": arguments.dtype}
    with crossrank(**settings) as process:
        url = url_when_ready(process)
        drain(process)
        rounds = [
            (
                seconds_bare(backend, batches),
                seconds_over_http(url, body.encode(), arguments.clients),
            )
            for _ in range(arguments.rounds + 1)
        ][1:]  # the first round warms both
    print(json.dumps(report(arguments, pairs, rounds), indent=2))


def packed(pairs: Sequence[Pair], backend: Backend) -> Iterator[Batch]:
    """The pairs in full batches, as the schedule would make them for one request."""
    rows = backend.limits.max_batch_tokens // pairs[0].tokens
    for start in range(0, len(pairs), rows):
        yield Batch.pack(pairs[start : start + rows])


def seconds_bare(backend: Backend, batches: Sequence[Batch]) -> float:
    """Time of the forward passes alone."""
    start = time.perf_counter()
    score_all(backend, batches)
    return time.perf_counter() - start


def seconds_over_http(url: str, body: bytes, clients: int) -> float:
    """Time of so many requests at once, each on a new connection, the answers read."""
    request = urllib.request.Request(
        f"{url}/v1/ranking", body, {"Content-Type": "application/json"}
    )

    def ask(number: int) -> None:
        with urllib.request.urlopen(request) as answer:
            answer.read()

    with ThreadPoolExecutor(clients) as pool:
        start = time.perf_counter()
        list(pool.map(ask, range(clients)))
        return time.perf_counter() - start


def report(
    arguments: argparse.Namespace, pairs: Sequence[Pair], rounds: Sequence[tuple[float, float]]
) -> dict[str, object]:
    """Medians over the rounds; the ratio is the median of each round's own ratio."""
    passages = len(pairs) * arguments.clients
    bare, http = (statistics.median(times) for times in zip(*rounds, strict=True))
    return {
        "passages": len(pairs),
        "clients": arguments.clients,
        "tokens_per_pair": pairs[0].tokens,
        "rounds": arguments.rounds,
        "bare_passages_per_second": round(passages / bare, 1),
        "http_passages_per_second": round(passages / http, 1),
        "http_share_of_bare": round(statistics.median(b / h for b, h in rounds), 3),
        "dtype": arguments.dtype,
        "machine": f"{_device()}, {len(os.sched_getaffinity(0))} CPUs",
        "python": platform.python_version(),
    }


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()


if __name__ == "__main__":
    main()
