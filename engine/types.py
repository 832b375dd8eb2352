"""The nouns that cross a wall between rooms. Nothing else does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from engine.families import FamilyConfig

Ids = NDArray[np.int32]
Logits = NDArray[np.float32]


class Truncate(StrEnum):
    """What to do with a pair over the token limit: refuse the request, or cut the passage.

    END cuts from the right, START from the left; either way the query is cut last, from the right.
    """

    NONE = "NONE"
    END = "END"
    START = "START"


@dataclass(frozen=True, slots=True)
class Query:
    """One request: a question and the passages to order by relevance to it.

    max_pair_tokens: this request's own limit for a pair, where it is below the checkpoint's.
    max_passage_tokens: what is kept of every passage, whatever the length of the pair.
    timeout: seconds after which nobody wants the answer any more. trace: whatever the caller wants
    to find again in the reports of the batches that served it. priority: 0 is first; each step more
    takes a smaller share of the batches while others wait.
    """

    text: str
    passages: Sequence[str]
    truncate: Truncate = Truncate.NONE
    max_pair_tokens: int | None = None
    max_passage_tokens: int | None = None
    timeout: float | None = None
    trace: object = None
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Pair:
    """One query/passage pair as token ids, special tokens included.

    ids: int32 [L]. split: how many leading tokens are of type 0 (query side); L where the
    checkpoint has no token types. truncated: whether tokens were cut to fit the limit.
    """

    ids: Ids
    split: int
    truncated: bool = False

    @property
    def tokens(self) -> int:
        """Number of tokens."""
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Batch:
    """Pairs packed end to end, without padding.

    ids, positions, types: int32 [T]; positions restart at 0 for each pair; types is 0 on the
    query side and 1 on the passage side. offsets: int32 [B+1], where each pair begins and ends.
    """

    ids: Ids
    positions: Ids
    types: Ids
    offsets: Ids

    @classmethod
    def pack(cls, pairs: Sequence[Pair]) -> Batch:
        """Pack pairs in the order given."""
        lengths = np.array([pair.tokens for pair in pairs], dtype=np.int32)
        splits = np.array([pair.split for pair in pairs], dtype=np.int32)
        offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
        positions = np.arange(offsets[-1], dtype=np.int32) - np.repeat(offsets[:-1], lengths)
        types = (positions >= np.repeat(splits, lengths)).astype(np.int32)
        ids = np.concatenate([pair.ids for pair in pairs])
        return cls(ids=ids, positions=positions, types=types, offsets=offsets)

    def select(self, rows: Sequence[int]) -> Batch:
        """A batch of these rows, in this order."""
        pieces = [slice(self.offsets[row], self.offsets[row + 1]) for row in rows]
        lengths = [piece.stop - piece.start for piece in pieces]
        ids, positions, types = (
            np.concatenate([array[piece] for piece in pieces])
            for array in (self.ids, self.positions, self.types)
        )
        offsets = np.cumsum([0, *lengths], dtype=np.int32)
        return Batch(ids=ids, positions=positions, types=types, offsets=offsets)

    @property
    def tokens(self) -> int:
        """Tokens in the batch, T."""
        return int(self.offsets[-1])

    @property
    def rows(self) -> int:
        """Pairs in the batch, B."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> list[int]:
        """Tokens of each pair."""
        return [int(n) for n in np.diff(self.offsets)]

    @property
    def half_lengths(self) -> list[int]:
        """Tokens of each pair's query side and passage side, in turn: [2B]."""
        passages = np.add.reduceat(self.types, self.offsets[:-1])
        halves = np.column_stack((np.diff(self.offsets) - passages, passages))
        return [int(n) for n in halves.ravel()]


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest batch a backend takes, in tokens and in pairs."""

    max_batch_tokens: int
    max_batch_rows: int


@dataclass(frozen=True, slots=True)
class Ranked:
    """One passage's place in the answer: its position in the request and its raw logit."""

    index: int
    logit: float


@dataclass(frozen=True, slots=True)
class Timings:
    """Where one request's time went: monotonic seconds of each turn it took."""

    arrived: float
    tokenized: float
    started: float
    finished: float

    @property
    def tokenize(self) -> float:
        """Seconds until every pair was tokenized."""
        return self.tokenized - self.arrived

    @property
    def queue(self) -> float:
        """Seconds until the first pair's batch was taken; it may still wait for the one before."""
        return self.started - self.tokenized

    @property
    def inference(self) -> float:
        """Seconds from the first pair's batch to the last pair's answer."""
        return self.finished - self.started


@dataclass(frozen=True, slots=True)
class Ranking:
    """The answer: every passage once, highest logit first, ties by index.

    tokens: sum over the pairs, template and special tokens included. truncated: the indices of
    the passages whose pair was cut.
    """

    results: Sequence[Ranked]
    tokens: int
    truncated: frozenset[int]
    timings: Timings


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What one batch cost, for whoever keeps the metrics.

    cells: tokens that attention worked on, padding included. seconds: time in the backend. traces:
    those of the requests it served.
    """

    tokens: int
    cells: int
    rows: int
    seconds: float
    failed: bool
    traces: Sequence[object] = ()


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for the device, and what is admitted in all."""

    tokens: int = 0
    pairs: int = 0
    oldest_seconds: float = 0.0
    requests: int = 0
    admitted_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A verified folder of model files.

    name: the id it is served under. family: which of engine/families and engine/architectures
    reads it. template: the one-sequence form with {query} and {passage}, or None for the
    tokenizer's own pair form. max_pair_tokens: the longest pair it scores. tensors: name → file.
    """

    name: str
    folder: Path
    revision: str | None
    family: str
    config: FamilyConfig
    template: str | None
    max_pair_tokens: int
    tensors: Mapping[str, Path]
    raw_config: Mapping[str, Any] = field(repr=False)
