"""Runs the service in the test's own event loop, over ASGI; or on a thread, over real sockets."""

import socket
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from fastapi import FastAPI

from app.main import create_app
from app.service import Service
from app.settings import Settings
from tests.gate import Gate

Client = httpx2.AsyncClient


def settings(folder: Path, **changes: object) -> Settings:
    """Settings for a checkpoint folder, untouched by this machine's environment."""
    return Settings(checkpoint=str(folder), **changes)  # type: ignore[arg-type]


def service_of(client: Client) -> Service:
    """The service behind a client of serving()."""
    transport = client._transport
    assert isinstance(transport, httpx2.ASGITransport)
    service: Service = transport.app.state.service  # type: ignore[attr-defined]
    return service


@asynccontextmanager
async def serving(app: FastAPI, *gates: Gate) -> AsyncIterator[Client]:
    """A client of the running app; the model is ready. Gates are opened at the end."""
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app):
        await ready(app)
        try:
            async with Client(transport=transport, base_url="http://crossrank.test") as client:
                yield client
        finally:
            for gate in gates:
                gate.open_for_good()


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """The address of the app on a free loopback port; the model is ready."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    listener = socket.create_server(("127.0.0.1", 0))  # callers queue here until it serves
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        while httpx2.get(f"{address}/v1/health/ready").status_code != 200:
            assert thread.is_alive()
        yield address
    finally:
        server.should_exit = True
        thread.join()


async def ready(app: FastAPI) -> None:
    """Wait until the model is loaded."""
    service: Service = app.state.service
    await service.started.wait()
    assert service.reranker.ready


def app_at(gate: Gate, settings: Settings) -> FastAPI:
    """The service with a gate for a device."""
    return create_app(settings, open_backend=lambda checkpoint, config: gate)


def ranking(
    query: str = "why", passages: Sequence[str] = ("rain", "stone"), **more: object
) -> dict[str, Any]:
    """A request body in the NIM dialect."""
    return {"query": {"text": query}, "passages": [{"text": p} for p in passages], **more}
