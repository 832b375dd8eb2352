"""What a BEIR folder and a run may hold, and what is said where they do not."""

import json
from pathlib import Path

import pytest

from app.evaluation import EvaluationError, beir, runs
from tests.app import beir_folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return beir_folders.write(tmp_path / "data")


def read(folder: Path, run: Path) -> beir.Corpus:
    """All of it, as the command reads it."""
    queries = beir.read_queries(folder, beir.read_qrels(folder, "test"))
    candidates = runs.read(run, queries, 10)
    return beir.Corpus(folder, {name for found in candidates.values() for name in found})


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("qrels/test.tsv", None, "test.tsv cannot be read (No such file or directory): a BEIR"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\n\n", "judges nothing"),
        ("qrels/test.tsv", "q1\td1\t1\nq1 d1 1\n", "test.tsv, line 2: write query id"),
        ("qrels/test.tsv", "q1\td1\thigh\n", "test.tsv, line 1: write query id"),
        ("qrels/test.tsv", "q1\td1\t1\nq9\td1\t1\n", "lacks 1 of 2 judged queries, such as 'q9'"),
        ("queries.jsonl", None, "queries.jsonl cannot be read"),
        (
            "queries.jsonl",
            '{"_id": "q1", "text": "a"}\n{',
            "queries.jsonl, line 2 is not valid JSON",
        ),
        ("queries.jsonl", "[]", "queries.jsonl, line 1 has no string under _id"),
        ("queries.jsonl", '{"_id": "q1", "text": " "}', "line 1: query 'q1' has an empty text"),
        ("corpus.jsonl", None, "corpus.jsonl cannot be read"),
        (
            "corpus.jsonl",
            '\n{"_id": "d1", "txt": ""}',
            "corpus.jsonl, line 2 has no string under te",
        ),
        ("corpus.jsonl", '{"_id": "d1", "text": "", "title": 1}', "line 1: title is not a string"),
        ("corpus.jsonl", '{"_id": "d1", "text": ""}\n' * 2, "has document 'd1' twice"),
        (
            "corpus.jsonl",
            '{"_id": "d1", "text": ""}',
            "lacks 5 of 6 candidate documents, such as 'd2",
        ),
        ("first.trec", None, "first.trec cannot be read"),
        ("first.trec", "q1 Q0 d1 1 2.0 x\nq1 d1 2\n", "line 2 has 3 columns, not 6"),
        ("first.trec", "q1 Q0 d1 1 nan x\n", "line 1: a score is not a number"),
        ("first.trec", "q1 Q0 d1 1 2 x\nq1 Q0 d1 2 1 x\n", "has a document twice for query 'q1'"),
        ("first.trec", "other Q0 d1 1 2 x\n", "no candidates for any of the 5 queries"),
        ("first.trec", '{"q1": ', "first.trec is not valid JSON"),
        ("first.trec", '{"q1": ["d1"]}', "query 'q1' has no object of scores"),
        ("first.trec", '{"q1": {"d1": null}}', "query 'q1': a score is not a number"),
        ("first.trec", '{"q1": {"\\u001b[31m": 1}}', r"such as '\x1b[31m'"),
    ],
)
def test_what_cannot_be_read_is_refused_by_file_and_line(
    folder: Path, file: str, content: str | None, reason: str
) -> None:
    (folder / file).unlink() if content is None else (folder / file).write_text(content)
    with pytest.raises(EvaluationError) as told:
        read(folder, folder / "first.trec")
    assert reason in str(told.value)


def test_title_and_text_are_joined_as_beir_joins_them(folder: Path) -> None:
    records: dict[str, dict[str, object]] = {
        "a": {"title": "Rain", "text": "falls\u2028down"},
        "b": {"text": "no title"},
        "c": {"title": None, "text": "ä ö"},
        "d": {"title": "", "text": ""},
    }
    beir_folders.jsonl(folder / "corpus.jsonl", records)
    corpus = beir.Corpus(folder, ["d", "c", "a"])
    assert [corpus.text(name) for name in "cada"] == [
        "ä ö",
        "Rain falls\u2028down",
        "",
        "Rain falls\u2028down",
    ]
    assert [document.text for document in beir.documents(folder)][1] == "no title"
    corpus.close()


def test_the_corpus_holds_offsets_of_the_candidates_and_nothing_else(folder: Path) -> None:
    corpus = beir.Corpus(folder, ["d5"])
    [(name, offset)] = corpus._offsets.items()
    line = (folder / "corpus.jsonl").read_bytes()[offset:].splitlines()[0]
    assert (name, json.loads(line)["_id"]) == ("d5", "d5")
    corpus.close()


def test_a_run_is_cut_to_its_best_and_ties_are_in_trec_eval_s_order(tmp_path: Path) -> None:
    path = tmp_path / "run"
    scores = {"low": 1, "a": 2, "c": 2, "b": 2, "top": 3.5, "deep": -1}
    lines = [f"q Q0 {name} {i} {score} x\n" for i, (name, score) in enumerate(scores.items())]
    path.write_text("".join(lines))
    assert runs.read(path, ["q"], 3) == {"q": ["top", "c", "b"]}
    assert runs.read(path, ["q"], 9) == {"q": ["top", "c", "b", "a", "low", "deep"]}
    path.write_text(json.dumps({"other": {"x": 1}, "q": scores}))
    assert runs.read(path, ["q", "absent"], 3) == {"q": ["top", "c", "b"]}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    runs.write(path, iter([("q", "b", 2.5), ("q", "a", 1.0), ("r", "a", 0.5)]), "tag")
    assert path.read_text().splitlines()[1] == "q Q0 a 2 1.000000 tag"
    assert runs.read(path, ["q", "r"], 10) == {"q": ["b", "a"], "r": ["a"]}
