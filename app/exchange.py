"""What is known of the request in hand, for layers that never see each other's arguments."""

from contextvars import ContextVar
from dataclasses import dataclass, field

from engine.types import Ranking


@dataclass(slots=True)
class Exchange:
    """One request and its answer.

    timeout_ms: the client's own header, unread. trace_id: from a W3C traceparent. key: the first
    digits of the API key's hash. ranking: what was answered.
    """

    request_id: str = "-"
    timeout_ms: str | None = None
    trace_id: str = ""
    key: str = ""
    ranking: Ranking | None = field(default=None, repr=False)


_current: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


def begin(exchange: Exchange) -> None:
    """Make it the current one, here and in every task started from here."""
    _current.set(exchange)


def current() -> Exchange:
    """The request in hand; an empty one outside of requests."""
    return _current.get() or Exchange()
