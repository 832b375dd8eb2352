"""The measures: against numbers worked by hand, and against the formulas written out again."""

from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.evaluation.figures import Mean, best_order, first_relevant, per_query

GRADES = st.dictionaries(st.sampled_from([f"d{i}" for i in range(30)]), st.integers(0, 3))
RANKING = st.lists(st.sampled_from([f"d{i}" for i in range(30)]), unique=True)


def test_a_graded_query_worked_by_hand() -> None:
    qrels = {"q": {"a": 3, "b": 1, "c": 2, "z": 0}}
    found = per_query(qrels, {"q": ["x", "b", "z", "a"]})
    # Järvelin and Kekäläinen 2002 with log2(rank + 1): (1/log2 3 + 3/log2 5) / ideal (3 2 1)
    gained, ideal = 0.63093 + 1.29203, 3 + 1.26186 + 0.5
    assert found["nDCG@10"] == [pytest.approx(gained / ideal, abs=1e-5)]
    assert found["Recall@5"] == [pytest.approx(2 / 3)]  # a and b of a, b, c
    assert found["MRR@10"] == [pytest.approx(1 / 2)]


def test_nothing_counts_below_its_cut() -> None:
    others = [f"x{i}" for i in range(10)]
    found = per_query({"q": {"a": 1}}, {"q": [*others, "a"]})
    assert found == {"nDCG@10": [0.0], "Recall@5": [0.0], "MRR@10": [0.0]}
    found = per_query({"q": {"a": 1}}, {"q": [*others[:9], "a"]})
    assert found["nDCG@10"] == [pytest.approx(1 / log2(11))]
    assert found["Recall@5"] == [0.0]
    assert found["MRR@10"] == [pytest.approx(0.1)]


def test_judged_queries_without_candidates_or_without_relevant_documents_count_0() -> None:
    qrels = {"none": {"a": 1}, "empty": {"a": 1}, "worthless": {"a": 0}, "good": {"a": 1}}
    rankings = {"empty": [], "worthless": ["a"], "good": ["a"], "unjudged": ["a"]}
    assert per_query(qrels, rankings)["nDCG@10"] == [0.0, 0.0, 0.0, 1.0]


def test_the_ranking_s_own_order_counts_whatever_the_ids_are() -> None:
    """trec_eval alone would put equal scores in the order of their ids, the highest first."""
    for ranking in (["a", "z"], ["z", "a"]):
        assert per_query({"q": {ranking[0]: 1}}, {"q": ranking})["MRR@10"] == [1.0]


@given(grades=st.lists(GRADES.filter(bool), min_size=1, max_size=4), data=st.data())
def test_they_agree_with_the_formulas(grades: list[dict[str, int]], data: st.DataObject) -> None:
    qrels = {f"q{i}": some for i, some in enumerate(grades)}
    rankings = {query: data.draw(RANKING) for query in qrels}
    found = per_query(qrels, rankings)
    for place, (query, judged) in enumerate(qrels.items()):
        expected = formulas(judged, rankings[query])
        assert [found[name][place] for name in found] == pytest.approx(expected, abs=1e-9)


def formulas(judged: dict[str, int], ranking: list[str]) -> list[float]:
    """nDCG@10, Recall@5, reciprocal rank at 10."""
    gains = [judged.get(document, 0) for document in ranking]
    ideal = sum(g / log2(i + 2) for i, g in enumerate(sorted(judged.values())[::-1][:10]))
    gained = sum(g / log2(i + 2) for i, g in enumerate(gains[:10]))
    relevant = sum(grade > 0 for grade in judged.values())
    places = [i for i, gain in enumerate(gains[:10], 1) if gain > 0]
    return [
        gained / ideal if ideal else 0.0,
        sum(gain > 0 for gain in gains[:5]) / relevant if relevant else 0.0,
        1 / places[0] if places else 0.0,
    ]


def test_the_best_order_cannot_be_surpassed_and_the_first_relevant_place_is_found() -> None:
    qrels = {"q": {"a": 1, "b": 2}, "r": {"a": 1}}
    candidates = {"q": ["x", "a", "b"]}
    assert best_order(qrels, candidates) == {"q": ["b", "a", "x"]}
    assert first_relevant(qrels, candidates) == [2, None]


def test_the_standard_error_is_that_of_a_mean() -> None:
    assert Mean.of([1.0]) == Mean(1.0, 0.0)
    assert Mean.of([0.0, 1.0, 1.0, 0.0]).standard_error == pytest.approx((1 / 3 / 4) ** 0.5)
