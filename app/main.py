"""Puts the service together: lifespan, routers, errors, layers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from app import errors, operations, shared_paths
from app.intake import Intake
from app.service import Service
from app.settings import Settings
from app.telemetry import Metrics, Observe
from engine.backends import open_backend
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
    """The service. The model loads while the app runs; /v1/health/ready says when it is there."""
    # The documentation page's script comes with the package: it works without a network.
    app = FastAPIOffline(
        redoc_url=None,
        title="crossrank",
        version=operations.VERSION,
        description=_DESCRIPTION,
        lifespan=_lifespan,
        strict_content_type=False,  # Intake has checked it, and answers in the dialect's shape
    )
    metrics = Metrics()
    app.state.service = Service(settings, metrics, on_fatal, open_backend)
    app.include_router(shared_paths.router())
    app.include_router(operations.router)
    errors.install(app)
    # added last = outermost
    app.add_middleware(Intake, max_body_bytes=settings.max_body_bytes, refuse=errors.response)
    app.add_middleware(Observe, metrics=metrics)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    starting = asyncio.create_task(service.start(), name="start")
    yield
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await service.reranker.stop()
