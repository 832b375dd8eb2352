"""Ranks passages from a file without a server, and prints a table or JSON."""

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.scores import sigmoid
from app.settings import Settings
from engine.errors import RequestError
from engine.reranker import Reranker
from engine.types import Query, Ranking, Truncate

_SHOWN_CHARACTERS = 72


@dataclass(frozen=True, slots=True)
class Ask:
    """What to rank and how to print it. source: a path, or "-" for standard input."""

    query: str
    source: str
    top_n: int | None = None
    as_json: bool = False
    refuse_long: bool = False


def rank(settings: Settings, ask: Ask) -> int:
    """Print the passages, most relevant first."""
    passages = read(ask.source)
    truncate = Truncate.NONE if ask.refuse_long else Truncate.END
    ranking = asyncio.run(_ranking(settings, Query(ask.query, passages, truncate)))
    answer = _answer(ranking, passages)
    answer["results"] = answer["results"][: ask.top_n]
    sys.stdout.write(
        json.dumps(answer, ensure_ascii=False) + "\n" if ask.as_json else _table(answer)
    )
    return 0


def read(source: str) -> list[str]:
    """One passage a line: plain text, or JSON strings, or JSON objects with a `text`.

    Raises RequestError, naming the line that cannot be read.
    """
    try:
        content = sys.stdin.read() if source == "-" else Path(source).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"the passages cannot be read: {error}") from error
    lines = [(number, line) for number, line in enumerate(content.split("\n"), 1) if line.strip()]
    if not lines:
        raise RequestError("there are no passages: write one on each line")
    if not all(line.lstrip().startswith(("{", '"')) for _, line in lines):
        return [line.strip() for _, line in lines]
    return [_text(number, line) for number, line in lines]


def _text(number: int, line: str) -> str:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise RequestError(f"line {number} of the passages is not valid JSON") from error
    text = found.get("text") if isinstance(found, dict) else found
    if not isinstance(text, str):
        raise RequestError(f"line {number} of the passages has no string under text")
    return text


async def _ranking(settings: Settings, query: Query) -> Ranking:
    reranker = Reranker(settings.engine())
    await reranker.start()
    try:
        return await reranker.rank(query)
    finally:
        await reranker.stop()


def _answer(ranking: Ranking, passages: list[str]) -> dict[str, Any]:
    results = [
        {
            "index": item.index,
            "logit": item.logit,
            "score": sigmoid(item.logit),
            "truncated": item.index in ranking.truncated,
            "text": passages[item.index],
        }
        for item in ranking.results
    ]
    return {"results": results, "tokens": ranking.tokens}


def _table(answer: dict[str, Any]) -> str:
    lines = ["rank  index     logit   score  passage"]
    for place, item in enumerate(answer["results"], 1):
        text = " ".join(item["text"].split())
        text = text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
        cut = " (cut)" if item["truncated"] else ""
        row = f"{place:4}  {item['index']:5}  {item['logit']:8.3f}  {item['score']:6.4f}  "
        lines.append(f"{row}{text}{cut}")
    return "\n".join(lines) + f"\n{answer['tokens']} tokens\n"
