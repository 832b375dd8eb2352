"""Puts the service together: lifespan, routers, errors, layers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi_offline import FastAPIOffline
from prometheus_client import start_http_server

from app import errors, operations, playground, shared_paths
from app.intake import Intake
from app.observe import Observe
from app.security import ApiKeys, read_keys
from app.service import Service
from app.settings import Settings
from app.telemetry import Metrics
from engine.backends import open_backend
from engine.errors import StartError
from engine.reranker import OpenBackend

_DESCRIPTION = (
    "An open reranking microservice: send a query and passages, get the passages back ordered by "
    "relevance. Speaks NVIDIA's reranking NIM API."
)


def create_app(
    settings: Settings,
    on_fatal: Callable[[], None] = lambda: None,
    open_backend: OpenBackend = open_backend,
) -> FastAPI:
    """The service. The model loads while the app runs; /v1/health/ready says when it is there.

    Raises StartError for settings that cannot be served.
    """
    # The documentation page's script comes with the package: it works without a network.
    app = FastAPIOffline(
        redoc_url=None,
        title="crossrank",
        version=operations.VERSION,
        description=_DESCRIPTION,
        lifespan=_lifespan,
        strict_content_type=False,  # Intake has checked it, and answers in the dialect's shape
        telemetry={"auto_configure": settings.otel_endpoint is not None},
    )
    metrics = Metrics()
    app.state.service = Service(settings, metrics, on_fatal, open_backend)
    app.include_router(shared_paths.router())
    app.include_router(operations.router)
    app.include_router(playground.router)
    if settings.metrics_port is None:
        app.include_router(operations.metrics_router)
    errors.install(app)
    _add_layers(app, settings, metrics)
    return app


def _add_layers(app: FastAPI, settings: Settings, metrics: Metrics) -> None:
    """Layers around the routes; the last one added is the outermost."""
    app.add_middleware(Intake, max_body_bytes=settings.max_body_bytes, refuse=errors.response)
    if keys := read_keys(settings.api_keys.get_secret_value(), settings.api_key_file):
        app.add_middleware(ApiKeys, keys=keys, refuse=errors.response)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
        )
    app.add_middleware(Observe, metrics=metrics)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    own_port = _serve_metrics(service)
    starting = asyncio.create_task(service.start(), name="start")
    yield
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await service.reranker.stop(service.settings.shutdown_seconds)
    own_port()


def _serve_metrics(service: Service) -> Callable[[], None]:
    """Serve the metrics on their own port if one is set. Returns what stops it."""
    port = service.settings.metrics_port
    if port is None:
        return lambda: None
    try:
        server, _ = start_http_server(port, service.settings.host, service.metrics.registry)
    except OSError as error:
        raise StartError(f"the metrics port {port} cannot be opened: {error.strerror}") from error

    def stop() -> None:
        server.shutdown()
        server.server_close()

    return stop
