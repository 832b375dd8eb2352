"""BM25 (k1 1.2, b 0.75) over a list of passages: the word-matching yardstick and hard negatives."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import numpy as np
from numpy.typing import NDArray

K1, B = 1.2, 0.75
COMMON_TEXT = """
a an and are as at be been but by can could do does did for from get had has have he her his how i
if in is it its me my no not of off on or our out over she should so than that the their them then
there they this to up was we were what when where which who why will with would you your about into
just some any more most much many long
"""


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


COMMON_WORDS = frozenset(words(COMMON_TEXT))


def content_words(text: str) -> set[str]:
    return set(words(text)) - COMMON_WORDS


class Bm25:
    def __init__(self, passages: list[str]) -> None:
        counts = [Counter(words(p)) for p in passages]
        lengths = np.array([c.total() for c in counts], dtype=np.float32)
        penalty = K1 * (1 - B + B * lengths / lengths.mean())
        found: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for row, count in enumerate(counts):
            for word, times in count.items():
                found[word].append((row, times))
        self._count = len(passages)
        self._weights = {w: self._weigh(np.array(f), penalty) for w, f in found.items()}

    def _weigh(
        self, found: NDArray[np.int64], penalty: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        rows, times = found.T
        rarity = np.log(1 + (self._count - len(rows) + 0.5) / (len(rows) + 0.5))
        return rows, (rarity * times * (K1 + 1) / (times + penalty[rows])).astype(np.float32)

    def scores(self, query: str) -> NDArray[np.float32]:
        scores = np.zeros(self._count, dtype=np.float32)
        for word in sorted(set(words(query))):
            if word in self._weights:
                rows, weights = self._weights[word]
                scores[rows] += weights
        return scores

    def rows_with(self, word: str) -> list[int]:
        return [int(row) for row in self._weights[word][0]] if word in self._weights else []
