"""What probes, operators and scrapers are told."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from httpx2 import ASGITransport
from prometheus_client.parser import text_string_to_metric_families

from app.main import create_app
from engine.backends import Backend
from engine.backends.fake import FakeBackend
from engine.config import EngineConfig
from engine.types import Checkpoint, Limits
from tests.app.serving import Client, app_at, ranking, ready, serving, settings
from tests.gate import Gate, settle

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(bert_folder: Path) -> AsyncIterator[Client]:
    config = settings(bert_folder, backend="fake", model_aliases=("demo", "tiny-bert"))
    async with serving(create_app(config)) as client:
        yield client


async def metrics(client: Client) -> dict[str, float]:
    """Every sample as name{label=value} → value."""
    families = text_string_to_metric_families((await client.get("/metrics")).text)
    return {
        sample.name
        + "".join(f"{{{k}={v}}}" for k, v in sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


async def test_health_bodies_satisfy_both_generations_of_probes(client: Client) -> None:
    live = await client.get("/v1/health/live")
    assert live.status_code == 200
    assert live.json() == {
        "object": "health.response",
        "message": "Service is live.",
        "status": "live",
        "live": True,
    }
    ready = await client.get("/v1/health/ready")
    assert ready.status_code == 200
    assert ready.json() == {
        "object": "health.response",
        "message": "Service is ready.",
        "status": "ready",
        "ready": True,
    }


async def test_while_loading_it_is_live_but_not_ready_and_says_so(bert_folder: Path) -> None:
    may_open = threading.Event()

    def slow(checkpoint: Checkpoint, config: EngineConfig) -> Backend:
        may_open.wait()
        return FakeBackend(Limits(4096, 64))

    app = create_app(settings(bert_folder), open_backend=slow)
    loading = Client(transport=ASGITransport(app=app), base_url="http://crossrank.test")
    async with app.router.lifespan_context(app), loading as client:
        assert (await client.get("/v1/health/live")).status_code == 200
        refused = await client.get("/v1/health/ready")
        assert (refused.status_code, refused.json()["ready"]) == (503, False)
        answer = await client.post("/v1/ranking", json=ranking())
        assert answer.status_code == 503
        assert answer.json()["object"] == "error"
        may_open.set()
        await ready(app)
        assert (await client.get("/v1/health/ready")).status_code == 200


async def test_health_answers_while_the_device_is_busy(bert_folder: Path) -> None:
    gate = Gate(Limits(4096, 64))
    async with serving(app_at(gate, settings(bert_folder)), gate) as client:
        waiting = asyncio.create_task(client.post("/v1/ranking", json=ranking()))
        await gate.batch()
        assert (await client.get("/v1/health/ready")).status_code == 200
        assert not waiting.done()
        gate.open_for_good()
        assert (await waiting).status_code == 200


async def test_a_dead_device_turns_liveness_off_and_ends_the_service(bert_folder: Path) -> None:
    ended: list[bool] = []
    gate = Gate(Limits(4096, 64))
    app = create_app(
        settings(bert_folder),
        on_fatal=lambda: ended.append(True),
        open_backend=lambda checkpoint, config: gate,
    )
    async with serving(app, gate) as client:
        doomed = asyncio.create_task(client.post("/v1/ranking", json=ranking()))
        await gate.batch()
        gate.open(SystemExit())
        assert (await doomed).status_code == 500
        await settle()
        assert ended == [True]
        assert (await client.get("/v1/health/live")).status_code == 503
        assert (await client.post("/v1/ranking", json=ranking())).status_code == 503


async def test_models_lists_each_name_once(client: Client) -> None:
    listed = (await client.get("/v1/models")).json()["data"]
    assert [model["id"] for model in listed] == ["tiny-bert", "demo"]
    assert (await client.post("/v1/ranking", json=ranking(model="demo"))).status_code == 200


async def test_metadata_has_what_nvidia_s_operator_reads(client: Client) -> None:
    metadata = (await client.get("/v1/metadata")).json()
    assert metadata["modelInfo"] == [
        {"shortName": "tiny-bert:local", "modelUrl": "tiny-bert@local"}
    ]


async def test_version_license_and_manifest_answer(client: Client, bert_folder: Path) -> None:
    assert (await client.get("/v1/version")).json()["api"] == "v1"
    assert (await client.get("/v1/license")).json()["content"] == ""
    manifest = (await client.get("/v1/manifest")).json()
    size = (bert_folder / "model.safetensors").stat().st_size
    assert manifest["files"] == [{"name": "model.safetensors", "bytes": size}]


async def test_metrics_count_what_happened(client: Client) -> None:
    await client.post("/v1/ranking", json=ranking("q", ["a", "b", "c " * 999], truncate="END"))
    await client.post("/v1/ranking", json=ranking("q", []))
    await client.get("/v1/nowhere")
    found = await metrics(client)
    assert found["crossrank_passages_total"] == 3
    assert found["crossrank_truncated_pairs_total"] == 1
    assert found["crossrank_batch_rows_sum"] == 3
    assert found["crossrank_batch_tokens_sum"] == found["crossrank_tokens_total"]
    assert found["crossrank_batch_padding_ratio_sum"] == 0
    assert found["crossrank_queue_tokens"] == 0
    assert found["crossrank_requests_total{code=200}{dialect=nim}{route=/v1/ranking}"] == 1
    assert found["crossrank_requests_total{code=422}{dialect=nim}{route=/v1/ranking}"] == 1
    assert found["crossrank_requests_total{code=404}{dialect=none}{route=none}"] == 1
    for stage in ("tokenize", "queue", "inference"):
        assert found[f"crossrank_stage_seconds_count{{stage={stage}}}"] == 1
    assert (await client.get("/v1/metrics")).status_code == 200


async def test_the_queue_is_visible_while_it_waits(bert_folder: Path) -> None:
    gate = Gate(Limits(512, 2))
    async with serving(app_at(gate, settings(bert_folder)), gate) as client:
        waiting = asyncio.create_task(client.post("/v1/ranking", json=ranking("q", ["p"] * 5)))
        await gate.batch()
        assert (await metrics(client))["crossrank_queue_pairs"] == 3
        gate.open_for_good()
        await waiting


async def test_the_request_id_is_kept_or_made(client: Client) -> None:
    given = await client.get("/v1/version", headers={"x-request-id": "abc-123"})
    assert given.headers["x-request-id"] == "abc-123"
    made = [await client.get("/v1/version", headers={"x-request-id": "a b\tc"}) for _ in range(2)]
    assert made[0].headers["x-request-id"] != made[1].headers["x-request-id"]
