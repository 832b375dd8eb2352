"""Admission: whole requests or nothing, and an honest time to come back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import OverloadedError
from engine.ledger import Ledger


def test_a_full_ledger_refuses_the_whole_request_and_holds_nothing_of_it() -> None:
    ledger = Ledger(max_tokens=100, max_requests=10)
    with ledger.admitted(80):
        with pytest.raises(OverloadedError), ledger.admitted(30):
            pytest.fail("admitted")
        assert (ledger.tokens, ledger.requests) == (80, 1)
        with ledger.admitted(20):
            assert (ledger.tokens, ledger.requests) == (100, 2)
    assert (ledger.tokens, ledger.requests) == (0, 0)


def test_too_many_small_requests_are_refused_too() -> None:
    ledger = Ledger(max_tokens=100, max_requests=1)
    with ledger.admitted(1), pytest.raises(OverloadedError), ledger.admitted(1):
        pytest.fail("admitted")


def test_a_request_larger_than_the_ledger_runs_when_there_is_no_other() -> None:
    ledger = Ledger(max_tokens=100, max_requests=10)
    with ledger.admitted(1000):
        assert ledger.tokens == 1000
    with ledger.admitted(1), pytest.raises(OverloadedError), ledger.admitted(1000):
        pytest.fail("admitted")


def test_the_time_to_come_back_is_the_backlog_over_the_measured_rate() -> None:
    ledger = Ledger(max_tokens=5000, max_requests=10)
    for _ in range(100):
        ledger.ran(tokens=1000, seconds=0.5)
    with ledger.admitted(5000):
        with pytest.raises(OverloadedError) as refused, ledger.admitted(1):
            pytest.fail("admitted")
        assert refused.value.retry_after == 3  # 2.5 s, rounded up
        assert "try again in 3 s" in str(refused.value)


def test_an_unmeasured_rate_asks_for_a_second_and_a_hopeless_one_for_a_minute() -> None:
    ledger = Ledger(max_tokens=10**9, max_requests=1)
    with ledger.admitted(10**9):
        assert ledger.seconds_of_backlog() == 1
        ledger.ran(tokens=1, seconds=1)
        assert ledger.seconds_of_backlog() == 60


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=20))
def test_estimates_that_are_corrected_leave_nothing_behind(counts: list[tuple[int, int]]) -> None:
    ledger = Ledger(max_tokens=10**6, max_requests=100)
    for estimated, counted in counts:
        with ledger.admitted(estimated) as entry:
            ledger.correct(entry, counted)
            assert ledger.tokens == counted
    assert (ledger.tokens, ledger.requests) == (0, 0)
