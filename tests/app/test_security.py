"""Who may call, over what, from where."""

import asyncio
import hashlib
import logging
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
import trustme
import uvicorn

from app.main import create_app
from app.server import _config
from app.settings import Settings
from engine.errors import StartError
from tests.app.serving import Client, ranking, serving, settings

pytestmark = pytest.mark.anyio
KEYS = "first-key, second-key"


@pytest.fixture
async def client(bert_folder: Path, tmp_path: Path) -> AsyncIterator[Client]:
    (tmp_path / "keys").write_text("third-key\n\n")
    config = settings(bert_folder, backend="fake", api_keys=KEYS, api_key_file=tmp_path / "keys")
    async with serving(create_app(config)) as client:
        yield client


@pytest.mark.parametrize("key", ["first-key", "second-key", "third-key"])
async def test_every_key_opens_every_route_by_either_header(client: Client, key: str) -> None:
    for headers in ({"Authorization": f"Bearer {key}"}, {"X-API-Key": key}):
        answer = await client.post("/v1/ranking", json=ranking(), headers=headers)
        assert answer.status_code == 200
        assert (await client.get("/metrics", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic first-key"},
     {"X-API-Key": "first-ke"}, {"Authorization": "Bearer "}],
)  # fmt: skip
async def test_without_a_key_nothing_but_health_answers(
    client: Client, headers: dict[str, str]
) -> None:
    for path in ("/v1/models", "/metrics", "/docs", "/openapi.json", "/nowhere"):
        answer = await client.get(path, headers=headers)
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["object"] == "error"
    refused = await client.post("/v1/ranking", json=ranking(), headers=headers)
    assert refused.status_code == 401
    assert (await client.get("/v1/health/ready", headers=headers)).status_code == 200


async def test_logs_tell_keys_apart_by_their_hash_only(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    from app import logs

    seen: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(logs._JsonFormatter().format(record))

    access = logging.getLogger("crossrank.access")
    keep = Keep()
    access.addHandler(keep)
    caplog.set_level(logging.INFO, "crossrank.access")
    await client.get("/v1/version", headers={"X-API-Key": "first-key"})
    access.removeHandler(keep)
    assert hashlib.sha256(b"first-key").hexdigest()[:8] in seen[-1]
    assert "first-key" not in seen[-1]


async def test_without_configured_keys_any_authorization_is_welcome(bert_folder: Path) -> None:
    async with serving(create_app(settings(bert_folder, backend="fake"))) as client:
        headers = {"Authorization": "Bearer **********"}
        assert (await client.get("/v1/models", headers=headers)).status_code == 200


def test_a_key_file_without_keys_is_refused(bert_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("\n")
    with pytest.raises(StartError, match="holds no key"):
        create_app(settings(bert_folder, api_key_file=tmp_path / "keys"))
    with pytest.raises(StartError, match="cannot be read"):
        create_app(settings(bert_folder, api_key_file=tmp_path / "absent"))


async def test_browsers_are_let_in_only_from_configured_origins(bert_folder: Path) -> None:
    config = settings(bert_folder, backend="fake", cors_origins="https://ui.example")
    async with serving(create_app(config)) as client:
        known = await client.get("/v1/version", headers={"Origin": "https://ui.example"})
        assert known.headers["access-control-allow-origin"] == "https://ui.example"
        other = await client.get("/v1/version", headers={"Origin": "https://else.example"})
        assert "access-control-allow-origin" not in other.headers
    async with serving(create_app(settings(bert_folder, backend="fake"))) as client:
        closed = await client.get("/v1/version", headers={"Origin": "https://ui.example"})
        assert "access-control-allow-origin" not in closed.headers


async def test_metrics_can_move_to_a_port_of_their_own(bert_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    config = settings(bert_folder, backend="fake", host="127.0.0.1", metrics_port=port)
    async with serving(create_app(config)) as client:
        await client.post("/v1/ranking", json=ranking())
        assert (await client.get("/metrics")).status_code == 404
        moved = await asyncio.to_thread(httpx2.get, f"http://127.0.0.1:{port}/metrics")
        assert "crossrank_passages_total 2.0" in moved.text


@contextmanager
def running(config: Settings) -> Iterator[int]:
    """A real server with these settings on a free loopback port; its port."""
    server = uvicorn.Server(_config(create_app(config), config))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join()


def test_tls_and_mutual_tls(bert_folder: Path, tmp_path: Path) -> None:
    authority = trustme.CA()
    server, caller = authority.issue_cert("localhost"), authority.issue_cert("caller@example.org")
    files = {name: tmp_path / name for name in ("cert", "key", "ca")}
    server.cert_chain_pems[0].write_to_path(files["cert"])
    server.private_key_pem.write_to_path(files["key"])
    authority.cert_pem.write_to_path(files["ca"])
    tls = {"tls_cert": files["cert"], "tls_key": files["key"]}
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    with running(settings(bert_folder, backend="fake", **tls)) as port:
        answer = httpx2.get(f"https://localhost:{port}/v1/version", verify=trusting)
        assert answer.status_code == 200

    mutual = settings(bert_folder, backend="fake", tls_client_ca=files["ca"], **tls)
    with running(mutual) as port:
        with pytest.raises(httpx2.TransportError):
            httpx2.get(f"https://localhost:{port}/v1/version", verify=trusting)
        caller.configure_cert(trusting)
        answer = httpx2.get(f"https://localhost:{port}/v1/version", verify=trusting)
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"tls_cert": "a"}, "needs both"),
        ({"tls_client_ca": "a"}, "client certificates need"),
        ({"tls_cert": "absent", "tls_key": "absent"}, "cannot be used"),
    ],
)
def test_tls_settings_that_cannot_work_are_refused(
    bert_folder: Path, files: dict[str, str], reason: str
) -> None:
    config = settings(bert_folder, **files)
    with pytest.raises(StartError, match=reason):
        _config(create_app(config), config)
