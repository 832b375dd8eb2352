"""Figures from samples: percentiles, medians over rounds, and Poisson arrivals."""

import random
import statistics
from collections.abc import Sequence

import numpy as np

PERCENTILES = (50, 95, 99)


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """In milliseconds, as p50_ms and so on."""
    values = np.percentile(seconds, PERCENTILES) * 1000
    return {f"p{p}_ms": round(float(v), 1) for p, v in zip(PERCENTILES, values, strict=True)}


def medians(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """Each figure's median over the rounds."""
    return {key: statistics.median(figures[key] for figures in rounds) for key in rounds[0]}


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Median of each round's own ratio: what disturbs a round disturbs both."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def poisson_arrivals(per_second: float, count: int, seed: int) -> list[float]:
    """Seconds from the start at which so many requests come, independent of one another.

    The same seed gives the same pattern, stretched to the rate.
    """
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    arrivals, now = [], 0.0
    for _ in range(count):
        now += chance.expovariate(1.0) / per_second
        arrivals.append(now)
    return arrivals
