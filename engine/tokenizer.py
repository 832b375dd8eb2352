"""Query and passages → token ids, in a small named thread pool, off the event loop."""

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from tokenizers import Tokenizer

from engine import clipping, cpus
from engine.errors import InputTooLongError, InvalidTextError
from engine.pair_form import pair_form
from engine.types import Checkpoint, Pair, Query, Truncate

# The library's own pool starts one thread per host CPU, which small containers forbid; ours is
# sized by the cgroup. Its calls release the GIL, so our threads do run side by side.
os.environ["TOKENIZERS_PARALLELISM"] = "false"

T = TypeVar("T")

_CHUNK = 64  # passages per task: large enough to hide the hop, small enough to share the pool
_MAX_DEFAULT_THREADS = 4


class PairTokenizer:
    """Tokenizes whole requests for one checkpoint. Safe to use from one event loop."""

    def __init__(self, checkpoint: Checkpoint, threads: int | None = None) -> None:
        self._tokenizer = Tokenizer.from_file(str(checkpoint.folder / "tokenizer.json"))
        # Saved settings of a training run; limits and batches are ours.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._form = pair_form(self._tokenizer, checkpoint.template)
        self._limit = checkpoint.max_pair_tokens
        self._pool = ThreadPoolExecutor(
            threads or min(cpus.available(), _MAX_DEFAULT_THREADS), thread_name_prefix="tokenize"
        )

    async def encode(self, query: Query) -> list[Pair]:
        """Tokenize every pair of the request, in order; the query's ids are computed once.

        Raises InvalidTextError for lone surrogates, and InputTooLongError, with the longest
        pair's length, where a pair is over the limit and truncation was not asked for.
        """
        head = await self._run(self._query_ids, query.text)
        chunks = [query.passages[i : i + _CHUNK] for i in range(0, len(query.passages), _CHUNK)]
        tasks = [self._run(self._pairs, query, head, chunk) for chunk in chunks]
        parts = await asyncio.gather(*tasks, return_exceptions=True)
        _raise_worst(parts)
        return [pair for part in parts if isinstance(part, list) for pair in part]

    def close(self) -> None:
        """Stop the threads after what they are doing."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def _run(self, function: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *args)

    def _query_ids(self, text: str) -> list[int]:
        _check_unicode(text)
        return self._ids([self._form.query_text.format(query=text)])[0]

    def _pairs(self, query: Query, head: list[int], passages: Sequence[str]) -> list[Pair]:
        limit = min(self._limit, query.max_pair_tokens or self._limit)
        room = limit - self._form.specials - len(head)
        kept = [self._shortened(query, text, room) for text in passages]
        tails = self._tails(query.text, kept)
        if query.truncate is Truncate.NONE:
            excess = max(map(len, tails), default=0) - room
            if excess > 0:
                raise InputTooLongError(limit + excess, limit)
        pairs = [self._form.assemble(head, tail, limit, query.truncate) for tail in tails]
        return [
            replace(pair, truncated=pair.truncated or len(text) < len(given))
            for pair, text, given in zip(pairs, kept, passages, strict=True)
        ]

    def _shortened(self, query: Query, text: str, room: int) -> str:
        """The passage within its own limit, and cut from the left to fit where that is asked."""
        _check_unicode(text)
        if query.max_passage_tokens is not None:
            text = clipping.first(self._tokenizer, text, query.max_passage_tokens)
        if query.truncate is Truncate.START:
            while text and (excess := len(self._tails(query.text, [text])[0]) - room) > 0:
                text = clipping.without_first(self._tokenizer, text, excess)
        return text

    def _tails(self, query: str, passages: Sequence[str]) -> list[list[int]]:
        form = self._form.passage_text
        return self._ids([form.format(query=query, passage=text) for text in passages])

    def _ids(self, texts: list[str]) -> list[list[int]]:
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidTextError(
            "a text holds lone surrogates (half of a \\uD800-\\uDFFF pair): send valid Unicode"
        ) from error


def _raise_worst(parts: Sequence[object]) -> None:
    """One error for the request: the longest pair's where several are too long."""
    errors = [part for part in parts if isinstance(part, BaseException)]
    if errors:
        raise max(errors, key=lambda e: e.length if isinstance(e, InputTooLongError) else 0)
