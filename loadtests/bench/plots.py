"""Draws the run: throughput, latency, and where the time goes; one PNG each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt

from loadtests.bench import summary
from loadtests.bench.names import BARE, CROSSRANK, INFINITY, NAMES, PLAIN

mpl.use("Agg")

Content = Mapping[str, Any]
# Okabe and Ito's colours, which colour-blind readers tell apart; markers for everyone else.
_LOOKS = {
    CROSSRANK: {"color": "#0072b2", "marker": "o"},
    INFINITY: {"color": "#e69f00", "marker": "s"},
    PLAIN: {"color": "#009e73", "marker": "^"},
}
_GREY = "#555555"
_STAGES = (
    ("rest_ms", "HTTP, JSON", "#cc79a7"), ("tokenize_ms", "tokenize", "#e69f00"),
    ("queue_ms", "queue", "#bbbbbb"), ("inference_ms", "inference", "#0072b2"),
)  # fmt: skip
_STYLE = {
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25,
    "axes.axisbelow": True, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "font.size": 11, "axes.titlesize": 12, "legend.frameon": False, "lines.markersize": 6,
}  # fmt: skip


def draw(content: Content, folder: Path) -> None:
    """Write bench-throughput.png, bench-latency.png and bench-time.png."""
    with mpl.rc_context(_STYLE):
        _save(content, folder / "bench-throughput.png", "Throughput, closed loop", _throughput)
        _save(content, folder / "bench-latency.png", "Latency, Poisson arrivals", _latency)
        _save(content, folder / "bench-time.png", "Where the time goes", _time)


def _save(content: Content, path: Path, title: str, panels: Any) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.4), layout="constrained")
    panels(content, axes)
    figure.suptitle(f"{title}. {content['machine']}", fontsize=11, color="#444444")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _throughput(content: Content, axes: Sequence[Any]) -> None:
    for axis, (mix, closed) in zip(axes, content["closed"].items(), strict=False):
        for name, cells in closed["median"].items():
            callers = [int(c) for c in cells]
            speeds = [cell["passages_per_second"] for cell in cells.values()]
            axis.plot(callers, speeds, label=name, **_LOOKS[name])
        bare = float(np.median(closed["bare_passages_per_second"]))
        axis.axhline(bare, color=_GREY, linestyle="--", label="bare model: no HTTP, sorted")
        axis.set_xscale("log", base=2)
        axis.set_xticks(callers, [str(n) for n in callers])
        axis.set_ylim(0, None)
        axis.margins(y=0.12)
        axis.set_title(f"{mix}: {content['mixes'][mix]}".replace(", ", ",\n", 1), fontsize=10.5)
        axis.set_xlabel("callers, each sending again at once")
    axes[0].set_ylabel("passages a second")
    axes[0].figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)


def _latency(content: Content, axes: Sequence[Any]) -> None:
    for axis, percentile in zip(axes, (50, 95, 99), strict=True):
        for name in NAMES:
            points = [point for point in content["open"] if point["server"] == name]
            offered = [point["offered"] for point in points]
            axis.plot(offered, [p[f"p{percentile}_ms"] for p in points], label=name, **_LOOKS[name])
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda ms, _: f"{ms:g}"))
        axis.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
        axis.set_xlim(0, None)
        axis.set_title(f"p{percentile}")
        axis.set_xlabel("offered load, passages a second")
    lowest, highest = zip(*(axis.get_ylim() for axis in axes), strict=True)
    for axis in axes:
        axis.set_ylim(min(lowest), max(highest))
    axes[0].set_ylabel("milliseconds from due time to answer")
    axes[0].figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)


def _time(content: Content, axes: Sequence[Any]) -> None:
    _stages(axes[0], content)
    _shares(axes[1], content)
    _sizes(axes[2], content["sizes"])


def _stages(axis: Any, content: Content) -> None:
    """Each stage's share of the mean request, the whole in milliseconds beside it."""
    rows = [
        (f"{mix}, {callers}", cell)
        for mix, closed in content["closed"].items()
        for callers, cell in closed["median"][CROSSRANK].items()
    ][::-1]
    places = np.arange(len(rows))
    totals = np.array([sum(cell[key] for key, _, _ in _STAGES) for _, cell in rows])
    left = np.zeros(len(rows))
    for key, label, colour in _STAGES:
        share = 100 * np.array([cell[key] for _, cell in rows]) / totals
        axis.barh(places, share, left=left, color=colour, label=label)
        left += share
    for place, total in zip(places, totals, strict=True):
        axis.annotate(f"{total:.0f} ms", (101, place), va="center", fontsize=9)
    axis.set_yticks(places, [name for name, _ in rows])
    axis.set_xlim(0, 100)
    axis.set_xlabel("% of a request's time (mix, callers)")
    axis.set_title("crossrank's stages", pad=24)
    axis.legend(loc="lower left", bbox_to_anchor=(-0.3, 0.99), ncols=4, fontsize=9,
                columnspacing=0.9, handlelength=1, handletextpad=0.4)  # fmt: skip
    axis.grid(visible=False, axis="y")


def _shares(axis: Any, content: Content) -> None:
    mixes = list(content["closed"])
    colours = {name: look["color"] for name, look in _LOOKS.items()} | {BARE: _GREY}
    width = 0.8 / len(colours)
    for shift, (name, colour) in enumerate(colours.items()):
        shares = [100 * summary.gemm_shares(content, mix).get(name, 0.0) for mix in mixes]
        axis.bar(np.arange(len(mixes)) + shift * width, shares, width, color=colour, label=name)
    axis.set_xticks(np.arange(len(mixes)) + 1.5 * width, mixes)
    axis.set_ylabel("% of the measured GEMM peak")
    axis.set_ylim(0, 100)
    axis.set_title("Arithmetic reached")
    axis.legend(fontsize=9)
    axis.grid(visible=False, axis="x")


def _sizes(axis: Any, sizes: Sequence[Mapping[str, float]]) -> None:
    tokens = np.array([size["tokens"] for size in sizes])
    milliseconds = 1000 * np.array([size["seconds"] for size in sizes])
    axis.plot(tokens, milliseconds, label="measured", **_LOOKS[CROSSRANK])
    cheapest = (milliseconds / tokens).min()
    axis.plot(tokens, cheapest * tokens, "--", color=_GREY, label="linear in tokens")
    for size, x, y in zip(sizes, tokens, milliseconds, strict=True):
        axis.annotate(
            f"{size['passages']}", (x, y), (0, 7), textcoords="offset points", ha="center"
        )
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.margins(y=0.15)
    axis.set_xlabel("tokens in the request (number: its passages)")
    axis.set_ylabel("milliseconds, alone on crossrank")
    axis.set_title("One request")
    axis.legend(loc="lower right")
