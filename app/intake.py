"""Takes in one request: its body whole, within a limit; and if the client hangs up, cancels it.

Pure ASGI. FastAPI's own limit answers in plain text, and it does not notice that nobody waits.
"""

import asyncio
import contextlib
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Refuse = Callable[[str, int, str], Response]  # path, status, message

_TOO_LARGE = "the body is larger than {} bytes: send fewer or shorter passages"
_TOO_SLOW = "the body did not arrive within {:g} s: send it faster, or in smaller requests"
_STOPPED = "the service stopped before the body was there: send the request again"
_LINGER_SECONDS = 5.0  # for the rest of a body that is refused
_NOT_JSON = "the body must be JSON: send Content-Type: application/json"


class Intake:
    """ASGI layer around the routes."""

    def __init__(
        self, app: ASGIApp, max_body_bytes: int, max_body_seconds: float, refuse: Refuse
    ) -> None:
        self._app = app
        self._limit = max_body_bytes
        self._seconds = max_body_seconds
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if scope["method"] == "POST" and not _is_json(headers.get("content-type")):
            await self._refuse(scope["path"], 415, _NOT_JSON)(scope, receive, send)
            return
        body = _Body(receive)
        try:
            async with asyncio.timeout(self._seconds):
                content = await body.read(headers.get("content-length", ""), self._limit)
        except _TooLargeError:
            refusal = self._closing(scope, 413, _TOO_LARGE.format(self._limit))
            await refusal(scope, receive, _then_drop(send, body, self._limit))
            return
        except TimeoutError:
            await self._closing(scope, 408, _TOO_SLOW.format(self._seconds))(scope, receive, send)
            return
        except asyncio.CancelledError:  # the server has stopped waiting for this client
            await self._closing(scope, 503, _STOPPED)(scope, receive, send)
            return
        except _GoneError:
            return
        await _Answering(receive, send).run(self._app, scope, content)

    def _closing(self, scope: Scope, status: int, message: str) -> Response:
        """A refusal after which the connection is of no more use: the body is not all read."""
        refusal = self._refuse(scope["path"], status, message)
        refusal.headers["connection"] = "close"
        return refusal


class _TooLargeError(Exception):
    pass


class _GoneError(Exception):
    pass


def _is_json(content_type: str | None) -> bool:
    kind = (content_type or "application/json").partition(";")[0].strip().lower()
    return kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )


class _Body:
    """A request's body as it comes in."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._ended = False

    async def read(self, declared: str, limit: int) -> bytes:
        """All of it. Raises _TooLargeError, before reading where the declared length tells."""
        if declared.isdecimal() and int(declared) > limit:
            raise _TooLargeError
        chunks: list[bytes] = []
        size = 0
        while not self._ended:
            chunks.append(await self._next())
            size += len(chunks[-1])
            if size > limit:
                raise _TooLargeError
        return b"".join(chunks)

    async def drop(self, limit: int) -> None:
        """Read on and keep nothing, up to a limit."""
        with contextlib.suppress(_GoneError, TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while not self._ended and limit > 0:
                    limit -= len(await self._next())

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        self._ended = not message.get("more_body", False)
        chunk: bytes = message.get("body", b"")
        return chunk


def _then_drop(send: Send, body: _Body, limit: int) -> Send:
    """Sends the answer, and closes only after so many more bytes of the body.

    Most clients send all before they read: closed at once, they would see a broken pipe.
    """

    async def lingering(message: Message) -> None:
        if message["type"] != "http.response.body":
            await send(message)
            return
        await send({**message, "more_body": True})
        await body.drop(limit)
        await send({"type": "http.response.body"})

    return lingering


class _Answering:
    """One request being answered, for as long as somebody waits for it."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._answered = False

    async def run(self, app: ASGIApp, scope: Scope, body: bytes) -> None:
        """Run the app; cancel it if the client hangs up before the answer is out."""
        handler = asyncio.ensure_future(app(scope, _replay(body), self._note))
        hang_up = asyncio.ensure_future(self._receive())  # what follows a body is a disconnect
        try:
            await asyncio.wait({handler, hang_up}, return_when=asyncio.FIRST_COMPLETED)
            if self._answered or handler.done():
                await handler
        finally:
            hang_up.cancel()
            handler.cancel()  # nobody waits for it any more; does nothing where it is done
            await asyncio.wait({handler})

    async def _note(self, message: Message) -> None:
        """Pass a message on; the last one makes a later disconnect harmless."""
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        self._answered = self._answered or last
        await self._send(message)


def _replay(body: bytes) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else await asyncio.get_running_loop().create_future()

    return receive
