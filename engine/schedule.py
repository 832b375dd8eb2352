"""Who runs next. Pure: no clock, no thread, no tensor, no metric.

Deficit round robin in tokens across requests (Shreedhar and Varghese, 1995), so that a short
request beside a long one is served within a round. Inside a request the longest pairs go first,
so that similar lengths share a batch.
"""

from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from engine.types import Limits

K = TypeVar("K", bound=Hashable)

_LEAST_TURN = 16  # no priority takes a request below this fraction of another's turn
_TURNS_PER_BATCH = 8  # a request's turn is this fraction of a batch
_LEAST_SHARE = 16  # the budget never shrinks below this fraction
_RECOVERY_STEPS = 256  # good batches from nothing to the full budget


class Slot(NamedTuple, Generic[K]):
    """One pair's place: which request, and which of its pairs."""

    key: K
    pair: int


@dataclass(slots=True)
class _Waiting:
    """One request's pairs, longest last, so that pop() takes the longest."""

    pairs: list[tuple[int, int]] = field(default_factory=list)  # (tokens, index)
    turn: int = 1  # tokens it may take in a round
    deficit: int = 0

    @property
    def tokens(self) -> int:
        return self.pairs[-1][0]


class Schedule(Generic[K]):
    """The waiting pairs of every live request, and the rule that makes batches of them."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._turn = max(1, limits.max_batch_tokens // _TURNS_PER_BATCH)
        self._budget = limits.max_batch_tokens
        self._ring: OrderedDict[K, _Waiting] = OrderedDict()
        self.waiting_tokens = 0
        self.waiting_pairs = 0

    def shrink(self) -> None:
        """Halve the token budget: the device ran out of memory."""
        least = self._limits.max_batch_tokens // _LEAST_SHARE
        self._budget = max(self._budget // 2, least, 1)

    def recover(self) -> None:
        """Give back a little of the token budget: a batch went well."""
        step = max(1, self._limits.max_batch_tokens // _RECOVERY_STEPS)
        self._budget = min(self._budget + step, self._limits.max_batch_tokens)

    def __bool__(self) -> bool:
        return bool(self._ring)

    def __iter__(self) -> Iterator[K]:
        """The requests that wait."""
        return iter(self._ring)

    def add(self, key: K, lengths: Sequence[int], priority: int = 0) -> None:
        """Queue one request's pairs, given their lengths in tokens, each within the limits.

        priority: 0 has whole turns, 1 halves, 2 thirds, and so on. Nobody starves.
        """
        assert lengths, "a request has at least one pair"
        assert key not in self._ring, "a request is added once"
        assert max(lengths) <= self._limits.max_batch_tokens, "a pair fits a batch"
        pairs = sorted(((n, i) for i, n in enumerate(lengths)), key=lambda p: (p[0], -p[1]))
        turn = max(1, self._turn // min(1 + priority, _LEAST_TURN))
        self._ring[key] = _Waiting(pairs, turn)
        self.waiting_tokens += sum(lengths)
        self.waiting_pairs += len(lengths)

    def discard(self, key: K) -> int:
        """Forget a request's waiting pairs. Returns how many there were."""
        waiting = self._ring.pop(key, None)
        if waiting is None:
            return 0
        self.waiting_tokens -= sum(tokens for tokens, _ in waiting.pairs)
        self.waiting_pairs -= len(waiting.pairs)
        return len(waiting.pairs)

    def take(self) -> list[Slot[K]]:
        """The next batch: within the limits, and never empty while anything waits.

        While the budget is shrunk, a pair longer than it runs alone.
        """
        batch: list[Slot[K]] = []
        room = self._budget
        blocked: list[tuple[K, _Waiting]] = []
        while self._ring and len(batch) < self._limits.max_batch_rows:
            key, waiting = self._ring.popitem(last=False)
            if batch and waiting.tokens > room:
                blocked.append((key, waiting))
                continue
            room -= self._serve(key, waiting, max(room, 0 if batch else waiting.tokens), batch)
            if waiting.pairs:
                self._ring[key] = waiting
        self._put_first(blocked)
        return batch

    def _serve(self, key: K, waiting: _Waiting, room: int, batch: list[Slot[K]]) -> int:
        """Give one request its turn. Returns the tokens taken."""
        waiting.deficit += waiting.turn
        last_row = self._limits.max_batch_rows
        taken = 0
        while waiting.pairs and len(batch) < last_row:
            tokens, index = waiting.pairs[-1]
            if tokens > waiting.deficit or tokens > room - taken:
                break
            waiting.pairs.pop()
            batch.append(Slot(key, index))
            waiting.deficit -= tokens
            taken += tokens
            self.waiting_pairs -= 1
        self.waiting_tokens -= taken
        return taken

    def _put_first(self, blocked: list[tuple[K, _Waiting]]) -> None:
        """Whoever did not fit leads the next batch, so that long pairs cannot be starved."""
        for key, waiting in reversed(blocked):
            self._ring[key] = waiting
            self._ring.move_to_end(key, last=False)
