"""Figures of the runs: the table that is printed, and the JSON that the chart is drawn from."""

import os
import platform
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from loadtests import verify
from loadtests.run import Run

COLUMNS = (
    ("scenario", "scenario"), ("model", "model"), ("callers", "callers"), ("sent", "sent"),
    ("ok", "200"), ("refused", "refused"), ("faults", "faults injected"), ("failed", "500"),
    ("gave_up", "gave up"), ("not_taken", "not taken"), ("lost", "lost"), ("per_second", "200/s"),
    ("p50_ms", "p50 ms"), ("p95_ms", "p95 ms"), ("p99_ms", "p99 ms"),
    ("health_p99_ms", "health p99 ms"), ("machine_p99_ms", "machine p99 ms"),
    ("rss_slope", "RSS MB/100k"),
)  # fmt: skip
_FAULT = re.compile(r"injected fault: (\w+)")
_WARM_PASSAGES = 20_000  # the allocator's first growth is no leak
_FEWEST_PASSAGES = 100_000  # a slope over fewer says nothing


def row(run: Run) -> dict[str, Any]:
    """One line of the table. Latencies: 200s of ordinary callers.

    machine: how late the probe itself was woken, a floor under every other latency.
    """
    codes = Counter(outcome.code for outcome in run.outcomes)
    seconds = [o.seconds for o in run.outcomes if o.code == 200 and o.kind == "ordinary"]
    refused = {code: n for code, n in codes.items() if code not in (0, 200, 500)}
    return {
        "scenario": run.scenario.name,
        "model": run.scenario.model,
        "callers": max(run.scenario.steps, default=sum(run.scenario.callers.values())),
        "sent": len(run.outcomes) + run.unfinished,
        "ok": codes[200],
        "refused": _counts(refused),
        "faults": _faults(run),
        "failed": codes[500],
        "gave_up": sum(outcome.gave_up for outcome in run.outcomes),
        "not_taken": verify.not_taken(run),
        "lost": verify.lost(run),
        "per_second": round(codes[200] / (run.ended - run.began), 1),
        **_percentiles(seconds, 50, 95, 99),
        "health_p99_ms": _percentiles([s["seconds"] for s in run.health], 99)["p99_ms"],
        "machine_p99_ms": _percentiles([s["late"] for s in run.health], 99)["p99_ms"],
        "rss_slope": rss_slope(run),
        "passages": sum(o.passages for o in run.outcomes if o.code == 200),
        "problems": verify.problems(run),
    }


def _faults(run: Run) -> str:
    """How many of each kind the server's log tells of."""
    found = (_FAULT.match(entry["message"]) for entry in run.entries)
    return _counts(Counter(match[1] for match in found if match))


def _counts(counter: Mapping[Any, int]) -> str:
    return " ".join(f"{name}:{count}" for name, count in sorted(counter.items()))


def _percentiles(seconds: Sequence[float], *wanted: int) -> dict[str, float]:
    if not seconds:
        return {f"p{p}_ms": 0.0 for p in wanted}
    return {f"p{p}_ms": round(float(np.percentile(seconds, p)) * 1000, 1) for p in wanted}


def memory(run: Run) -> list[tuple[float, float]]:
    """(passages ranked so far, resident MB) at each scrape."""
    return [
        (m["crossrank_passages_total"], m["process_resident_memory_bytes"] / 1e6)
        for m in (sample["metrics"] for sample in run.samples)
    ]


def rss_slope(run: Run) -> float | None:
    """MB per 100 000 passages, a linear fit after the warm-up; None over too few passages."""
    points = [(x, y) for x, y in memory(run) if x >= _WARM_PASSAGES]
    if not points or points[-1][0] - points[0][0] < _FEWEST_PASSAGES:
        return None
    slope, _ = np.polyfit([x for x, _ in points], [y for _, y in points], 1)
    return round(float(slope) * 100_000, 3)


def curves(run: Run) -> dict[str, Any]:
    """What the chart shows of a run: seconds since it began, per second or per step."""
    last = int(run.ended - run.began)
    return {
        "timeline": [_second(run, second) for second in range(last)],
        "steps": [_step(run, *step) for step in run.steps] if run.scenario.steps else [],
        "memory": _thin(memory(run)) if run.scenario.passages else [],
        "rss_slope": rss_slope(run),
        "terminated": None if run.terminated is None else round(run.terminated - run.began, 2),
    }


def _second(run: Run, second: int) -> dict[str, float]:
    """Answers that came within one second of the run."""
    done = [o for o in run.outcomes if int(o.sent + o.seconds - run.began) == second]
    good = [o.seconds for o in done if o.code == 200 and o.kind == "ordinary"]
    return {
        "ok": sum(o.code == 200 for o in done),
        "refused": sum(o.code in (503, 504) for o in done),
        **_percentiles(good, 50, 99),
    }


def _step(run: Run, callers: int, start: float, end: float) -> dict[str, float]:
    """Latency and throughput with so many callers; the step's first second is left out."""
    start += 1
    done = [o for o in run.outcomes if o.code == 200 and start <= o.sent + o.seconds < end]
    rate = sum(o.passages for o in done) / (end - start)
    seconds = [o.seconds for o in done]
    return {
        "callers": callers,
        "passages_per_second": round(rate, 1),
        **_percentiles(seconds, 50, 95, 99),
    }


def _thin(points: Sequence[tuple[float, float]], most: int = 120) -> list[tuple[float, float]]:
    return [(x, round(y, 2)) for x, y in points[:: max(1, len(points) // most)]]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = ["| " + " | ".join(title for _, title in COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    for line in rows:
        cells = ["" if line[name] is None else str(line[name]) for name, _ in COLUMNS]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def hardware(note: str) -> str:
    """What the figures were measured on."""
    cores = len(os.sched_getaffinity(0))
    return f"{cores} {platform.machine().replace('_', '-')} cores{note and ', '}{note}"
