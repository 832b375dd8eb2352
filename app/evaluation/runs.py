"""Candidate runs: a TREC run file or BEIR's results JSON, best first, no more than is needed."""

import heapq
import json
import math
from collections.abc import Collection, Iterator
from pathlib import Path

from app.evaluation import EvaluationError, shown

Candidates = dict[str, list[str]]  # query id → document ids, best first
Scored = tuple[str, str, float]  # query id, document id, score
_COLUMNS = 6


def read(path: Path, wanted: Collection[str], depth: int) -> Candidates:
    """The best `depth` documents of each wanted query; queries without any are left out.

    Equal scores are in trec_eval's order, the higher document id first; the rank column is not
    read, as trec_eval does not. Raises EvaluationError.
    """
    best: dict[str, list[tuple[float, str]]] = {}
    for query, document, score in _entries(path):
        if query not in wanted:
            continue
        heap = best.setdefault(query, [])
        push = heapq.heappush if len(heap) < depth else heapq.heappushpop
        push(heap, (score, document))
    if not best:
        raise EvaluationError(f"{path} has no candidates for any of the {len(wanted)} queries")
    return {query: _ordered(path, query, best[query]) for query in wanted if query in best}


def write(path: Path, entries: Iterator[Scored], tag: str) -> None:
    """A TREC run file, complete or not there at all. entries: each query's best first.

    Raises EvaluationError for an id that the file's columns would fall apart at.
    """
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        last, rank = "", 0
        for query, document, score in entries:
            if len(f"{query} {document}".split()) != len((query, document)):
                raise EvaluationError(
                    f"query {shown(query)} and document {shown(document)}: a run file takes no id "
                    "with a space in it; give the candidates as JSON (--run)"
                )
            rank = rank + 1 if query == last else 1
            last = query
            file.write(f"{query} Q0 {document} {rank} {score:.6f} {tag}\n")
    part.replace(path)


def _ordered(path: Path, query: str, heap: list[tuple[float, str]]) -> list[str]:
    ordered = [document for _, document in sorted(heap, reverse=True)]
    if len(set(ordered)) < len(ordered):
        raise EvaluationError(f"{path} has a document twice for query {shown(query)}")
    return ordered


def _entries(path: Path) -> Iterator[Scored]:
    try:
        with path.open(encoding="utf-8") as file:
            first = file.readline()
            file.seek(0)
            if first.lstrip().startswith("{"):
                yield from _json(path, file.read())
            else:
                yield from (_trec(path, n, line) for n, line in enumerate(file, 1) if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{path} cannot be read: give a run file in UTF-8") from error


def _trec(path: Path, number: int, line: str) -> Scored:
    cells = line.split()
    if len(cells) != _COLUMNS:
        raise EvaluationError(
            f"{path}, line {number} has {len(cells)} columns, not {_COLUMNS}: write query id, Q0, "
            "document id, rank, score and name of the run"
        )
    return cells[0], cells[2], _score(f"{path}, line {number}", cells[4])


def _json(path: Path, content: str) -> Iterator[Scored]:
    try:
        results = json.loads(content)
    except ValueError as error:
        raise EvaluationError(f"{path} is not valid JSON") from error
    for query, found in results.items():
        if not isinstance(found, dict):
            raise EvaluationError(f"{path}: query {shown(query)} has no object of scores")
        for document, score in found.items():
            yield query, document, _score(f"{path}, query {shown(query)}", score)


def _score(place: str, value: object) -> float:
    try:
        score = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        score = math.nan
    if not math.isfinite(score):
        raise EvaluationError(f"{place}: a score is not a number")
    return score
