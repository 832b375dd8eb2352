"""What the device thread promises to those who wait, with a gate in place of a device."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest

from engine.errors import (
    DeadlineError,
    DeviceLostError,
    ScoringError,
    StartError,
    UnavailableError,
)
from engine.types import Batch, BatchReport, Limits, Logits, Pair
from engine.worker import Worker
from tests.gate import PATIENCE_SECONDS, Gate, TwoDeepGate, first_ids, settle

pytestmark = pytest.mark.anyio
POISON = 666


class Bench:
    """A worker on a gate, and what it reported."""

    def __init__(self, gate: Gate, stuck_after_seconds: float) -> None:
        self.gate = gate
        self.reports: list[BatchReport] = []
        self.deaths = 0
        self.worker = Worker(lambda: gate, self.reports.append, self._die, stuck_after_seconds)

    def _die(self) -> None:
        self.deaths += 1


@asynccontextmanager
async def running(gate: Gate, stuck_after_seconds: float = 300) -> AsyncIterator[Bench]:
    bench = Bench(gate, stuck_after_seconds)
    await bench.worker.start()
    try:
        yield bench
    finally:
        gate.open_for_good()
        await bench.worker.stop()


def pairs(*first_tokens: int, length: int = 4) -> list[Pair]:
    """Pairs whose logit at the gate is their first token."""
    return [Pair(np.full(length, token, dtype=np.int32), split=1) for token in first_tokens]


def seen(batch: Batch) -> list[int]:
    return [int(token) for token in first_ids(batch)]


def poisoned(batch: Batch) -> Logits:
    if POISON in batch.ids:
        raise RuntimeError("the device refuses")
    return first_ids(batch)


def not_a_number(batch: Batch) -> Logits:
    return np.where(first_ids(batch) == POISON, np.nan, first_ids(batch))


async def test_every_score_lands_in_its_own_slot() -> None:
    async with running(Gate()) as bench:
        bench.gate.open_for_good()
        wanted = [3, 1, 4, 1, 5, 9, 2, 6] * 5
        job = bench.worker.backlog.submit(pairs(*wanted))
        await job.future
        assert job.logits.tolist() == wanted


async def test_an_idle_device_starts_at_once_and_a_busy_one_gathers() -> None:
    async with running(Gate()) as bench:
        first = bench.worker.backlog.submit(pairs(1))
        assert seen(await bench.gate.batch()) == [1]
        others = [bench.worker.backlog.submit(pairs(2)), bench.worker.backlog.submit(pairs(3))]
        bench.gate.open()
        assert sorted(seen(await bench.gate.batch())) == [2, 3]
        bench.gate.open()
        await asyncio.gather(first.future, *(job.future for job in others))


async def test_a_short_request_overtakes_the_rest_of_a_long_one() -> None:
    async with running(Gate(Limits(max_batch_tokens=32, max_batch_rows=16))) as bench:
        long = bench.worker.backlog.submit(pairs(*range(100, 164)))
        await bench.gate.batch()
        short = bench.worker.backlog.submit(pairs(1, 2))
        bench.gate.open()
        await bench.gate.batch()
        bench.gate.open()
        await bench.gate.batch()
        bench.gate.open()
        await short.future
        assert not long.future.done()


async def test_abandoned_pairs_never_reach_the_device() -> None:
    async with running(Gate(Limits(max_batch_tokens=16, max_batch_rows=4))) as bench:
        gone = bench.worker.backlog.submit(pairs(*range(100, 164)))
        await bench.gate.batch()
        bench.worker.backlog.abandon(gone)
        assert bench.worker.waiting.pairs == 0
        stayed = bench.worker.backlog.submit(pairs(7))
        bench.gate.open()
        assert seen(await bench.gate.batch()) == [7]
        bench.gate.open()
        await stayed.future


async def test_a_failed_batch_is_retried_in_halves_and_fails_only_the_guilty() -> None:
    async with running(Gate(score=poisoned)) as bench:
        blocker = bench.worker.backlog.submit(pairs(1))
        await bench.gate.batch()
        innocent = [bench.worker.backlog.submit(pairs(n, length=n)) for n in (2, 3)]
        guilty = bench.worker.backlog.submit(pairs(POISON, length=5))
        bench.gate.open_for_good()
        await asyncio.gather(blocker.future, innocent[0].future)
        with pytest.raises(ScoringError):
            await guilty.future
        assert innocent[0].logits.tolist() == [2]
        assert [report.failed for report in bench.reports] == [False, True, False, True]
        await asyncio.gather(innocent[1].future, return_exceptions=True)


async def test_the_next_request_after_a_failure_is_served_as_if_nothing_happened() -> None:
    async with running(Gate(score=poisoned)) as bench:
        bench.gate.open_for_good()
        with pytest.raises(ScoringError):
            await bench.worker.backlog.submit(pairs(POISON)).future
        job = bench.worker.backlog.submit(pairs(8))
        await job.future
        assert job.logits.tolist() == [8]


async def test_a_score_that_is_no_number_fails_its_own_request_only() -> None:
    async with running(Gate(score=not_a_number)) as bench:
        blocker = bench.worker.backlog.submit(pairs(1))
        await bench.gate.batch()
        good, bad = (
            bench.worker.backlog.submit(pairs(2)),
            bench.worker.backlog.submit(pairs(3, POISON)),
        )
        bench.gate.open_for_good()
        await asyncio.gather(blocker.future, good.future)
        with pytest.raises(ScoringError):
            await bad.future


async def test_a_backend_that_loses_a_row_answers_with_an_error_not_with_shifted_scores() -> None:
    async with running(Gate(score=lambda batch: first_ids(batch)[1:])) as bench:
        bench.gate.open_for_good()
        with pytest.raises(ScoringError):
            await bench.worker.backlog.submit(pairs(1, 2)).future


async def test_a_dying_device_thread_answers_everyone_and_says_so() -> None:
    async with running(Gate(Limits(max_batch_tokens=8, max_batch_rows=2))) as bench:
        jobs = [bench.worker.backlog.submit(pairs(n, n)) for n in (1, 2, 3)]
        await bench.gate.batch()
        bench.gate.open(SystemExit())
        answers = await asyncio.gather(*(job.future for job in jobs), return_exceptions=True)
        assert all(isinstance(answer, ScoringError) for answer in answers)
        assert bench.deaths == 1
        assert await asyncio.to_thread(bench.gate.closed.wait, PATIENCE_SECONDS)
        with pytest.raises(UnavailableError):
            bench.worker.backlog.submit(pairs(4))


@pytest.mark.parametrize("kind", [Gate, TwoDeepGate])
async def test_a_lost_device_ends_the_thread_and_is_not_asked_again(kind: type[Gate]) -> None:
    gate = kind(Limits(max_batch_tokens=8, max_batch_rows=2))
    async with running(gate) as bench:
        jobs = [bench.worker.backlog.submit(pairs(n, n)) for n in (1, 2, 3)]
        await gate.batch()
        gate.open(DeviceLostError("an illegal address"))
        answers = await asyncio.gather(*(job.future for job in jobs), return_exceptions=True)
        assert all(isinstance(answer, ScoringError) for answer in answers)
        assert bench.deaths == 1
        assert await asyncio.to_thread(gate.closed.wait, PATIENCE_SECONDS)
        assert gate.passed() == 0


async def test_a_device_that_does_not_come_back_answers_everyone_and_says_so() -> None:
    gate = Gate(Limits(max_batch_tokens=8, max_batch_rows=2))
    async with running(gate, stuck_after_seconds=0.01) as bench:
        jobs = [bench.worker.backlog.submit(pairs(n, n)) for n in (1, 2, 3)]
        answers = await asyncio.gather(*(job.future for job in jobs), return_exceptions=True)
        assert all(isinstance(answer, ScoringError) for answer in answers)
        assert bench.deaths == 1
        gate.open_for_good()  # it comes back after all: nobody is answered twice
        assert await asyncio.to_thread(gate.closed.wait, PATIENCE_SECONDS)
        assert bench.deaths == 1


async def test_expired_pairs_never_reach_the_device() -> None:
    async with running(Gate()) as bench:
        blocker = bench.worker.backlog.submit(pairs(1))
        await bench.gate.batch()
        late = bench.worker.backlog.submit(pairs(2), deadline=time.monotonic())
        patient = bench.worker.backlog.submit(pairs(3), deadline=time.monotonic() + 3600)
        bench.gate.open()
        assert seen(await bench.gate.batch()) == [3]
        bench.gate.open()
        with pytest.raises(DeadlineError):
            await late.future
        await asyncio.gather(blocker.future, patient.future)


async def test_running_out_of_memory_halves_the_next_batches_and_recovers_slowly() -> None:
    async with running(Gate(Limits(max_batch_tokens=64, max_batch_rows=64))) as bench:
        job = bench.worker.backlog.submit(pairs(*range(64), length=4))
        assert (await bench.gate.batch()).tokens == 64
        bench.gate.open(MemoryError())
        sizes = []
        for _ in range(6):  # two halves of the failed batch, then new ones
            sizes.append((await bench.gate.batch()).tokens)
            bench.gate.open()
        assert sizes[:2] == [32, 32]
        assert sizes[2:] == sorted(sizes[2:])
        assert 32 <= sizes[2] < sizes[-1] + 4 < 64
        bench.gate.open_for_good()
        await job.future


async def test_stopping_finishes_what_was_accepted_and_refuses_the_rest() -> None:
    gate = Gate(Limits(max_batch_tokens=8, max_batch_rows=2))
    async with running(gate) as bench:
        jobs = [bench.worker.backlog.submit(pairs(n, n)) for n in (1, 2, 3)]
        await gate.batch()
        stopping = asyncio.create_task(bench.worker.stop())
        await settle()
        with pytest.raises(UnavailableError):
            bench.worker.backlog.submit(pairs(4))
        gate.open_for_good()
        await stopping
        await asyncio.gather(*(job.future for job in jobs))
        assert gate.closed.is_set()


async def test_one_batch_wakes_the_event_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(Gate()) as bench:
        loop = asyncio.get_running_loop()
        wakes: list[object] = []
        real = loop.call_soon_threadsafe

        def counted(callback, *args, **kwargs):  # type: ignore[no-untyped-def]
            if callback.__module__ == "engine.backlog":
                wakes.append(callback)
            return real(callback, *args, **kwargs)

        blocker = bench.worker.backlog.submit(pairs(1))
        await bench.gate.batch()
        jobs = [bench.worker.backlog.submit(pairs(n)) for n in (2, 3, 4)]
        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
        bench.gate.open_for_good()
        await asyncio.gather(blocker.future, *(job.future for job in jobs))
        assert len(wakes) == 2


async def test_a_backend_that_overlaps_has_one_batch_more_while_it_runs_one() -> None:
    gate = TwoDeepGate(Limits(max_batch_tokens=8, max_batch_rows=2))
    async with running(gate) as bench:
        first = bench.worker.backlog.submit(pairs(1, 2))
        assert seen(await gate.started()) == [1, 2]
        await gate.batch()
        other = bench.worker.backlog.submit(pairs(3, 4, 5, 6, 7))
        gate.open()
        await first.future
        assert seen(await gate.started()) == [3, 4]
        assert seen(await gate.started()) == [5, 6], "begun while the one before it runs"
        assert seen(await gate.batch()) == [3, 4], "in the order they were begun"
        gate.open_for_good()
        await other.future
        assert other.logits.tolist() == [3, 4, 5, 6, 7]


async def test_an_overlapped_batch_that_fails_leaves_its_neighbours_alone() -> None:
    gate = TwoDeepGate(Limits(max_batch_tokens=8, max_batch_rows=2), poisoned)
    async with running(gate) as bench:
        jobs = [bench.worker.backlog.submit(pairs(n, n)) for n in (1, POISON, 3)]
        gate.open_for_good()
        answers = await asyncio.gather(*(job.future for job in jobs), return_exceptions=True)
        assert [type(answer) for answer in answers] == [type(None), ScoringError, type(None)]
        assert [jobs[0].logits.tolist(), jobs[2].logits.tolist()] == [[1, 1], [3, 3]]


async def test_a_batch_that_cannot_even_begin_fails_as_one_that_ran() -> None:
    class Refusing(TwoDeepGate):
        def start(self, batch: Batch) -> Callable[[], Logits]:
            poisoned(batch)
            return super().start(batch)

    gate = Refusing(Limits(max_batch_tokens=8, max_batch_rows=2))
    async with running(gate) as bench:
        gate.open_for_good()
        with pytest.raises(ScoringError):
            await bench.worker.backlog.submit(pairs(POISON, POISON)).future
        job = bench.worker.backlog.submit(pairs(8))
        await job.future
        assert job.logits.tolist() == [8]


async def test_overlapped_batches_do_not_count_the_device_s_time_twice() -> None:
    gate = TwoDeepGate(Limits(max_batch_tokens=8, max_batch_rows=2))
    async with running(gate) as bench:
        before = time.monotonic()
        jobs = [bench.worker.backlog.submit(pairs(n, n)) for n in range(1, 9)]
        gate.open_for_good()
        await asyncio.gather(*(job.future for job in jobs))
        assert sum(report.seconds for report in bench.reports) <= time.monotonic() - before


async def test_stopping_finishes_overlapped_batches_too() -> None:
    gate = TwoDeepGate(Limits(max_batch_tokens=8, max_batch_rows=2))
    async with running(gate) as bench:
        jobs = [bench.worker.backlog.submit(pairs(n, n)) for n in (1, 2, 3)]
        await gate.batch()
        stopping = asyncio.create_task(bench.worker.stop())
        gate.open_for_good()
        await stopping
        await asyncio.gather(*(job.future for job in jobs))
        assert gate.closed.is_set()


async def test_a_backend_that_cannot_open_is_the_caller_s_error() -> None:
    def refuse() -> Gate:
        raise StartError("no such device")

    worker = Worker(refuse, lambda report: None, lambda: None)
    with pytest.raises(StartError, match="no such device"):
        await worker.start()


async def test_a_warm_up_that_fails_is_the_caller_s_error() -> None:
    class Cold(Gate):
        def warm_up(self) -> None:
            raise RuntimeError("no kernel for this device")

    worker = Worker(Cold, lambda report: None, lambda: None)
    with pytest.raises(RuntimeError, match="no kernel"):
        await worker.start()
