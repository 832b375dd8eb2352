"""Where the time went, as clients, dashboards and traces are told."""

import asyncio
from pathlib import Path

import pytest

from app.main import create_app
from engine.types import Limits
from tests.app.serving import app_at, ranking, serving, settings
from tests.app.test_operations import metrics
from tests.gate import Gate

pytestmark = pytest.mark.anyio


async def test_every_answer_says_where_its_time_went(bert_folder: Path) -> None:
    async with serving(create_app(settings(bert_folder, backend="fake"))) as client:
        answer = await client.post("/v1/ranking", json=ranking())
        stages = [
            float(answer.headers[f"x-{name}-time"])
            for name in ("tokenization", "queue", "inference")
        ]
        assert all(milliseconds >= 0 for milliseconds in stages)
        # each figure is rounded to a thousandth
        assert sum(stages) <= float(answer.headers["x-total-time"]) + 0.002
        tokens = answer.json()["usage"]["total_tokens"]
        assert answer.headers["x-compute-tokens"] == str(tokens)
        assert "x-total-time" not in (await client.get("/v1/models")).headers


async def test_triton_s_counters_move_as_nim_dashboards_expect(bert_folder: Path) -> None:
    app = create_app(settings(bert_folder, backend="fake", max_batch_tokens=512))
    async with serving(app) as client:
        for count in (3, 5):
            await client.post("/v1/ranking", json=ranking("q", ["p"] * count))
        await client.post("/v1/ranking", json=ranking("q", ["p " * 9999]))
        found = await metrics(client)
    labels = "{model=tiny-bert}{version=1}"
    assert found[f"nv_inference_request_success{labels}"] == 2
    assert found[f"nv_inference_request_failure{labels}"] == 1
    assert found[f"nv_inference_count{labels}"] == 8
    assert found[f"nv_inference_exec_count{labels}"] == found["crossrank_batch_rows_count"]
    durations = ("queue", "compute_input", "compute_infer")
    parts = sum(found[f"nv_inference_{name}_duration_us{labels}"] for name in durations)
    assert parts == pytest.approx(found[f"nv_inference_request_duration_us{labels}"], abs=6)
    assert found["nv_inference_pending_request_count"] == 0


async def test_the_age_of_the_queue_is_that_of_its_oldest_request(bert_folder: Path) -> None:
    gate = Gate(Limits(512, 2))
    async with serving(app_at(gate, settings(bert_folder)), gate) as client:
        waiting = asyncio.create_task(client.post("/v1/ranking", json=ranking("q", ["p"] * 5)))
        await gate.batch()
        first, second = [(await metrics(client))["crossrank_queue_age_seconds"] for _ in range(2)]
        assert 0 < first < second
        gate.open_for_good()
        await waiting
        assert (await metrics(client))["crossrank_queue_age_seconds"] == 0
