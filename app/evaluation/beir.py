"""Reads a BEIR folder: qrels/SPLIT.tsv, queries.jsonl, and of corpus.jsonl only what is needed."""

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.evaluation import EvaluationError, shown

Qrels = dict[str, dict[str, int]]  # query id → document id → grade; above 0 is relevant
Tell = Callable[[float], None]  # told the share done so far, from 0 to 1
_COLUMNS = 3
_TOLD_EVERY = 4096  # documents


@dataclass(frozen=True, slots=True)
class Document:
    """One line of the corpus. offset: where it begins, in bytes."""

    id: str
    text: str
    offset: int


def read_qrels(folder: Path, split: str) -> Qrels:
    """The judgements. Raises EvaluationError, naming the line that cannot be read."""
    path = folder / "qrels" / f"{split}.tsv"
    qrels: Qrels = {}
    for number, _, line in _lines(path):
        cells = line.decode("utf-8", "replace").rstrip("\r\n").split("\t")
        if number == 1 and cells[-1] == "score":
            continue
        if len(cells) != _COLUMNS or not _is_integer(cells[2]):
            raise EvaluationError(
                f"{path}, line {number}: write query id, document id and a whole number, separated "
                "by tabs"
            )
        qrels.setdefault(cells[0], {})[cells[1]] = int(cells[2])
    if not qrels:
        raise EvaluationError(f"{path} judges nothing: write one judgement on each line")
    return qrels


def read_queries(folder: Path, wanted: Collection[str]) -> dict[str, str]:
    """The text of each wanted query, in the order of `wanted`. Raises EvaluationError."""
    path = folder / "queries.jsonl"
    texts: dict[str, str] = {}
    for number, _, line in _lines(path):
        record = _record(path, number, line)
        if record["_id"] not in wanted:
            continue
        if not record["text"].strip():
            raise EvaluationError(
                f"{path}, line {number}: query {shown(record['_id'])} has an empty text"
            )
        texts[record["_id"]] = record["text"]
    if absent := [query for query in wanted if query not in texts]:
        raise EvaluationError(
            f"{path} lacks {len(absent)} of {len(wanted)} judged queries, such as "
            f"{shown(absent[0])}"
        )
    return {query: texts[query] for query in wanted}


def documents(folder: Path, tell: Tell = lambda share: None) -> Iterator[Document]:
    """Every document, one at a time: title and text with a space between, as BEIR joins them."""
    path = corpus_path(folder)
    size = path.stat().st_size if path.exists() else 1
    for number, offset, line in _lines(path):
        record = _record(path, number, line)
        title = record.get("title") or ""
        if not isinstance(title, str):
            raise EvaluationError(f"{path}, line {number}: title is not a string")
        if number % _TOLD_EVERY == 0:
            tell(offset / size)
        yield Document(record["_id"], f"{title} {record['text']}".strip(), offset)


def corpus_path(folder: Path) -> Path:
    """The file of documents."""
    return folder / "corpus.jsonl"


def corpus_stat(folder: Path) -> os.stat_result:
    """Size and time of the file of documents. Raises EvaluationError."""
    path = corpus_path(folder)
    try:
        return path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error


class Corpus:
    """The candidates' texts, read when they are asked for: memory holds one offset for each.

    digest: of the wanted documents' ids and texts, in the order of the file.
    """

    def __init__(
        self, folder: Path, wanted: Collection[str], tell: Tell = lambda share: None
    ) -> None:
        """Goes through the corpus once. Raises EvaluationError for a wanted id that is not there
        or there twice."""
        self._path = corpus_path(folder)
        self._offsets: dict[str, int] = {}
        content = hashlib.sha256()
        for document in documents(folder, tell):
            if document.id not in wanted:
                continue
            if document.id in self._offsets:
                raise EvaluationError(f"{self._path} has document {shown(document.id)} twice")
            self._offsets[document.id] = document.offset
            content.update(json.dumps([document.id, document.text]).encode())
        absent = [document for document in wanted if document not in self._offsets]
        if absent:
            raise EvaluationError(
                f"{self._path} lacks {len(absent)} of {len(wanted)} candidate documents, such as "
                f"{shown(min(absent))}"
            )
        self.digest = content.hexdigest()
        self._file = self._path.open("rb")

    def text(self, document: str) -> str:
        """Title and text of a wanted document."""
        self._file.seek(self._offsets[document])
        record = json.loads(self._file.readline())
        return f"{record.get('title') or ''} {record['text']}".strip()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Line number, offset and content of each line that is not blank."""
    offset = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, offset, line
                offset += len(line)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> EvaluationError:
    return EvaluationError(
        f"{path} cannot be read ({os.strerror(error.errno or 0)}): a BEIR folder holds "
        "corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv"
    )


def _record(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise EvaluationError(f"{path}, line {number} is not valid JSON") from error
    for name in ("_id", "text"):
        if not isinstance(record, dict) or not isinstance(record.get(name), str):
            raise EvaluationError(f"{path}, line {number} has no string under {name}")
    return dict(record)


def _is_integer(cell: str) -> bool:
    return cell.removeprefix("-").isascii() and cell.removeprefix("-").isdecimal()
