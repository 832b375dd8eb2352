"""Traces and metrics reach a real collector endpoint over OTLP/HTTP, with the spans promised."""

import gzip
import http.server
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from loadtests.process import crossrank, post, url_when_ready
from tests.app.serving import ranking

TRACE_ID, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector(http.server.BaseHTTPRequestHandler):
    """Keeps what is posted to it."""

    received: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.received.append((self.path, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def collector() -> Iterator[http.server.ThreadingHTTPServer]:
    kept = type("Kept", (Collector,), {"received": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kept) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_spans_and_metrics_are_exported(
    collector: http.server.ThreadingHTTPServer, bert_folder: Path
) -> None:
    settings = {
        "CROSSRANK_CHECKPOINT": str(bert_folder),
        "CROSSRANK_BACKEND": "fake",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}",
        "OTEL_SERVICE_NAME": "reranker-under-test",
    }
    with crossrank(**settings) as process:
        url = url_when_ready(process)
        post(f"{url}/v1/ranking", ranking(), traceparent=f"00-{TRACE_ID}-{PARENT}-01")
        process.send_signal(signal.SIGTERM)
        process.communicate()
    received = collector.RequestHandlerClass.received  # type: ignore[attr-defined]
    assert {path for path, _ in received} >= {"/v1/traces", "/v1/metrics"}
    spans: dict[str, Span] = {}
    for path, body in received:
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                assert "reranker-under-test" in str(resource.resource)
                spans |= {s.name: s for scope in resource.scope_spans for s in scope.spans}
    request = spans["POST /v1/ranking"]
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE_ID, PARENT)
    for stage in ("tokenize", "queue", "score"):
        assert spans[stage].trace_id == request.trace_id
        assert spans[stage].start_time_unix_nano <= spans[stage].end_time_unix_nano
    [link] = spans["batch"].links
    assert link.trace_id == request.trace_id
    assert link.span_id in {span.span_id for span in spans.values()}
    assert spans["batch"].trace_id != request.trace_id
