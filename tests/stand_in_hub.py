"""A model hub on the loopback: the calls that huggingface_hub makes to download a snapshot."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

REPO = "acme/tiny-reranker"
COMMIT = "1234567890abcdef1234567890abcdef12345678"
_TREE = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/(tree|revision)/(?P<revision>[^/?]+)")
_FILE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)")


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked for; header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(slots=True)
class Hub:
    """One repository with one commit, and the ways it can misbehave.

    refusal: a status and the hub's error code for every call. cuts: how often the connection ends
    after half of each answer with that file's content.
    """

    files: dict[str, bytes]
    url: str = ""
    refusal: tuple[int, str] | None = None
    cuts: dict[str, int] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def asked_for(self, name: str) -> list[Request]:
        """The downloads of one file."""
        return [r for r in self.requests if r.method == "GET" and r.path.endswith("/" + name)]


@contextmanager
def serve(folder: Path) -> Iterator[Hub]:
    """A hub that holds the folder's files."""
    hub = Hub({path.name: path.read_bytes() for path in folder.iterdir()})
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def _answer(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.requests.append(Request(self.command, self.path, headers))
        tree, file = _TREE.match(self.path), _FILE.fullmatch(self.path)
        found = tree or file
        if self.hub.refusal:
            self._refuse(*self.hub.refusal)
        elif not found or found["repo"] != REPO:
            self._refuse(404, "RepoNotFound")
        elif found["revision"] not in ("main", COMMIT):
            self._refuse(404, "RevisionNotFound")
        elif file:
            self._send_file(file["name"])
        else:
            self._send_json(self._listing() if "/tree/" in self.path else {"id": REPO})

    def _listing(self) -> list[dict[str, object]]:
        return [
            {"type": "file", "path": name, "size": len(content), "oid": _etag(content)}
            for name, content in self.hub.files.items()
        ]

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send_json(self, value: object) -> None:
        body = json.dumps({**value, "sha": COMMIT} if isinstance(value, dict) else value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_file(self, name: str) -> None:
        content = self.hub.files[name]
        start = int((self.headers["Range"] or "bytes=0-")[len("bytes=") : -1])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", f'"{_etag(content)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self._send_body(name, content[start:])

    def _send_body(self, name: str, body: bytes) -> None:
        if self.hub.cuts.get(name):
            self.hub.cuts[name] -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)


def _etag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
