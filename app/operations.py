"""What operators and probes ask: health, models, metadata, version, license, manifest, metrics."""

import hashlib
import time
from importlib.metadata import version as installed
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from app.service import Serving

router = APIRouter(tags=["Operations"])
metrics_router = APIRouter(tags=["Operations"])  # left out where metrics have a port of their own

VERSION = installed("crossrank")
_STARTED = int(time.time())


def _health(serving_well: bool, word: str, otherwise: str) -> JSONResponse:
    """A body that satisfies NIM 1.x (message, status) and 2.x (a boolean by the word's name)."""
    status = word if serving_well else otherwise
    body = {
        "object": "health.response",
        "message": f"Service is {status}.",
        "status": status,
        word: serving_well,
    }
    return JSONResponse(body, 200 if serving_well else 503)


@router.get("/v1/health/live", summary="Whether the process can work")
async def live(serving: Serving) -> JSONResponse:
    """200 while the process can do its work, also while it loads; restart it otherwise."""
    return _health(serving.reranker.alive, "live", "not live")


@router.get("/v1/health/ready", summary="Whether rankings are answered")
async def ready(serving: Serving) -> JSONResponse:
    """200 when rankings are answered, 503 while loading or stopping."""
    return _health(serving.reranker.ready, "ready", "not ready")


@router.get("/v1/models", summary="Served names")
async def models(serving: Serving) -> dict[str, Any]:
    """The canonical name first, then its aliases with `root` set to it."""
    names = serving.names
    entries = [
        {
            "id": name,
            "object": "model",
            "created": _STARTED,
            "owned_by": name.partition("/")[0],
            "root": names.canonical,
            "parent": None,
        }
        for name in (names.canonical, *names.aliases)
    ]
    return {"object": "list", "data": entries}


@router.get("/v1/metadata", summary="What is served")
async def metadata(serving: Serving) -> dict[str, Any]:
    """What is served, in the fields NVIDIA's operator reads."""
    name, revision = serving.names.canonical, serving.checkpoint.revision or "local"
    info = {"shortName": f"{name.rpartition('/')[2]}:{revision}", "modelUrl": f"{name}@{revision}"}
    return {"version": VERSION, "modelInfo": [info], "assetInfo": [], "repository_override": ""}


@router.get("/v1/version", summary="Release and API version")
async def version() -> dict[str, str]:
    """The release, and the version of the API."""
    return {"release": VERSION, "api": "v1"}


@router.get("/v1/license", summary="Licence of the weights")
def license_text(serving: Serving) -> dict[str, Any]:
    """The licence that lies beside the weights; empty where none does."""
    path = next(iter(sorted(serving.checkpoint.folder.glob("LICENSE*"))), None)
    content = path.read_bytes() if path else b""
    return {
        "name": serving.names.canonical,
        "path": path.name if path else "",
        "size": len(content),
        "sha": hashlib.sha256(content).hexdigest(),
        "type": "file",
        "content": content.decode(errors="replace"),
    }


@router.get("/v1/manifest", summary="Files and limits")
async def manifest(serving: Serving) -> dict[str, Any]:
    """The files the weights were read from, and the limits that hold."""
    checkpoint = serving.checkpoint
    files = sorted(set(checkpoint.tensors.values()))
    return {
        "model": serving.names.canonical,
        "revision": checkpoint.revision,
        "family": checkpoint.family,
        "max_pair_tokens": checkpoint.max_pair_tokens,
        "max_passages": serving.settings.max_passages,
        "files": [{"name": file.name, "bytes": file.stat().st_size} for file in files],
    }


@metrics_router.get("/metrics", response_class=PlainTextResponse, summary="Prometheus metrics")
@metrics_router.get("/v1/metrics", response_class=PlainTextResponse, summary="Prometheus metrics")
def metrics(serving: Serving) -> Response:
    """Prometheus text format."""
    content = generate_latest(serving.metrics.registry)
    return Response(content, media_type=CONTENT_TYPE_LATEST)
