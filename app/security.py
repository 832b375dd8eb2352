"""API keys: who may call. An ASGI layer; health stays open, so that probes need no secret."""

import hashlib
import hmac
from collections.abc import Callable, Iterable
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.exchange import current
from engine.errors import StartError

Refuse = Callable[..., Response]  # path, status, message, headers

OPEN = ("/v1/health/", "/health")
PAGE = "/"  # the playground: it holds no secret, and asks for the key itself
_MESSAGE = "a valid API key is needed: send Authorization: Bearer KEY or X-API-Key: KEY"
_SHOWN_DIGITS = 8  # of the hash, in logs: enough to tell keys apart, too few to find them


class ApiKeys:
    """Lets a request through if it carries one of the keys. Keeps only their SHA-256."""

    def __init__(self, app: ASGIApp, keys: Iterable[str], refuse: Refuse) -> None:
        self._app = app
        self._digests = [_digest(key) for key in keys]
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        digest = _digest(_given(Headers(scope=scope)))
        # every key is compared, each in constant time: the answer's time tells nothing
        if sum(hmac.compare_digest(digest, known) for known in self._digests):
            current().key = digest.hex()[:_SHOWN_DIGITS]
            await self._app(scope, receive, send)
            return
        headers = {"WWW-Authenticate": "Bearer"}
        await self._refuse(scope["path"], 401, _MESSAGE, **headers)(scope, receive, send)


def _is_open(path: str) -> bool:
    return path == PAGE or path.startswith(OPEN)


def read_keys(listed: str, file: Path | None) -> list[str]:
    """Keys from a comma-separated setting and from a file, one a line. Raises StartError."""
    keys = [key.strip() for key in listed.split(",")]
    if file is not None:
        try:
            keys += [line.strip() for line in file.read_text().splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise StartError(f"the API key file {file} cannot be read: {error}") from error
    found = [key for key in keys if key]
    if file is not None and not found:
        raise StartError(f"the API key file {file} holds no key: put one on each line")
    return found


def _given(headers: Headers) -> str:
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else headers.get("x-api-key", "")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()
