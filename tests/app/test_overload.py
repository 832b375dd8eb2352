"""Too much, too late, given up: who is refused, with what, and what the device never sees."""

import asyncio
from pathlib import Path

import pytest

from app.main import create_app
from engine.types import Limits
from tests.app.serving import Client, app_at, ranking, service_of, serving, settings
from tests.gate import Gate, settle

pytestmark = pytest.mark.anyio
LONG = ["a stone by the river"] * 512


async def test_a_full_queue_refuses_at_once_with_the_time_to_come_back(bert_folder: Path) -> None:
    gate = Gate(Limits(512, 4))
    config = settings(bert_folder, max_queue_requests=1)
    async with serving(app_at(gate, config), gate) as client:
        first = asyncio.create_task(client.post("/v1/ranking", json=ranking()))
        await gate.batch()
        refused = await client.post("/v1/ranking", json=ranking())
        assert refused.status_code == 503  # NIM's code for a full queue
        assert refused.json()["message"].startswith("too many requests are waiting")
        assert int(refused.headers["retry-after"]) >= 1
        gate.open_for_good()
        assert (await first).status_code == 200
        assert (await client.post("/v1/ranking", json=ranking())).status_code == 200
        metrics = (await client.get("/metrics")).text
        assert "crossrank_shed_requests_total 1.0" in metrics
        assert "crossrank_admitted_tokens 0.0" in metrics


async def test_a_request_larger_than_the_queue_runs_when_the_queue_is_empty(
    bert_folder: Path,
) -> None:
    gate = Gate(Limits(4096, 600))
    config = settings(bert_folder, max_queue_tokens=10)
    async with serving(app_at(gate, config), gate) as client:
        large = asyncio.create_task(client.post("/v1/ranking", json=ranking("q", LONG)))
        await gate.batch()
        assert (await client.post("/v1/ranking", json=ranking())).status_code == 503
        gate.open_for_good()
        assert len((await large).json()["rankings"]) == 512


async def test_five_passages_behind_512_are_answered_within_two_batches(bert_folder: Path) -> None:
    gate = Gate(Limits(512, 64))
    async with serving(app_at(gate, settings(bert_folder)), gate) as client:
        long = asyncio.create_task(client.post("/v1/ranking", json=ranking("q", LONG)))
        first = await gate.batch()
        short = asyncio.create_task(client.post("/v1/ranking", json=ranking("q", LONG[:5])))
        await _until_waiting(client, pairs=512 - first.rows + 5)
        for _ in range(2):
            gate.open()
            await gate.batch()
        gate.open()
        assert (await short).status_code == 200
        assert not long.done()
        gate.open_for_good()
        await long


async def test_twenty_abandoned_long_requests_cost_at_most_two_batches(bert_folder: Path) -> None:
    gate = Gate(Limits(2048, 64))
    async with serving(app_at(gate, settings(bert_folder)), gate) as client:
        abandoned = [
            asyncio.create_task(client.post("/v1/ranking", json=ranking("q", LONG)))
            for _ in range(20)
        ]
        first = await gate.batch()
        await _until_waiting(client, pairs=20 * 512 - first.rows)
        for request in abandoned:
            request.cancel()
        await asyncio.wait(abandoned)
        await _until_waiting(client, pairs=0)
        patient = asyncio.create_task(client.post("/v1/ranking", json=ranking("q", ["p"] * 3)))
        await _until_waiting(client, pairs=3)
        gate.open()  # the one batch that was on the device
        assert (await gate.batch()).rows == 3  # the next one is already somebody else's
        gate.open()
        assert (await patient).status_code == 200


async def test_a_deadline_that_passes_is_answered_and_its_pairs_never_run(
    bert_folder: Path,
) -> None:
    gate = Gate(Limits(512, 4))
    async with serving(app_at(gate, settings(bert_folder)), gate) as client:
        first = asyncio.create_task(client.post("/v1/ranking", json=ranking("q", ["p"] * 2)))
        await gate.batch()
        late = await client.post(
            "/v1/ranking", json=ranking("q", ["p"] * 3), headers={"X-Request-Timeout-Ms": "20"}
        )
        assert late.status_code == 504
        assert "time ran out" in late.json()["message"]
        last = asyncio.create_task(client.post("/v1/ranking", json=ranking("q", ["p"])))
        await _until_waiting(client, pairs=1)
        gate.open()
        assert (await gate.batch()).rows == 1
        gate.open_for_good()
        assert [(await first).status_code, (await last).status_code] == [200, 200]
        assert "crossrank_expired_requests_total 1.0" in (await client.get("/metrics")).text


async def test_the_server_s_own_deadline_holds_whatever_the_client_asks(bert_folder: Path) -> None:
    gate = Gate(Limits(512, 4))
    config = settings(bert_folder, request_timeout_seconds=0.02)
    async with serving(app_at(gate, config), gate) as client:
        for headers in ({}, {"X-Request-Timeout-Ms": "600000"}):
            late = await client.post("/v1/ranking", json=ranking(), headers=headers)
            assert late.status_code == 504


@pytest.mark.parametrize("value", ["0", "-5", "soon", "1.5", "٣"])
async def test_a_deadline_that_is_no_number_is_refused(bert_folder: Path, value: str) -> None:
    gate = Gate()
    async with serving(app_at(gate, settings(bert_folder, max_pair_tokens=32)), gate) as client:
        headers = {b"x-request-timeout-ms": value.encode()}
        answer = await client.post("/v1/ranking", json=ranking(), headers=headers)
        assert answer.status_code == 422
        assert "x-request-timeout-ms" in answer.json()["message"]


async def test_too_many_characters_are_refused_with_both_numbers(bert_folder: Path) -> None:
    gate = Gate(Limits(512, 4))
    config = settings(bert_folder, max_characters=1000)
    async with serving(app_at(gate, config), gate) as client:
        answer = await client.post("/v1/ranking", json=ranking("q" * 500, ["p" * 501]))
        assert answer.status_code == 422
        assert "1001 characters are more than the 1000" in answer.json()["message"]


async def test_injected_faults_are_answered_once_each_and_nothing_is_lost(
    bert_folder: Path,
) -> None:
    faults = "error=0.2,memory=0.1,nan=0.2,seed=3"
    app = create_app(settings(bert_folder, backend="fake", faults=faults, max_batch_tokens=512))
    async with serving(app) as client:
        # one after the other the batches, and so the seeded faults, are always the same
        answers = [await client.post("/v1/ranking", json=ranking("q", LONG[:40])) for _ in "abcdef"]
        assert {answer.status_code for answer in answers} == {200, 500}
        requests = [client.post("/v1/ranking", json=ranking("q", LONG[:40])) for _ in range(60)]
        answers += await asyncio.gather(*requests)
        assert {answer.status_code for answer in answers} == {200, 500}
        for answer in answers:
            body = answer.json()
            if answer.status_code == 200:
                assert sorted(r["index"] for r in body["rankings"]) == list(range(40))
            else:
                assert body["object"] == "error"
        assert "crossrank_admitted_tokens 0.0" in (await client.get("/metrics")).text


async def _until_waiting(client: Client, pairs: int) -> None:
    """Wait until exactly this many pairs wait for the device."""
    reranker = service_of(client).reranker
    while reranker.waiting.pairs != pairs:
        await settle()
