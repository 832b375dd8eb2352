"""nDCG@10, Recall@5 and MRR@10 by trec_eval's own code, for each query and on average.

A query counts if it is judged, as with `trec_eval -c`: one without candidates, or with nothing
relevant, counts 0. Gains are the grades themselves, discounts log2(rank + 1), as BEIR has them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from app.evaluation import missing_extra
from app.evaluation.beir import Qrels

try:
    import pytrec_eval
except ImportError as error:
    raise missing_extra("measuring", error) from error

CUT = 10  # no measure looks further
MEASURES = {"nDCG@10": "ndcg_cut_10", "Recall@5": "recall_5", "MRR@10": "recip_rank"}
Rankings = Mapping[str, Sequence[str]]  # query id → document ids, best first
PerQuery = dict[str, list[float]]  # measure → a value for each judged query, in the order of qrels


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over queries and its standard error."""

    mean: float
    standard_error: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Mean":
        """The standard error of a single value is 0."""
        error = stdev(values) / sqrt(len(values)) if len(values) > 1 else 0.0
        return cls(fmean(values), error)


def per_query(qrels: Qrels, rankings: Rankings) -> PerQuery:
    """Every measure for every judged query.

    trec_eval sorts by score itself, in single precision and ties by document id; it is given the
    place in the ranking for a score, so that the ranking's own order is what counts.
    """
    run = {
        query: {document: float(-place) for place, document in enumerate(ranking[:CUT])}
        for query, ranking in ((query, rankings.get(query, ())) for query in qrels)
    }
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "recall.5", "recip_rank"})
    found = evaluator.evaluate(run)
    return {name: [found[query][theirs] for query in qrels] for name, theirs in MEASURES.items()}


def best_order(qrels: Qrels, candidates: Rankings) -> dict[str, list[str]]:
    """The candidates by their grade: what no ranking of them can surpass."""
    return {
        query: sorted(documents, key=lambda document: -qrels[query].get(document, 0))
        for query, documents in candidates.items()
    }


def first_relevant(qrels: Qrels, rankings: Rankings) -> list[int | None]:
    """The place of each judged query's first relevant document, 1 for the top; None without."""
    return [
        next(
            (
                i
                for i, document in enumerate(rankings.get(query, ()), 1)
                if grades.get(document, 0) > 0
            ),
            None,
        )
        for query, grades in qrels.items()
    ]
