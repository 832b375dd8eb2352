"""Writes the development set as a BEIR folder, for `crossrank eval`: both halves and their runs.

python -m models.mini.beir FOLDER; FOLDER/lists.trec names each question's own five passages.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

from models.mini import devset


def main() -> None:
    write(Path(sys.argv[1]))


def write(folder: Path) -> None:
    """A split for each half, and `test` for both; passages of all questions make one corpus."""
    asked = {f"q{i}": question for i, question in enumerate(devset.load())}
    passages = {f"{q}-{i}": p for q, item in asked.items() for i, p in enumerate(item.passages)}
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    _jsonl(folder / "corpus.jsonl", passages.items())
    _jsonl(folder / "queries.jsonl", ((q, item.question) for q, item in asked.items()))
    for split in ("everyday", "overlap", "test"):
        rows = [f"{q}\t{q}-{x.answer}\t1" for q, x in asked.items() if split in (x.kind, "test")]
        text = "\n".join(["query-id\tcorpus-id\tscore", *rows])
        (folder / "qrels" / f"{split}.tsv").write_text(text + "\n")
    own = [f"{p.partition('-')[0]} Q0 {p} 1 0 as-written\n" for p in passages]
    (folder / "lists.trec").write_text("".join(own))


def _jsonl(path: Path, texts: Iterable[tuple[str, str]]) -> None:
    lines = [json.dumps({"_id": name, "text": text}) for name, text in texts]
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
