"""Draws a report: the figures, where the first relevant document lands, and who won or lost."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.evaluation import missing_extra
from app.evaluation.figures import MEASURES
from app.evaluation.report import ORDERS, Report

try:
    import matplotlib as mpl
    from matplotlib import pyplot as plt
except ImportError as error:
    raise missing_extra("--plot", error) from error

mpl.use("Agg")

_COLOURS = dict(zip(ORDERS, ("#777777", "#0072b2", "#bbbbbb"), strict=True))
_UP, _DOWN = "#009e73", "#d55e00"
_STYLE = {
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25,
    "axes.axisbelow": True, "axes.titleweight": "bold", "axes.titlesize": 11,
    "axes.titlelocation": "left", "font.size": 9.5, "legend.frameon": False,
}  # fmt: skip


def draw(report: Report, path: Path) -> None:
    """Write the PNG."""
    about = report.about
    with mpl.rc_context(_STYLE):
        figure, axes = plt.subplots(1, 3, figsize=(14, 4.4), layout="constrained")
        _means(axes[0], report)
        _first(axes[1], report)
        _changes(axes[2], report)
        ranker = about["ranked_by"].get("checkpoint") or about["ranked_by"].get("served")
        figure.suptitle(
            f"{about['dataset']}, {about['split']}: {about['queries']} queries, "
            f"{about['depth']} candidates at most from {about['run']}, "
            f"ranked by {ranker or about['ranked_by']['server']}"
        )
        figure.savefig(path, dpi=110, format="png")
        plt.close(figure)


def _means(axis: Any, report: Report) -> None:
    width = 0.27
    for number, order in enumerate(ORDERS):
        means = report.means(order).values()
        places = [place + (number - 1) * width for place in range(len(MEASURES))]
        heights = [mean.mean for mean in means]
        errors = [mean.standard_error for mean in means]
        bars = axis.bar(
            places, heights, width * 0.94, yerr=errors, color=_COLOURS[order], label=order,
            error_kw={"lw": 1},
        )  # fmt: skip
        axis.bar_label(bars, fmt="%.3f", fontsize=8, padding=2)
    axis.set_xticks(range(len(MEASURES)), list(MEASURES))
    axis.set_ylim(0, 1.2)
    axis.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axis.grid(visible=False, axis="x")
    axis.legend(ncols=3, loc="upper center")
    axis.set_title("Mean over queries, with standard error")


def _first(axis: Any, report: Report) -> None:
    depth = max(1, *(place or 1 for places in report.first.values() for place in places))
    for order, places in report.first.items():
        shares = [_share(places, cut) for cut in range(1, depth + 1)]
        axis.step(range(1, depth + 1), shares, where="post", color=_COLOURS[order], label=order)
    axis.set_ylim(0, 1.02)
    axis.set_xlim(1, max(depth, 2))
    axis.set_xlabel("documents looked at")
    axis.set_ylabel("share of queries")
    axis.legend(loc="lower right")
    axis.set_title("A relevant document seen")


def _share(places: Sequence[int | None], cut: int) -> float:
    return sum(place is not None and place <= cut for place in places) / len(places)


def _changes(axis: Any, report: Report) -> None:
    [measure, *_] = MEASURES
    changes = sorted(report.differences(measure), reverse=True)
    change = report.changes()[measure]
    same = len(changes) - change.queries_better - change.queries_worse
    colours = [_UP if change > 0 else _DOWN for change in changes]
    axis.bar(range(1, len(changes) + 1), changes, width=1, color=colours)
    axis.axhline(0, color="black", lw=0.8)
    axis.set_ylim(-1.05, 1.05)
    axis.set_xlabel(
        f"queries, sorted: {change.queries_better} better, {same} the same, "
        f"{change.queries_worse} worse"
    )
    axis.set_title(f"What reranking did to each query's {measure}")
