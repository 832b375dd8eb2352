"""What was found out: figures before and after reranking, as a table and as JSON."""

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
class Report:
    """values: for each of ORDERS, every measure of every judged query. first: the place of each
    query's first relevant document, as candidates and reranked. about: what was measured."""

    about: Mapping[str, Any]
    values: Mapping[str, PerQuery]
    first: Mapping[str, Sequence[int | None]]

    def means(self, order: str) -> dict[str, Mean]:
        """Every measure's mean."""
        return {name: Mean.of(values) for name, values in self.values[order].items()}

    def changes(self, measure: str) -> list[float]:
        """What reranking added, for each query."""
        before, after = (self.values[order][measure] for order in ORDERS[:2])
        return [b - a for a, b in zip(before, after, strict=True)]

    def content(self) -> dict[str, Any]:
        """The figures for programs; standard errors of changes are those of paired queries."""
        return {
            **self.about,
            "figures": {
                order: {name: asdict(mean) for name, mean in self.means(order).items()}
                for order in ORDERS
            },
            "change": {
                name: asdict(Mean.of(self.changes(name)))
                | {
                    "queries_better": sum(change > 0 for change in self.changes(name)),
                    "queries_worse": sum(change < 0 for change in self.changes(name)),
                }
                for name in MEASURES
            },
        }

    def table(self) -> str:
        """The figures for people: means over queries with their standard errors."""
        rows = [f"{'':{_NAME}}" + "".join(f"{name:>{_CELL}}" for name in MEASURES)]
        rows += [_row(order, self.means(order), "") for order in ORDERS[:2]]
        changes = {name: Mean.of(self.changes(name)) for name in MEASURES}
        rows += [_row("change", changes, "+"), _row(ORDERS[2], self.means(ORDERS[2]), "")]
        moved = [self.changes(name) for name in MEASURES]
        better = [f"{sum(c > 0 for c in some)} / {sum(c < 0 for c in some)}" for some in moved]
        rows.append(f"{'up / down':{_NAME}}" + "".join(f"{cell:>{_CELL}}" for cell in better))
        return "\n".join([*self._heading(), "", *rows]) + "\n"

    def _heading(self) -> list[str]:
        about = self.about
        return [
            f"{about['dataset']}, {about['split']}: {about['queries']} queries, "
            f"{about['depth']} candidates at most from {about['run']}",
            "ranked by "
            + ", ".join(f"{name} {value}" for name, value in about["ranked_by"].items() if value),
            *(
                [f"{about['queries_without_candidates']} queries have no candidates and count 0"]
                if about["queries_without_candidates"]
                else []
            ),
        ]


def report(
    about: Mapping[str, Any], qrels: Qrels, candidates: Rankings, reranked: Rankings
) -> Report:
    """Measure the candidates' order, the ranker's, and the best there could be."""
    orders = (candidates, reranked, best_order(qrels, candidates))
    values = {name: per_query(qrels, order) for name, order in zip(ORDERS, orders, strict=True)}
    first = {
        name: first_relevant(qrels, order) for name, order in zip(ORDERS, orders[:2], strict=False)
    }
    return Report(about, values, first)


def _row(name: str, means: Mapping[str, Mean], sign: str) -> str:
    cells = [f"{mean.mean:{sign}.4f} ± {mean.standard_error:.4f}" for mean in means.values()]
    return f"{name:{_NAME}}" + "".join(f"{cell:>{_CELL}}" for cell in cells)
