"""Several devices share one backlog, start and stop as one, and answer everyone if one dies."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from engine.backends import Backend
from engine.config import EngineConfig
from engine.crew import Crew
from engine.errors import ScoringError, StartError, UnavailableError
from engine.reranker import Reranker
from engine.types import Checkpoint, Limits, Pair, Query
from tests.gate import Gate, first_ids, settle

pytestmark = pytest.mark.anyio
SMALL = Limits(max_batch_tokens=8, max_batch_rows=2)


def pairs(*first_tokens: int, length: int = 4) -> list[Pair]:
    return [Pair(np.full(length, token, dtype=np.int32), split=1) for token in first_tokens]


@asynccontextmanager
async def running(*gates: Gate, died: Callable[[], None] = lambda: None) -> AsyncIterator[Crew]:
    def opener(gate: Gate) -> Callable[[], Backend]:
        return lambda: gate

    crew = Crew([opener(gate) for gate in gates], lambda report: None, died)
    await crew.start()
    try:
        yield crew
    finally:
        for gate in gates:
            gate.open_for_good()
        await crew.stop()


async def test_one_request_is_spread_over_all_devices() -> None:
    first, second = Gate(SMALL), Gate(SMALL)
    async with running(first, second) as crew:
        job = crew.backlog.submit(pairs(*range(6)))
        stood = [await first.batch(), await second.batch()]
        assert sorted(int(x) for batch in stood for x in first_ids(batch)) == [0, 1, 2, 3]
        first.open_for_good()
        second.open_for_good()
        await job.future
        assert job.logits.tolist() == [0, 1, 2, 3, 4, 5]


async def test_a_device_that_is_free_takes_what_the_busy_one_cannot() -> None:
    busy, free = Gate(SMALL), Gate(SMALL)
    async with running(busy, free) as crew:
        jobs = [crew.backlog.submit(pairs(n, length=8)) for n in range(2)]
        stood = {int(first_ids(await gate.batch())[0]): gate for gate in (busy, free)}
        stood[1].open_for_good()
        await jobs[1].future
        later = [crew.backlog.submit(pairs(n)) for n in (7, 8, 9)]
        await asyncio.gather(*(job.future for job in later))
        assert not jobs[0].future.done()


async def test_one_dying_device_answers_everyone_and_ends_the_crew() -> None:
    deaths: list[int] = []
    first, second = Gate(SMALL), Gate(SMALL)
    async with running(first, second, died=lambda: deaths.append(1)) as crew:
        jobs = [crew.backlog.submit(pairs(n, n)) for n in range(4)]
        await first.batch()
        await second.batch()
        second.open(SystemExit())
        answers = await asyncio.gather(*(job.future for job in jobs), return_exceptions=True)
        assert all(isinstance(answer, ScoringError) for answer in answers)
        await settle()
        assert deaths == [1]
        with pytest.raises(UnavailableError):
            crew.backlog.submit(pairs(1))


async def test_stopping_finishes_what_was_accepted_on_every_device() -> None:
    gates = Gate(SMALL), Gate(SMALL)
    async with running(*gates) as crew:
        jobs = [crew.backlog.submit(pairs(n, n)) for n in range(5)]
        for gate in gates:
            await gate.batch()
            gate.open_for_good()
        await crew.stop()
        await asyncio.gather(*(job.future for job in jobs))
        assert all(gate.closed.is_set() for gate in gates)


async def test_devices_that_are_not_alike_are_refused_with_both_limits() -> None:
    gates = Gate(SMALL), Gate(Limits(16, 4))
    with pytest.raises(StartError, match=r"not alike: .*max_batch_tokens=8.*max_batch_tokens=16"):
        async with running(*gates):
            pass


async def test_each_device_of_the_settings_gets_a_backend_of_its_own(bert_folder: Path) -> None:
    opened: list[tuple[int, ...]] = []

    def open_gate(checkpoint: Checkpoint, config: EngineConfig) -> Gate:
        opened.append(config.devices)
        gate = Gate(Limits(512, 16))
        gate.open_for_good()
        return gate

    config = EngineConfig(checkpoint=str(bert_folder), devices=(0, 1))
    reranker = Reranker(config, open_gate)
    await reranker.start()
    ranking = await reranker.rank(Query("q", ["a", "b", "c"]))
    await reranker.stop()
    assert opened == [(0,), (1,)]
    assert len(ranking.results) == 3
