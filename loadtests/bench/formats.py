"""The CPU's other number formats beside float32: speed, order and error, on the same pairs."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np

from engine.errors import StartError
from engine.quantization.agreement import kendall_tau
from loadtests.bench.ceiling import BareModel, BareRun
from loadtests.bench.mixes import Request

FORMATS = ("bf16", "int8")


def compare(
    bare: BareModel, checkpoint: Path, requests: Sequence[Request], rounds: int
) -> dict[str, Any]:
    """By format: how many times float32's passages/s, Kendall's tau within requests, largest error.

    Rounds alternate. A format that this CPU has no instructions for is skipped with its reason.
    """
    return {name: _compared(bare, checkpoint, name, requests, rounds) for name in FORMATS}


def _compared(
    bare: BareModel, checkpoint: Path, dtype: str, requests: Sequence[Request], rounds: int
) -> dict[str, Any]:
    try:
        other = BareModel(checkpoint, dtype)
    except StartError as error:
        return {"skipped": str(error)}
    runs = [(bare.run(requests), other.run(requests)) for _ in range(rounds + 1)][1:]
    other.close()
    return {
        "ratio": median(b.passages_per_second / a.passages_per_second for a, b in runs),
        **_agreement(*runs[0]),
    }


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
