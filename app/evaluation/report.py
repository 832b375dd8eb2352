"""What was found out: figures before and after reranking, as a table and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from app.evaluation.beir import Qrels
from app.evaluation.figures import (
    MEASURES,
    Mean,
    PerQuery,
    Rankings,
    best_order,
    first_relevant,
    per_query,
)

ORDERS = ("candidates", "reranked", "best order")
_NAME, _CELL = 12, 19


@dataclass(frozen=True, slots=True)
class Change:
    """What reranking added to a measure: mean and standard error over paired queries, counts."""

    mean: float
    standard_error: float
    queries_better: int
    queries_worse: int


@dataclass(frozen=True, slots=True)
class Report:
    """values: for each of ORDERS, every measure of every judged query. first: the place of each
    query's first relevant document, as candidates and reranked. about: what was measured."""

    about: Mapping[str, Any]
    values: Mapping[str, PerQuery]
    first: Mapping[str, Sequence[int | None]]

    def means(self, order: str) -> dict[str, Mean]:
        """Every measure's mean."""
        return {name: Mean.of(values) for name, values in self.values[order].items()}

    def differences(self, measure: str) -> list[float]:
        """What reranking added, for each query."""
        before, after = (self.values[order][measure] for order in ORDERS[:2])
        return [b - a for a, b in zip(before, after, strict=True)]

    def changes(self) -> dict[str, Change]:
        """Every measure's change."""
        return {name: _change(self.differences(name)) for name in MEASURES}

    def json(self) -> str:
        """The figures for programs, as one JSON object."""
        figures = {
            order: {name: asdict(mean) for name, mean in self.means(order).items()}
            for order in ORDERS
        }
        changes = {name: asdict(change) for name, change in self.changes().items()}
        content = {**self.about, "figures": figures, "change": changes}
        return json.dumps(content, ensure_ascii=False, indent=1) + "\n"

    def table(self) -> str:
        """The figures for people: means over queries with their standard errors."""
        before, after, best = (self.means(order) for order in ORDERS)
        changes = self.changes()
        counts = [f"{c.queries_better} / {c.queries_worse}" for c in changes.values()]
        lines = [
            *self._heading(),
            "",
            _row("", list(MEASURES)),
            _row(ORDERS[0], _cells(before)),
            _row(ORDERS[1], _cells(after)),
            _row("change", _cells(changes, "+")),
            _row("up / down", counts),
            _row(ORDERS[2], _cells(best)),
        ]
        return "\n".join(lines) + "\n"

    def _heading(self) -> list[str]:
        about, without = self.about, self.about["queries_without_candidates"]
        ranker = ", ".join(f"{name} {value}" for name, value in about["ranked_by"].items() if value)
        lines = [
            f"{about['dataset']}, {about['split']}: {about['queries']} queries, "
            f"{about['depth']} candidates at most from {about['run']}",
            f"ranked by {ranker}",
        ]
        return [*lines, f"{without} queries have no candidates and count 0"] if without else lines


def report(
    about: Mapping[str, Any], qrels: Qrels, candidates: Rankings, reranked: Rankings
) -> Report:
    """Measure the candidates' order, the ranker's, and the best there could be."""
    orders = dict(zip(ORDERS, (candidates, reranked, best_order(qrels, candidates)), strict=True))
    values = {name: per_query(qrels, order) for name, order in orders.items()}
    first = {name: first_relevant(qrels, orders[name]) for name in ORDERS[:2]}
    return Report(about, values, first)


def _change(differences: Sequence[float]) -> Change:
    mean = Mean.of(differences)
    better, worse = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    return Change(mean.mean, mean.standard_error, better, worse)


def _cells(means: Mapping[str, Mean] | Mapping[str, Change], sign: str = "") -> list[str]:
    return [f"{mean.mean:{sign}.4f} ± {mean.standard_error:.4f}" for mean in means.values()]


def _row(name: str, cells: Sequence[str]) -> str:
    return f"{name:{_NAME}}" + "".join(f"{cell:>{_CELL}}" for cell in cells)
