"""`crossrank eval`: ranking quality on a BEIR folder, with and without reranking."""

import argparse
import asyncio
import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import dialects
from app.commands.progress import Bar
from app.dialects import DEFAULT
from app.evaluation import EvaluationError, beir, ranking, runs
from app.evaluation.scores_file import ScoresFile
from app.settings import Settings

if TYPE_CHECKING:
    from app.evaluation.report import Report

_FORMAT = 1  # of the scores file: raised when older files would not do
_INTERRUPTED = 130
_DESCRIPTION = (
    "Ranks the candidates of every judged query and prints nDCG@10, Recall@5 and MRR@10 before and "
    "after. FOLDER holds corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv, as BEIR has them. "
    "Interrupted, the same command goes on where it stopped."
)


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command's options."""
    parser = commands.add_parser(
        "eval", help="measure ranking quality on a BEIR folder", description=_DESCRIPTION
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--output", type=Path, required=True, help="folder for scores and figures")
    parser.add_argument("--split", default="test", help="which qrels/SPLIT.tsv; test by default")
    parser.add_argument("--run", type=Path, help="candidates: a TREC run or BEIR's JSON; else BM25")
    parser.add_argument("--depth", type=_positive, default=100, help="candidates a query; else 100")
    parser.add_argument("--concurrency", type=_positive, default=4, help="queries at once; else 4")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the figures, too")
    ranker = parser.add_mutually_exclusive_group()
    ranker.add_argument("--checkpoint", help="a folder or hub id; else CROSSRANK_CHECKPOINT")
    ranker.add_argument("--url", help="a running server, such as http://localhost:8000")
    asking = parser.add_argument_group("with --url")
    asking.add_argument(
        "--dialect", choices=sorted(dialects.load()), default=DEFAULT,
        help=f"what the server speaks; else {DEFAULT}",
    )  # fmt: skip
    asking.add_argument("--model", help="the model's name in requests; else none is sent")
    asking.add_argument(
        "--header", action="append", default=[], type=_header, metavar="'NAME: VALUE'",
        help="sent with every request; can be given again",
    )  # fmt: skip


def run(settings: Settings, given: argparse.Namespace) -> int:
    """Rank what is not ranked yet, and print the figures. Returns the exit status.

    Raises EvaluationError, or whatever stands in the ranker's way.
    """
    try:
        found = _evaluated(settings, given)
        sys.stdout.write(found.json() if given.json else found.table())
    except KeyboardInterrupt:
        sys.stderr.write("\ncrossrank: interrupted; the same command goes on from here\n")
        return _INTERRUPTED
    except OSError as error:
        raise EvaluationError(
            f"{error.filename or given.output} cannot be written: {error.strerror}"
        ) from error
    return 0


def _evaluated(settings: Settings, given: argparse.Namespace) -> "Report":
    from app.evaluation.report import report  # noqa: PLC0415 - it needs the extra

    draw = _draw(given)
    qrels = beir.read_qrels(given.folder, given.split)
    queries = beir.read_queries(given.folder, qrels)
    given.output.mkdir(parents=True, exist_ok=True)
    with closing(_work(given, queries)) as work:
        about, reranked = asyncio.run(_rank(settings, given, work))
    found = report(about, qrels, work.candidates, reranked)
    (given.output / "figures.json").write_text(found.json(), "utf-8")
    draw(found)
    return found


def _draw(given: argparse.Namespace) -> "Callable[[Report], None]":
    """What draws the report. That it can be drawn is known before anything is ranked."""
    if given.plot is None:
        return lambda found: None
    from app.evaluation import chart  # noqa: PLC0415 - matplotlib is slow to load

    given.plot.parent.mkdir(parents=True, exist_ok=True)
    return lambda found: chart.draw(found, given.plot)


def _work(given: argparse.Namespace, queries: Mapping[str, str]) -> ranking.Work:
    bar = Bar(sys.stderr, "reading the corpus")
    run = given.run
    if run is None:
        from app.evaluation import bm25  # noqa: PLC0415 - it needs the extra

        run = bm25.candidates(
            given.folder, queries, given.depth, given.output,
            lambda share: bar.tell(share / 2, "finding candidates"),
        )  # fmt: skip
    candidates = runs.read(run, queries, given.depth)
    wanted = {document for documents in candidates.values() for document in documents}
    corpus = beir.Corpus(given.folder, wanted, lambda share: bar.tell(share, "reading the corpus"))
    bar.end()
    return ranking.Work(queries, candidates, corpus)


async def _rank(
    settings: Settings, given: argparse.Namespace, work: ranking.Work
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """What was ranked, and every query's ranking."""
    path, total = given.output / "scores.jsonl", len(work.candidates)
    bar = Bar(sys.stderr, "evaluating")
    async with _ranker(settings, given) as ranker:
        identity = {"format": _FORMAT, **ranker.identity, **_data(given, work)}
        with ScoresFile(path, identity, work.candidates) as scores:
            await ranking.rank_all(
                ranker, work, scores, given.concurrency,
                lambda done: bar.tell(done / total, f"{done} of {total} queries"),
            )  # fmt: skip
    bar.end()
    about = {
        "dataset": given.folder.resolve().name,
        "split": given.split,
        "queries": len(work.queries),
        "queries_without_candidates": len(work.queries) - total,
        "run": given.run.name if given.run else "BM25",
        "depth": given.depth,
        "ranked_by": dict(ranker.identity),
    }
    return about, scores.rankings


def _ranker(
    settings: Settings, given: argparse.Namespace
) -> AbstractAsyncContextManager[ranking.Ranker]:
    from app.evaluation import local, remote  # noqa: PLC0415 - serving needs neither

    if given.url:
        server = remote.Server(given.url.rstrip("/"), given.dialect, given.model)
        return remote.opened(server, dict(given.header))
    return local.opened(settings.for_checkpoint(given.checkpoint))


def _data(given: argparse.Namespace, work: ranking.Work) -> dict[str, Any]:
    """What the scores depend on besides the ranker, by name."""
    listed = json.dumps([work.queries, work.candidates]).encode()
    return {
        "depth": given.depth,
        "queries_and_candidates": hashlib.sha256(listed).hexdigest()[:16],
        "documents": work.corpus.digest[:16],
    }


def _positive(value: str) -> int:
    number = int(value)
    if number < 1:
        raise ValueError
    return number


def _header(value: str) -> tuple[str, str]:
    name, colon, content = value.partition(":")
    if not colon:
        raise ValueError
    return name.strip(), content.strip()
