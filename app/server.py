"""The server process: signals, TLS, limits, exit status."""

import asyncio
import gc
import logging
import os
import signal
import socket
import ssl
import threading
from types import FrameType
from typing import Any

import uvicorn

from app.main import create_app
from app.service import Service
from app.settings import Settings
from engine.errors import StartError

_LAST_WORDS_SECONDS = 5  # for the last answers to reach their clients after the drain's bound


class Server(uvicorn.Server):
    """uvicorn, but a signal turns readiness off at once, and a second one stops now."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Runs on a signal."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self._service.reranker.drain()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening; the model goes on loading."""
        await super().startup(sockets)
        self._freezing = asyncio.create_task(freeze_heap(self._service))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish the accepted requests while uvicorn waits for their connections."""
        seconds = self._service.settings.shutdown_seconds
        finishing = asyncio.create_task(self._service.reranker.stop(seconds))
        await super().shutdown(sockets)
        if not self.force_exit:
            await finishing


async def freeze_heap(service: Service) -> None:
    """Hide what the model's start has made from the garbage collector: it is here to stay.

    A full collection of it would stop the event loop for 150 ms (measured), health included.
    """
    await service.started.wait()
    gc.freeze()


def serve(settings: Settings) -> int:
    """Run until told to stop. Returns 0 after a clean stop, 1 after a failure or a forced one.

    Raises StartError for settings that cannot be served.
    """
    failed = False

    def fail() -> None:
        nonlocal failed
        failed = server.should_exit = True

    app = create_app(settings, on_fatal=fail)
    server = Server(_config(app, settings), app.state.service)
    for number in (signal.SIGINT, signal.SIGTERM):
        # uvicorn raises the signal again once it has shut down; a clean stop exits with 0
        signal.signal(number, lambda *_: None)
    try:
        server.run()
    except SystemExit:  # uvicorn's word for a port that is taken; it has logged it
        failed = True
    status = int(failed or server.force_exit or not server.started)
    if any(thread.name.startswith("device") for thread in threading.enumerate()):
        # stuck in a batch: an interpreter that winds down around it would abort
        logging.shutdown()
        os._exit(status)
    return status


def _config(app: Any, settings: Settings) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        limit_concurrency=settings.max_connections + 1,  # uvicorn refuses at its limit already
        timeout_graceful_shutdown=settings.shutdown_seconds + _LAST_WORDS_SECONDS,
        **_tls(settings),
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise StartError(f"TLS: the certificate, key or CA cannot be used: {error}") from error
    return config


def _tls(settings: Settings) -> dict[str, Any]:
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise StartError("TLS needs both CROSSRANK_TLS_CERT and CROSSRANK_TLS_KEY")
    if settings.tls_cert is None:
        if settings.tls_client_ca is not None:
            raise StartError("client certificates need CROSSRANK_TLS_CERT and CROSSRANK_TLS_KEY")
        return {}
    files = {"ssl_certfile": str(settings.tls_cert), "ssl_keyfile": str(settings.tls_key)}
    if settings.tls_client_ca is None:
        return files
    return files | {
        "ssl_ca_certs": str(settings.tls_client_ca),
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
    }
