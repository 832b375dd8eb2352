"""BM25 candidates where no run is given: made by bm25s, kept, made again when the data changes."""

import json
from math import log
from pathlib import Path

import pytest

from app.evaluation import EvaluationError, bm25, runs
from tests.app import beir_folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return beir_folders.write(tmp_path / "data")


def made(folder: Path, queries: dict[str, str], depth: int = 10) -> Path:
    return bm25.candidates(folder, queries, depth, folder, lambda share: None)


def test_scores_are_lucene_s_bm25_on_stems_without_common_words(folder: Path) -> None:
    path = made(folder, {"q": "The clouds"})
    [first, second] = [line.split() for line in path.read_text().splitlines()]
    # "cloud" is in two of six documents, once each: rain fall from cloud; cloud water has cool.
    lengths = [4, 3, 4, 2, 4, 4]  # bread rise oven; stone river; dough need hour rise; …
    norm = 0.9 * (1 - 0.4 + 0.4 * 4 / (sum(lengths) / 6))
    score = log(1 + (6 - 2 + 0.5) / (2 + 0.5)) * 1 / (1 + norm)
    assert {first[2], second[2]} == {"d1", "d3"}
    assert [float(first[4]), float(second[4])] == pytest.approx([score, score], abs=1e-4)


def test_documents_that_share_no_word_are_no_candidates(folder: Path) -> None:
    queries = {"none": "xyzzy", "common": "the of", "rain": "rain"}
    assert runs.read(made(folder, queries), queries, 10) == {"rain": ["d1"]}


def test_depth_is_kept_to(folder: Path) -> None:
    queries = {"q": "rain bread clouds stone dough rivers"}
    assert len(runs.read(made(folder, queries), queries, 10)["q"]) == 6
    assert len(made(folder, queries, 2).read_text().splitlines()) == 2


def test_they_are_made_once_for_the_same_data(folder: Path) -> None:
    first = made(folder, {"q": "rain"})
    first.write_text("kept")
    assert made(folder, {"q": "rain"}).read_text() == "kept"
    assert made(folder, {"q": "bread"}) != first
    with (folder / "corpus.jsonl").open("a") as corpus:
        corpus.write('{"_id": "d7", "text": "rain"}\n')
    assert "d7" in made(folder, {"q": "rain"}).read_text()


def test_a_corpus_that_is_not_there_is_told(folder: Path) -> None:
    (folder / "corpus.jsonl").unlink()
    with pytest.raises(EvaluationError, match=r"corpus.jsonl cannot be read \(No such file"):
        made(folder, {"q": "rain"})


@pytest.mark.parametrize(("query", "document"), [("q", "d 7"), ("my q", "d7"), ("q", "")])
def test_an_id_that_a_run_file_cannot_hold_is_refused(
    folder: Path, query: str, document: str
) -> None:
    with (folder / "corpus.jsonl").open("a") as corpus:
        corpus.write(json.dumps({"_id": document, "text": "xyzzy"}) + "\n")
    with pytest.raises(EvaluationError, match="no id with a space in it; give the candidates as"):
        made(folder, {query: "xyzzy"})
    assert list(folder.glob("*.trec")) == [folder / "first.trec"]


def test_an_empty_corpus_is_refused(folder: Path) -> None:
    (folder / "corpus.jsonl").write_text("\n")
    with pytest.raises(EvaluationError, match=r"corpus.jsonl is empty"):
        made(folder, {"q": "rain"})
    assert list(folder.glob("*.trec")) == [folder / "first.trec"]
