"""Ranks with a running server, in any dialect of app/dialects; a full server is asked again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from pydantic import ValidationError

from app import dialects
from app.evaluation import EvaluationError
from app.scores import Scored

Pause = Callable[[float], Awaitable[None]]
_FULL = (429, 503)
_TRIES = 20
_LONGEST_BACKOFF_SECONDS = 30.0
_TIMEOUT = httpx2.Timeout(600.0, connect=10.0)  # the server has limits of its own
_SHOWN = 300  # characters of a server's error


async def _pause(seconds: float) -> None:
    await asyncio.sleep(seconds)  # noqa: TID251 - a full server has said for how long


@dataclass(frozen=True, slots=True)
class Server:
    """url: without a path of the dialect's. model: the name in requests, if any."""

    url: str
    dialect: str
    model: str | None = None


class Remote:
    """identity: what the scores depend on, by name. served: the model, as the server calls it."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        server: Server,
        served: str | None = None,
        pause: Pause = _pause,
    ) -> None:
        self._client = client
        self._server = server
        self._dialect = dialects.load()[server.dialect]
        self._at = server.url + self._dialect.ASKED_AT
        self._pause = pause
        self.identity: Mapping[str, str | int | None] = {
            "server": server.url,
            "dialect": server.dialect,
            "model": server.model,
            "served": served,
        }

    async def rank(self, query: str, passages: Sequence[str]) -> list[Scored]:
        """The server's order and scores. Raises EvaluationError."""
        try:
            body = self._dialect.ask(query, passages, self._server.model)
            content = body.model_dump_json(exclude_unset=True, exclude_none=True)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise EvaluationError(
                f"a query cannot be asked in {self._server.dialect}: {reason}"
            ) from error
        return self._read(await self._post(content), len(passages))

    def _read(self, answer: httpx2.Response, count: int) -> list[Scored]:
        try:
            found = list(self._dialect.ranked(answer.json()))
        except (ValueError, TypeError, KeyError) as error:
            raise EvaluationError(
                f"{self._at} answers, but not as {self._server.dialect} does: "
                "choose another --dialect"
            ) from error
        if sorted(item.index for item in found) != list(range(count)):
            raise EvaluationError(
                f"{self._at} ranked {len(found)} of {count} documents: each must come back once"
            )
        return found

    async def _post(self, content: str) -> httpx2.Response:
        """The answer; sent again while the server is full or the connection breaks."""
        trouble = ""
        for number in range(_TRIES):
            after = None
            try:
                answer = await self._client.post(self._at, content=content)
                if answer.status_code == 200:
                    return answer
                trouble = f"{answer.status_code}: {_printable(answer.text)}"
                if answer.status_code not in _FULL:
                    raise EvaluationError(f"{self._at} answered {trouble}")
                after = answer.headers.get("Retry-After")
            except httpx2.TransportError as error:
                trouble = type(error).__name__
            if number + 1 < _TRIES:
                await self._pause(_seconds(after, number))
        raise EvaluationError(f"{self._at} was asked {_TRIES} times, at last {trouble}")


@asynccontextmanager
async def opened(server: Server, headers: Mapping[str, str]) -> AsyncIterator[Remote]:
    """A server that answers. Raises EvaluationError where none does."""
    headers = {"Content-Type": "application/json", **headers}
    async with httpx2.AsyncClient(headers=headers, timeout=_TIMEOUT) as client:
        try:
            served = await _served(client, server.url)
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise EvaluationError(
                f"the server cannot be reached ({type(error).__name__}): give the address of one "
                "that runs, such as http://localhost:8000"
            ) from error
        yield Remote(client, server, served)


async def _served(client: httpx2.AsyncClient, url: str) -> str | None:
    """The model's name, as OpenAI's clients ask for it or as TEI's do; None where neither tells."""
    for path, keys in (("/v1/models", ("data", 0, "id")), ("/info", ("model_id",))):
        answer = await client.get(url + path)
        try:
            told: Any = answer.json()
            for key in keys:
                told = told[key]
            return str(told)
        except (ValueError, TypeError, LookupError):
            continue
    return None


def _seconds(retry_after: str | None, number: int) -> float:
    """What the server has asked for; else twice as long each time. A date counts as not asked."""
    if retry_after is not None and retry_after.isascii() and retry_after.isdecimal():
        return float(retry_after)
    return min(2.0**number, _LONGEST_BACKOFF_SECONDS)


def _printable(text: str) -> str:
    return ascii(" ".join(text.split())[:_SHOWN])[1:-1]
