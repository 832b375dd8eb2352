"""The scores so far: a line a query, appended whole; the first line says whose scores they are."""

import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from app.evaluation import EvaluationError, shown
from app.evaluation.runs import Candidates
from app.scores import Scored

_REMEDY = "give another --output, or delete the file to begin again"


class ScoresFile:
    """rankings: each finished query's document ids in the order they were answered in."""

    def __init__(self, path: Path, identity: Mapping[str, Any], candidates: Candidates) -> None:
        """Begins a file, or goes on with it. Raises EvaluationError where it is another's.

        identity: what the scores depend on, by name. A last line that is not whole is cut off.
        """
        self._path = path
        self.rankings: dict[str, list[str]] = {}
        self._file = path.open("a+b", buffering=0)
        try:
            self._lock()
            self._resume(dict(identity), candidates)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "ScoresFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._file.close()

    def append(self, query: str, documents: Sequence[str], ranking: Sequence[Scored]) -> None:
        """One query's ranking, as it was answered; on disk before it counts."""
        named = [[documents[item.index], item.score] for item in ranking]
        self._write({"query": query, "ranking": named})
        self.rankings[query] = [documents[item.index] for item in ranking]

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EvaluationError(
                f"{self._path} is being written by another process: wait for it, or give another "
                "--output"
            ) from error

    def _resume(self, identity: dict[str, Any], candidates: Candidates) -> None:
        end = 0
        with self._path.open("rb") as lines:  # unbuffered, a line would be read byte by byte
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    break
                self._take(number, line, identity, candidates)
                end += len(line)
        self._file.truncate(end)
        if not end:
            self._write(identity)

    def _take(
        self, number: int, line: bytes, identity: dict[str, Any], candidates: Candidates
    ) -> None:
        try:
            content = json.loads(line)
            if number == 1:
                self._compare(content, identity)
                return
            query, ranking = content["query"], [document for document, _ in content["ranking"]]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise EvaluationError(
                f"{self._path}, line {number} is not a line of scores: {_REMEDY}"
            ) from error
        if sorted(ranking) != sorted(candidates.get(query, ())):
            raise EvaluationError(
                f"{self._path}, line {number} ranks other documents than query {shown(query)} has: "
                f"{_REMEDY}"
            )
        self.rankings[query] = ranking

    def _compare(self, found: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
        for name in {**identity, **found}:
            theirs, ours = found.get(name), identity.get(name)
            if theirs != ours:
                raise EvaluationError(
                    f"{self._path} holds scores with {name} {theirs}, this run has {name} {ours}: "
                    f"{_REMEDY}"
                )

    def _write(self, content: Mapping[str, Any]) -> None:
        """In one call: a killed process leaves a whole line, or at worst the beginning of one."""
        line = json.dumps(content, ensure_ascii=False).encode() + b"\n"
        end = self._file.seek(0, os.SEEK_END)
        if self._file.write(line) != len(line):
            self._file.truncate(end)
            raise EvaluationError(f"{self._path} cannot be written: the disk is full")
