"""Tiny BEIR folders for tests, and the command that is tried on them."""

import json
from collections.abc import Mapping
from pathlib import Path

DOCUMENTS = {
    "d1": "Rain falls from clouds.",
    "d2": "Bread rises in the oven.",
    "d3": "Clouds are water that has cooled.",
    "d4": "A stone by the river.",
    "d5": "Dough needs an hour to rise.",
    "d6": "Rivers carry water to the sea.",
}
QUERIES = {
    "q1": "why does it rain",
    "q2": "how does bread rise",
    "q3": "where do rivers end",
    "q4": "what is a cloud",
    "q5": "how old is a stone",
}
RELEVANT = {"q1": ["d1", "d3"], "q2": ["d2", "d5"], "q3": ["d6"], "q4": ["d3"], "q5": ["d4"]}
ORDER = ["d4", "d6", "d2", "d1", "d5", "d3"]  # every query's candidates, best first


def write(folder: Path, documents: Mapping[str, str] = DOCUMENTS) -> Path:
    """Corpus, queries, judgements, and the run `first.trec`."""
    (folder / "qrels").mkdir(parents=True)
    jsonl(
        folder / "corpus.jsonl", {name: {"title": "", "text": t} for name, t in documents.items()}
    )
    jsonl(folder / "queries.jsonl", {name: {"text": text} for name, text in QUERIES.items()})
    rows = [f"{query}\t{document}\t1\n" for query, ds in RELEVANT.items() for document in ds]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    order = [name for name in ORDER if name in documents]
    lines = [f"{q} Q0 {d} {i} {9 - i} first\n" for q in QUERIES for i, d in enumerate(order, 1)]
    (folder / "first.trec").write_text("".join(lines))
    return folder


def jsonl(path: Path, records: Mapping[str, Mapping[str, object]]) -> None:
    """One object a line, with its key under _id."""
    lines = [json.dumps({"_id": name, **record}) for name, record in records.items()]
    path.write_text("\n".join(lines) + "\n")


def command(folder: Path, output: Path, *more: str) -> list[str]:
    """`eval` on a folder with its own run."""
    run = str(folder / "first.trec")
    return ["eval", str(folder), "--run", run, "--output", str(output), *more]


def scores(output: Path) -> dict[str, list[tuple[str, float]]]:
    """What the scores file holds, by query; each query must be there once."""
    [_, *lines] = (output / "scores.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    rankings = {line["query"]: [(name, score) for name, score in line["ranking"]] for line in found}
    assert len(rankings) == len(found)
    return rankings
