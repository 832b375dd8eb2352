"""The three mixes of requests, drawn from real text with fixed seeds."""

import itertools
import math
import random
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from tokenizers import Tokenizer

from loadtests.bench.corpus import Text, questions, text

_SPECIALS = 3  # [CLS] query [SEP] passage [SEP]
_LEAST_PASSAGE = 4
_WORD = 2  # above the least length, so that whole words can end there


@dataclass(frozen=True, slots=True)
class Mix:
    """Log-normal pair lengths within bounds, all in tokens, and passages in a request.

    sizes: one block of requests; every block has these sizes, in an order of its own.
    most_callers: at a time.
    """

    name: str
    median: int
    spread: float
    least: int
    most: int
    sizes: tuple[int, ...]
    seed: int
    most_callers: int = 32

    @property
    def says(self) -> str:
        """The mix in a few words."""
        sizes = ", ".join(map(str, sorted(set(self.sizes))))
        return f"{self.least}-{self.most} tokens a pair, {sizes} passages a request"


@dataclass(frozen=True, slots=True)
class Request:
    """One query, its passages, and the tokens of each pair."""

    query: str
    passages: tuple[str, ...]
    tokens: tuple[int, ...]


SHORT = Mix("short", 32, 0.3, 16, 48, (20,), seed=1)
STANDARD = Mix("standard", 120, 0.7, 16, 512, (5,) * 5 + (20,) * 4 + (100,), seed=2)
# 32 callers of thousands of tokens each would be minutes of queue, for each server and round
LONG = Mix("long", 1024, 0.4, 512, 2048, (2, 4), seed=3, most_callers=8)
MIXES = (SHORT, STANDARD, LONG)


class Drawer:
    """Draws requests; the same mix gives the same requests, however many are asked for."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.text: Text = text(tokenizer)
        asked = questions()
        costs = tokenizer.encode_batch_fast(asked, add_special_tokens=False)
        self._questions = [(ask, len(cost.ids)) for ask, cost in zip(asked, costs, strict=True)]

    def requests(self, mix: Mix, count: int) -> list[Request]:
        """The first requests of a mix."""
        return list(itertools.islice(self._endless(mix), count))

    def _endless(self, mix: Mix) -> Iterator[Request]:
        chance = random.Random(mix.seed)  # noqa: S311 - repeatable, not secret
        fitting = [q for q in self._questions if q[1] + _SPECIALS + _LEAST_PASSAGE <= mix.least]
        while True:
            for size in chance.sample(mix.sizes, len(mix.sizes)):
                yield self._request(mix, size, chance, *chance.choice(fitting))

    def _request(
        self, mix: Mix, size: int, chance: random.Random, query: str, query_tokens: int
    ) -> Request:
        around = query_tokens + _SPECIALS
        drawn = [
            self._passage(mix.least - around, _length(mix, chance) - around, chance)
            for _ in range(size)
        ]
        passages, tokens = zip(*drawn, strict=True)
        return Request(query, passages, tuple(around + n for n in tokens))

    def _passage(self, least: int, most: int, chance: random.Random) -> tuple[str, int]:
        """Words from the start of a sentence on, as many as fit, and their tokens."""
        words, ends = self.text.words, self.text.ends
        while True:
            first = chance.choice(self.text.starts)
            before = ends[first - 1] if first else 0
            last = bisect_right(ends, before + most)
            tokens = ends[last - 1] - before if last > first else 0
            # a word may be many tokens, and the text ends somewhere: draw again
            if max(least, most // 2) <= tokens:
                return " ".join(words[first:last]), tokens


def _length(mix: Mix, chance: random.Random) -> int:
    drawn = chance.lognormvariate(math.log(mix.median), mix.spread)
    return round(min(max(drawn, mix.least + _WORD), mix.most))
