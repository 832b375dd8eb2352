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
    ("inference_ms", "inference, shared", "#0072b2", "o"), ("queue_ms", "queue", "#777777", "s"),
    ("tokenize_ms", "tokenize", "#e69f00", "^"), ("rest_ms", "HTTP and JSON", "#d55e00", "D"),
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
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.6), layout="constrained")
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
        axis.set_xlim(0, None)
        axis.set_title(f"p{percentile}")
        axis.set_xlabel("offered load, passages a second")
    lowest, highest = zip(*(axis.get_ylim() for axis in axes), strict=True)
    for axis in axes:
        axis.set_ylim(min(lowest), max(highest))
        _logarithmic(axis, axis.yaxis)
    axes[0].set_ylabel("milliseconds from due time to answer")
    axes[0].figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)


def _time(content: Content, axes: Sequence[Any]) -> None:
    _stages(axes[0], content)
    _shares(axes[1], content)
    _sizes(axes[2], content["sizes"])


def _stages(axis: Any, content: Content) -> None:
    """The mean request's stages, from milliseconds to minutes, so on a logarithmic axis."""
    rows = [
        (f"{mix}, {callers}", cell)
        for mix, closed in content["closed"].items()
        for callers, cell in closed["median"][CROSSRANK].items()
    ]
    for key, label, colour, marker in _STAGES:
        values = [cell[key] for _, cell in rows]
        axis.plot(values, range(len(rows)), marker, color=colour, label=label)
    axis.set_yticks(range(len(rows)), [name for name, _ in rows])
    axis.invert_yaxis()
    axis.margins(y=0.08)
    _logarithmic(axis, axis.xaxis)
    axis.set_ylabel("mix, callers")
    axis.set_xlabel("milliseconds of the mean request")
    axis.set_title("crossrank's stages")
    axis.legend(loc="upper center", bbox_to_anchor=(0.35, -0.17), ncols=2, fontsize=9.5,
                columnspacing=1, handletextpad=0.2)  # fmt: skip


def _logarithmic(axis: Any, which: Any) -> None:
    """Plain numbers, at 1, 2 and 5 where there are few decades."""
    horizontal = which is axis.xaxis
    (axis.set_xscale if horizontal else axis.set_yscale)("log")
    low, high = axis.get_xlim() if horizontal else axis.get_ylim()
    few = high < 30 * low
    which.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5) if few else (1,)))
    which.set_major_formatter(mpl.ticker.FuncFormatter(lambda number, _: f"{number:g}"))
    which.set_minor_formatter(mpl.ticker.NullFormatter())


def _shares(axis: Any, content: Content) -> None:
    mixes = list(content["closed"])
    colours = {name: look["color"] for name, look in _LOOKS.items()} | {BARE: _GREY}
    width = 0.8 / len(colours)
    for shift, (name, colour) in enumerate(colours.items()):
        shares = [100 * summary.gemm_shares(content, mix)[name] for mix in mixes]
        axis.bar(np.arange(len(mixes)) + shift * width, shares, width, color=colour, label=name)
    axis.set_xticks(np.arange(len(mixes)) + 1.5 * width, mixes)
    axis.set_xlabel("mix, at the most callers")
    axis.set_ylabel("% of the measured GEMM peak")
    axis.set_title("Arithmetic reached")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2, fontsize=9.5)
    axis.grid(visible=False, axis="x")


def _sizes(axis: Any, sizes: Sequence[Mapping[str, float]]) -> None:
    tokens = np.array([size["tokens"] for size in sizes])
    milliseconds = 1000 * np.array([size["seconds"] for size in sizes])
    axis.plot(tokens, milliseconds, label="measured; number: passages", **_LOOKS[CROSSRANK])
    cheapest = (milliseconds / tokens).min()
    axis.plot(tokens, cheapest * tokens, "--", color=_GREY, label="linear in tokens")
    for size, x, y in zip(sizes, tokens, milliseconds, strict=True):
        place = {"xytext": (-5, 6), "textcoords": "offset points", "ha": "right"}
        axis.annotate(f"{size['passages']}", (x, y), **place)
    axis.margins(x=0.12, y=0.15)
    for which in (axis.xaxis, axis.yaxis):
        _logarithmic(axis, which)
    axis.set_xlabel("tokens in the request")
    axis.set_ylabel("milliseconds")
    axis.set_title("One request, alone on crossrank")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), fontsize=9.5)
