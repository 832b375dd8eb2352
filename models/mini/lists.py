"""Draws the training lists and the held-out lists: a question and passages with teacher scores.

Half of a training list is where BM25 and the teacher disagree, so overlap alone cannot win it.
"""

from __future__ import annotations

import json
import logging
import random
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.mini import asks, teacher, wordnet
from models.mini.bm25 import Bm25
from models.mini.corpus import Passage, read_corpus
from models.mini.sources import SOURCES, UNSEEN

log = logging.getLogger(__name__)
HELD_OUT_PASSAGES = 0.03
HELD_OUT_LISTS = 200
HELD_OUT_DEPTH = 20
DRAWN = 8
ROWS = 1_000


@dataclass(frozen=True)
class RankedList:
    question: str
    passages: list[str]
    similarities: list[float]
    right: int
    """Index of the passage the question was made from, -1 when it was made up."""


@dataclass(frozen=True)
class Question:
    text: str
    home: int


def make_lists(work: Path, count: int, seed: int) -> tuple[list[RankedList], list[RankedList]]:
    """Training lists and held-out lists, kept in the work folder."""
    files = [work / f"{kind}-{count}-{seed}.jsonl" for kind in ("train", "held-out")]
    if not all(f.exists() for f in files):
        corpus = read_corpus(work, seed)
        held = _held_out(corpus, seed)
        _write(files[1], _held_out_lists(corpus, held, work, seed))
        _write(files[0], _training_lists(corpus, held, work, count, seed))
    return _load(files[0]), _load(files[1])


def _held_out(corpus: list[Passage], seed: int) -> set[int]:
    rng = random.Random(f"{seed} held out")
    unseen = {i for i, p in enumerate(corpus) if p.source == UNSEEN}
    return unseen | {i for i in range(len(corpus)) if rng.random() < HELD_OUT_PASSAGES}


def _training_lists(
    corpus: list[Passage], held: set[int], work: Path, count: int, seed: int
) -> list[RankedList]:
    places = [i for i in range(len(corpus)) if i not in held]
    kept = [corpus[i] for i in places]
    rng = random.Random(f"{seed} training")
    questions = _training_questions(kept, work, count, seed, rng)
    vectors = teacher.embed([p.text for p in corpus], work)[places]
    asked = teacher.embed([q.text for q in questions], work)
    bm25 = Bm25([p.text for p in kept])
    lists = []
    for at, question in enumerate(questions):
        if at % ROWS == 0:
            similar = asked[at : at + ROWS] @ vectors.T
            log.info("lists: %d of %d", at, count)
        near = similar[at % ROWS]
        rows = _draw(question, near, bm25.scores(question.text), rng)
        texts = [kept[i].text for i in rows]
        right = rows.index(question.home) if question.home >= 0 else -1
        lists.append(RankedList(question.text, texts, [float(near[i]) for i in rows], right))
    return lists


def _training_questions(
    kept: list[Passage], work: Path, count: int, seed: int, rng: random.Random
) -> list[Question]:
    """A third made up, the rest from passages."""
    own = [Question(q, i) for i, p in enumerate(kept) for q in p.questions + p.copied_questions]
    synsets = wordnet.read_synsets(work / "text" / SOURCES[0].package / SOURCES[0].folder)
    made_up = [Question(q, -1) for q in asks.make_up(synsets, count // 3, work, seed)]
    questions = rng.sample(own, count - len(made_up)) + made_up
    rng.shuffle(questions)
    return questions


def _draw(
    question: Question,
    near: NDArray[np.float32],
    match: NDArray[np.float32],
    rng: random.Random,
) -> list[int]:
    """Eight passages: the home, the teacher's best (two of them quiet), BM25's best, a random one.

    Quiet ones share few words with the question; misled ones share many but are far from it.
    """
    by_near = _top(near, 40)
    by_match = _top(match, 24)
    quiet = sorted(by_near[:12], key=lambda i: match[i])[:4]
    misled = sorted(by_match, key=lambda i: near[i])[:8]
    rows = [question.home] if question.home >= 0 else [by_near[0]]
    rows += [*rng.sample(quiet, 2), rng.choice(by_near[:10]), rng.choice(by_near)]
    rows += [*rng.sample(misled, 2), rng.choice(by_match), rng.randrange(len(near))]
    rows = list(dict.fromkeys(rows))[:DRAWN]
    while len(rows) < DRAWN:
        rows = list(dict.fromkeys([*rows, rng.randrange(len(near))]))
    return rows


def _top(scores: NDArray[np.float32], count: int) -> list[int]:
    best = np.argpartition(-scores, count)[:count]
    return [int(i) for i in best[np.argsort(-scores[best], kind="stable")]]


def _held_out_lists(
    corpus: list[Passage], held: set[int], work: Path, seed: int
) -> list[RankedList]:
    """First the seen sources' lists, then UNSEEN's."""
    rng = random.Random(f"{seed} held-out lists")
    bm25, drawn = Bm25([p.text for p in corpus]), []
    for unseen in (False, True):
        homes = sorted(i for i in held if (corpus[i].source == UNSEEN) == unseen)
        rng.shuffle(homes)
        asked = [Question(rng.choice(corpus[i].questions), i) for i in homes if corpus[i].questions]
        drawn += _found_by_bm25(asked, bm25)
    vectors = teacher.embed([p.text for p in corpus], work)
    questions = teacher.embed([q.text for q, _ in drawn], work)
    return [
        RankedList(
            question.text,
            [corpus[i].text for i in rows],
            [float(x) for x in vectors[rows] @ vector],
            rows.index(question.home),
        )
        for (question, rows), vector in zip(drawn, questions, strict=True)
    ]


def _found_by_bm25(asked: list[Question], bm25: Bm25) -> list[tuple[Question, list[int]]]:
    """BM25's top 20 for the first 200 questions whose passage is among them."""
    found: list[tuple[Question, list[int]]] = []
    for question in asked:
        rows = _top(bm25.scores(question.text), HELD_OUT_DEPTH)
        if question.home in rows:
            found.append((question, rows))
        if len(found) == HELD_OUT_LISTS:
            break
    return found


def _write(file: Path, lists: list[RankedList]) -> None:
    file.write_text("".join(json.dumps(asdict(item)) + "\n" for item in lists))


def _load(file: Path) -> list[RankedList]:
    return [RankedList(**json.loads(line)) for line in file.read_text().splitlines()]
