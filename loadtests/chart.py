"""Draws the report: six panels, each with one thing to see."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt

mpl.use("Agg")

_BLUE, _ORANGE, _GREEN, _RED, _GREY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#777777"
_PERCENTILES = (("p50_ms", "p50", _BLUE), ("p95_ms", "p95", _ORANGE), ("p99_ms", "p99", _RED))
_HEALTH_PROMISE_MS = 50
_STYLE = {
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25,
    "axes.axisbelow": True,
    "axes.titleweight": "bold", "axes.titlesize": 11, "axes.titlelocation": "left",
    "font.size": 9.5, "legend.frameon": False,
}  # fmt: skip
_KEY = (
    "Real server processes on loopback, a fresh one for each scenario, one compute thread.\n"
    "fake: no network is computed; tiny: a seeded 4-layer BERT; shipped: the checkpoint of make run"
)


def draw(content: Mapping[str, Any], path: Path) -> None:
    """Write the PNG. Panels of scenarios that were not run stay empty."""
    with mpl.rc_context(_STYLE):
        figure, axes = plt.subplots(3, 2, figsize=(12, 12.5), layout="constrained")
        panels = (
            ("rising load", _latency), ("rising load", _throughput), ("burst", _burst),
            ("overload", _overload), ("soak", _memory),
        )  # fmt: skip
        for (name, panel), axis in zip(panels, axes.flat, strict=False):
            if name in content["curves"]:
                panel(axis, content["curves"][name])
            else:
                axis.axis("off")
        _health(axes.flat[-1], content["rows"])
        figure.suptitle(f"crossrank under load: {content['hardware']}", fontsize=12)
        figure.supxlabel(_KEY, fontsize=9)
        figure.savefig(path, dpi=110)
        plt.close(figure)


def _latency(axis: Any, curves: Mapping[str, Any]) -> None:
    steps = curves["steps"]
    callers = [step["callers"] for step in steps]
    for key, label, colour in _PERCENTILES:
        axis.plot(callers, [step[key] for step in steps], "o-", color=colour, label=label)
    _log2(axis, callers)
    axis.set_yscale("log")
    axis.set_title("Rising load: latency of 20 passages")
    axis.set_ylabel("milliseconds, logarithmic")
    axis.legend()


def _throughput(axis: Any, curves: Mapping[str, Any]) -> None:
    steps = curves["steps"]
    callers = [step["callers"] for step in steps]
    axis.plot(callers, [step["passages_per_second"] for step in steps], "o-", color=_GREEN)
    _log2(axis, callers)
    axis.set_ylim(bottom=0)
    axis.set_title("Rising load: throughput")
    axis.set_ylabel("passages a second")


def _log2(axis: Any, callers: list[int]) -> None:
    axis.set_xscale("log", base=2)
    axis.set_xticks(callers, [str(n) for n in callers])
    axis.set_xlabel("callers, each sending again at once")


def _burst(axis: Any, curves: Mapping[str, Any]) -> None:
    line = curves["timeline"]
    seconds = range(len(line))
    axis.bar(seconds, [s["p99_ms"] for s in line], color=_ORANGE, label="p99")
    axis.bar(seconds, [s["p50_ms"] for s in line], color=_BLUE, label="p50")
    axis.set_title("Burst: 48 requests at once, every second")
    axis.set_xlabel("seconds")
    axis.set_ylabel("milliseconds")
    axis.legend()


def _overload(axis: Any, curves: Mapping[str, Any]) -> None:
    line = curves["timeline"]
    seconds = range(len(line))
    good, refused = [s["ok"] for s in line], [s["refused"] for s in line]
    axis.bar(seconds, good, color=_GREEN, label="ranked (200)")
    axis.bar(seconds, refused, bottom=good, color=_GREY, label="refused (503) or out of time (504)")
    axis.set_title("Overload: 24 callers, a queue for about ten requests")
    axis.set_xlabel("seconds")
    axis.set_ylabel("answers a second")
    axis.margins(y=0.25)
    axis.legend()


def _memory(axis: Any, curves: Mapping[str, Any]) -> None:
    passages, megabytes = np.array(curves["memory"]).T
    axis.plot(passages / 1000, megabytes, color=_BLUE)
    axis.set_ylim(0, megabytes.max() * 1.25)
    axis.set_title("Soak: resident memory")
    if curves["rss_slope"] is not None:
        slope = f"{curves['rss_slope']:+.2f} MB per 100 000 passages, linear fit after 20 000"
        axis.annotate(slope, (0.5, 0.1), xycoords="axes fraction", ha="center")
    axis.set_xlabel("thousand passages ranked")
    axis.set_ylabel("MB")


def _health(axis: Any, rows: list[dict[str, Any]]) -> None:
    names = [f"{row['scenario']} ({row['model']})" for row in rows][::-1]
    places = np.arange(len(rows))
    for key, label, colour, shift in (
        ("health_p99_ms", "health", _BLUE, 0.2),
        ("machine_p99_ms", "the machine's own delay in waking the probe", _GREY, -0.2),
    ):
        values = [row[key] for row in rows][::-1]
        axis.barh(places + shift, values, height=0.38, color=colour, label=label)
    axis.set_yticks(places, names)
    axis.axvline(_HEALTH_PROMISE_MS, color=_RED, linestyle="--")
    axis.set_title(f"Health while the load runs: p99 (red: {_HEALTH_PROMISE_MS} ms)")
    axis.legend(loc="upper right")
    axis.set_xlabel("milliseconds, each on a new connection")
    axis.grid(visible=False, axis="y")
