"""The schedule's promises, over random arrivals, departures and batches."""

from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis import given
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.schedule import Schedule
from engine.types import Limits

MAX_TOKENS, MAX_ROWS = 40, 6
MIN_BUDGET = MAX_TOKENS // 16  # a device that keeps failing still gets this much
lengths = st.lists(st.integers(1, MAX_TOKENS), min_size=1, max_size=12)


class Traffic(RuleBasedStateMachine):
    """Requests come and go while batches are taken."""

    @initialize()
    def start(self) -> None:
        self.schedule: Schedule[int] = Schedule(Limits(MAX_TOKENS, MAX_ROWS))
        self.live: dict[int, dict[int, int]] = {}  # request → pair → tokens, still waiting
        self.ran: Counter[tuple[int, int]] = Counter()
        self.requests = 0
        self.budget = MAX_TOKENS

    @rule(tokens=lengths, priority=st.integers(0, 999))
    def arrive(self, tokens: list[int], priority: int) -> None:
        self.schedule.add(self.requests, tokens, priority)
        self.live[self.requests] = dict(enumerate(tokens))
        self.requests += 1

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def depart(self, data: st.DataObject) -> None:
        gone = data.draw(st.sampled_from(sorted(self.live)))
        assert self.schedule.discard(gone) == len(self.live.pop(gone))

    @precondition(lambda self: self.live)
    @rule()
    def run_a_batch(self) -> None:
        batch = self.schedule.take()
        tokens = [self.live[slot.key].pop(slot.pair) for slot in batch]  # fails if not live
        assert 0 < len(batch) <= MAX_ROWS
        assert sum(tokens) <= self.budget or len(tokens) == 1
        self.ran.update((slot.key, slot.pair) for slot in batch)
        self.live = {key: pairs for key, pairs in self.live.items() if pairs}

    @rule()
    def run_out_of_memory(self) -> None:
        self.schedule.shrink()
        self.budget = max(self.budget // 2, MIN_BUDGET)

    @rule()
    def recover(self) -> None:
        self.schedule.recover()
        self.budget = min(self.budget + 1, MAX_TOKENS)

    @invariant()
    def counts_are_exact(self) -> None:
        waiting = [tokens for pairs in self.live.values() for tokens in pairs.values()]
        assert self.schedule.waiting_tokens == sum(waiting)
        assert self.schedule.waiting_pairs == len(waiting)
        assert bool(self.schedule) == bool(waiting)

    def teardown(self) -> None:
        while self.live:
            self.run_a_batch()
        assert not self.ran or set(self.ran.values()) == {1}


TestEveryLivePairRunsExactlyOnceWithinTheBudgets = Traffic.TestCase


@given(crowd=st.lists(lengths, min_size=1, max_size=8), patient=st.integers(1, MAX_TOKENS))
def test_no_request_starves_however_much_keeps_arriving(
    crowd: list[list[int]], patient: int
) -> None:
    schedule: Schedule[str] = Schedule(Limits(MAX_TOKENS, MAX_ROWS))
    for number, tokens in enumerate(crowd):
        schedule.add(f"first-{number}", tokens)
    schedule.add("patient", [patient])
    # eight turns' worth of credit at most, and every batch gives each request a turn
    # or takes a full batch from those before it
    for round_ in range(8 * (len(crowd) + 2)):
        if any(slot.key == "patient" for slot in schedule.take()):
            return
        schedule.add(f"late-{round_}", [1, MAX_TOKENS // 2])
    pytest.fail("the request was never served")


def test_a_short_request_behind_a_long_one_is_served_in_the_next_batch() -> None:
    schedule: Schedule[str] = Schedule(Limits(max_batch_tokens=2048, max_batch_rows=256))
    schedule.add("long", [100] * 512)
    schedule.take()
    schedule.add("short", [100] * 5)
    taken = Counter(slot.key for slot in schedule.take())
    assert taken["short"] > 0
    taken += Counter(slot.key for slot in schedule.take())
    assert taken["short"] == 5


def test_similar_lengths_share_a_batch() -> None:
    schedule: Schedule[str] = Schedule(Limits(max_batch_tokens=100, max_batch_rows=16))
    schedule.add("request", [10, 50, 10, 50, 10, 10])
    assert [slot.pair for slot in schedule.take()] == [1, 3]
    assert sorted(slot.pair for slot in schedule.take()) == [0, 2, 4, 5]


def test_an_idle_device_gets_whatever_is_there() -> None:
    schedule: Schedule[str] = Schedule(Limits(max_batch_tokens=2048, max_batch_rows=256))
    schedule.add("lonely", [3])
    assert [slot.key for slot in schedule.take()] == ["lonely"]
    assert not schedule


def test_a_pair_that_needs_a_whole_batch_leads_the_next_one() -> None:
    schedule: Schedule[str] = Schedule(Limits(max_batch_tokens=80, max_batch_rows=16))
    schedule.add("small", [10] * 40)
    schedule.add("large", [80])
    keys = [{slot.key for slot in schedule.take()} for _ in range(10)]
    assert {"large"} in keys


def test_a_priority_is_a_share_and_nobody_starves() -> None:
    schedule: Schedule[str] = Schedule(Limits(max_batch_tokens=320, max_batch_rows=1000))
    schedule.add("fourth", [1] * 2000, priority=3)
    schedule.add("whole", [1] * 2000)
    schedule.add("last", [1] * 2000, priority=999)
    taken = Counter(slot.key for _ in range(5) for slot in schedule.take())
    assert sum(taken.values()) == 5 * 320
    assert 3 * taken["fourth"] < taken["whole"] < 5 * taken["fourth"]
    assert 0 < taken["last"] < taken["fourth"]


def test_alone_the_last_priority_has_the_whole_device() -> None:
    schedule: Schedule[str] = Schedule(Limits(max_batch_tokens=320, max_batch_rows=1000))
    schedule.add("last", [1] * 320, priority=999)
    assert len(schedule.take()) == 320
