"""The log: text or JSON lines on standard error. Nothing here ever sees a request's text."""

import json
import logging
import sys

from app import exchange


class _JsonFormatter(logging.Formatter):
    """One JSON object a line, with the ids of the request in hand."""

    def format(self, record: logging.LogRecord) -> str:
        request = exchange.current()
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname,
            "logger": record.name,
            "request_id": request.request_id,
            "trace_id": request.trace_id,
            "key": request.key,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps({name: value for name, value in entry.items() if value})


def configure(level: str, form: str) -> None:
    """Send every log line to standard error, as text or as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(_JsonFormatter() if form == "json" else text)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
    for name in ("httpx", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)
