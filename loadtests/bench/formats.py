"""The CPU's other ways beside float32 by oneDNN: speed, order and error, on the same pairs."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np

from app.settings import SHIPPED_CHECKPOINT
from engine.errors import StartError
from engine.quantization.agreement import kendall_tau
from loadtests.bench.ceiling import BareModel, BareRun
from loadtests.bench.mixes import Request

WAYS: dict[str, dict[str, Any]] = {
    "bf16": {"dtype": "bf16"},
    "int8": {"dtype": "int8"},
    "torch.compile": {"compile": True},
}
_QUESTIONS_TOGETHER = 4  # of whose passages each question ranks all: 20


def compare(
    bare: BareModel, checkpoint: Path, requests: Sequence[Request], rounds: int
) -> dict[str, Any]:
    """By way: how many times float32's passages/s, Kendall's tau within requests, largest error.

    Rounds alternate. tau and error are taken on these requests and, as trained_tau and
    trained_error, on the shipped checkpoint's development set: seeded weights have no order of
    their own to keep. A way that this machine does not have is skipped with its reason.
    """
    expected = _on_trained({})
    found: dict[str, Any] = {}
    for name, way in WAYS.items():
        try:
            found[name] = _compared(bare, BareModel(checkpoint, **way), requests, rounds)
        except StartError as error:
            found[name] = {"skipped": str(error)}
        else:
            trained = _agreement(expected, _on_trained(way))
            found[name] |= {f"trained_{figure}": value for figure, value in trained.items()}
    return found


def development_set() -> list[Request]:
    """Every other question of it, with the passages of the questions behind it too."""
    lines = (SHIPPED_CHECKPOINT / "dev.jsonl").read_text().splitlines()
    items = [json.loads(line) for line in lines]
    return [
        Request(
            item["question"],
            tuple(
                p for near in (items + items)[i : i + _QUESTIONS_TOGETHER] for p in near["passages"]
            ),
            (),
        )
        for i, item in enumerate(items)
        if i % 2 == 0
    ]


def _compared(
    bare: BareModel, other: BareModel, requests: Sequence[Request], rounds: int
) -> dict[str, float]:
    runs = [(bare.run(requests), other.run(requests)) for _ in range(rounds + 1)][1:]
    other.close()
    ratio = median(b.passages_per_second / a.passages_per_second for a, b in runs)
    return {"ratio": ratio, **_agreement(*runs[0])}


def _on_trained(way: dict[str, Any]) -> BareRun:
    model = BareModel(SHIPPED_CHECKPOINT, **way)
    scored = model.run(development_set())
    model.close()
    return scored


def _agreement(expected: BareRun, found: BareRun) -> dict[str, float]:
    pairs = [
        (np.array(a, dtype=np.float32), np.array(b, dtype=np.float32))
        for a, b in zip(expected.logits, found.logits, strict=True)
        if len(a) > 1
    ]
    return {
        "tau": mean(kendall_tau(a, b) for a, b in pairs),
        "error": max(float(np.abs(a - b).max()) for a, b in pairs),
    }
