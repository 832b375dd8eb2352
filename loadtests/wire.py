"""One keep-alive connection, by hand: every byte that comes is seen, also one too many."""

import contextlib
import io
import socket
from dataclasses import dataclass, field

import gevent

from loadtests.texts import Ask

_PATIENCE_SECONDS = 120.0  # a caller that waits longer has lost its request
_SMALL_WINDOW = 4096


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. code 0: nothing did, and trouble says why."""

    code: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    gave_up: bool = False
    trouble: str = ""


class Wire:
    """Sends requests one after the other; connects when it must."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._address = (host, int(port))
        self._socket: socket.socket | None = None
        self._reader: io.BufferedReader | None = None

    def post(self, ask: Ask, request_id: str) -> Answer:
        """The answer, whatever it is. Never raises for what the other side does."""
        try:
            return self._post(ask, request_id)
        except TimeoutError:
            self.close()
            return Answer(gave_up=ask.patience is not None, trouble="no answer in time")
        except (OSError, ValueError) as error:
            self.close()
            return Answer(trouble=f"{type(error).__name__}: {error}")

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
        self._socket = self._reader = None

    def _post(self, ask: Ask, request_id: str) -> Answer:
        connection, reader = self._connect(ask)
        # refused before all was sent: the answer may be there all the same
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            _send(connection, ask, request_id)
        connection.settimeout(ask.patience or _PATIENCE_SECONDS)
        answer = _read(reader, ask)
        if answer.headers.get("connection") == "close":
            self.close()
        elif _more(connection, reader):
            return Answer(answer.code, answer.headers, answer.body, trouble="answered twice")
        return answer

    def _connect(self, ask: Ask) -> tuple[socket.socket, io.BufferedReader]:
        if self._socket is None or self._reader is None:
            self._socket = socket.socket()
            if ask.sip:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_WINDOW)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.settimeout(_PATIENCE_SECONDS)
            self._socket.connect(self._address)
            self._reader = self._socket.makefile("rb")
        return self._socket, self._reader


def _send(connection: socket.socket, ask: Ask, request_id: str) -> None:
    headers = {
        "host": "crossrank.test",
        "content-type": "application/json",
        "content-length": str(len(ask.body)),
        "x-request-id": request_id,
        **ask.headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    connection.sendall(f"POST /v1/ranking HTTP/1.1\r\n{lines}\r\n".encode())
    size = -(-len(ask.body) // ask.pieces)
    for start in range(0, len(ask.body), size):
        if start:
            gevent.sleep(ask.gap)
        connection.sendall(ask.body[start : start + size])


def _read(reader: io.BufferedReader, ask: Ask) -> Answer:
    status = reader.readline()
    if not status:
        raise ConnectionResetError("closed without an answer")
    headers: dict[str, str] = {}
    while (line := reader.readline().strip()) != b"":
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    body = _sip(reader, int(headers["content-length"]), ask)
    return Answer(int(status.split()[1]), headers, body)


def _sip(reader: io.BufferedReader, size: int, ask: Ask) -> bytes:
    parts: list[bytes] = []
    while size > 0:
        part = reader.read(min(size, ask.sip or size))
        if not part:
            raise ConnectionResetError("closed in the middle of the answer")
        parts.append(part)
        size -= len(part)
        if ask.sip and size:
            gevent.sleep(ask.gap)
    return b"".join(parts)


def _more(connection: socket.socket, reader: io.BufferedReader) -> bool:
    """Whether there are bytes behind the answer."""
    connection.settimeout(0)
    more = bool(reader.peek(1))
    connection.settimeout(_PATIENCE_SECONDS)
    return more
