"""The scores file: resumed line by line, cut where a line is broken, refused where it differs."""

import json
from pathlib import Path

import pytest

from app.evaluation import EvaluationError
from app.evaluation.scores_file import ScoresFile
from app.scores import Scored

IDENTITY = {"format": 1, "checkpoint": "a", "revision": None, "depth": 2}
CANDIDATES = {"q1": ["d1", "d2"], "q2": ["d2", "d3"]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with one finished query."""
    path = tmp_path / "scores.jsonl"
    with ScoresFile(path, IDENTITY, CANDIDATES) as scores:
        scores.append("q1", CANDIDATES["q1"], [Scored(1, 0.5), Scored(0, -2.25)])
        assert scores.rankings == {"q1": ["d2", "d1"]}
    return path


def test_every_line_is_json_and_keeps_order_and_scores(path: Path) -> None:
    first, second = map(json.loads, path.read_text().splitlines())
    assert first == IDENTITY
    assert second == {"query": "q1", "ranking": [["d2", 0.5], ["d1", -2.25]]}


def test_it_goes_on_where_it_stopped(path: Path) -> None:
    before = path.read_bytes()
    with ScoresFile(path, IDENTITY, CANDIDATES) as scores:
        assert scores.rankings == {"q1": ["d2", "d1"]}
        scores.append("q2", CANDIDATES["q2"], [Scored(0, 1.0), Scored(1, 0.0)])
    assert path.read_bytes().startswith(before)
    with ScoresFile(path, IDENTITY, CANDIDATES) as scores:
        assert scores.rankings == {"q1": ["d2", "d1"], "q2": ["d2", "d3"]}


def test_a_line_that_was_cut_anywhere_counts_for_nothing(path: Path) -> None:
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with ScoresFile(path, IDENTITY, CANDIDATES) as scores:
            assert scores.rankings == {}
        assert path.read_bytes() == whole[:first]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"checkpoint": "b"}, "holds scores with checkpoint a, this run has checkpoint b: give"),
        ({"depth": 3}, "holds scores with depth 2, this run has depth 3: give"),
        ({"revision": "main"}, "holds scores with revision None, this run has revision main: give"),
        ({"server": "http://b"}, "holds scores with server None, this run has server http://b: g"),
    ],
)
def test_another_run_s_scores_are_refused_with_both_values(
    path: Path, change: dict[str, object], reason: str
) -> None:
    before = path.read_bytes()
    with pytest.raises(EvaluationError) as told:
        ScoresFile(path, IDENTITY | change, CANDIDATES)
    assert reason in str(told.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "line 3 is not a line of scores"),
        ('{"query": "q2"}', "line 3 is not a line of scores"),
        ('{"query": "q2", "ranking": [["d1", 1], ["d2", 0]]}', "line 3 ranks other documents than"),
        ('{"query": "q9", "ranking": [["d1", 1]]}', "line 3 ranks other documents than query 'q9'"),
    ],
)
def test_a_line_that_was_meddled_with_is_refused(path: Path, line: str, reason: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(EvaluationError, match=reason):
        ScoresFile(path, IDENTITY, CANDIDATES)


def test_two_runs_cannot_write_one_file(path: Path) -> None:
    with (
        ScoresFile(path, IDENTITY, CANDIDATES),
        pytest.raises(EvaluationError, match="is being written by another process"),
    ):
        ScoresFile(path, IDENTITY, CANDIDATES)
    ScoresFile(path, IDENTITY, CANDIDATES).__exit__(None, None, None)
