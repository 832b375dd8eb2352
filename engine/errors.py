"""Every error the engine raises on purpose. None of them knows HTTP; app/errors.py maps them.

CrossrankError
├── StartError            the service cannot start as configured; the message names the remedy
│   └── CheckpointError   this checkpoint cannot be served correctly
├── RequestError          the caller must change the request
│   ├── InvalidTextError  a text is not valid Unicode
│   └── InputTooLongError a pair is over the token limit and truncation was not asked for
├── UnavailableError      not ready yet, or stopping; the request may be sent again
├── OverloadedError       too much is waiting; it carries the seconds after which to try again
├── DeadlineError         the request's time ran out before its scores were there
├── ScoringError          the backend failed on this request, or gave no valid score
└── DeviceLostError       the device computes nothing any more; the process must end
"""


class CrossrankError(Exception):
    """Root of the tree above."""


class StartError(CrossrankError):
    """The service cannot start as configured."""


class CheckpointError(StartError):
    """This checkpoint cannot be served correctly."""


class RequestError(CrossrankError):
    """The caller must change the request."""


class InvalidTextError(RequestError):
    """A text holds code points that are not valid Unicode (lone surrogates)."""


class InputTooLongError(RequestError):
    """A query/passage pair has more tokens than the checkpoint takes."""

    def __init__(self, length: int, limit: int) -> None:
        # The wording is NVIDIA's; clients match on "exceeds maximum allowed".
        super().__init__(f"Input length {length} exceeds maximum allowed token size {limit}")
        self.length = length
        self.limit = limit


class UnavailableError(CrossrankError):
    """The engine is not ready yet, or is stopping."""


class OverloadedError(CrossrankError):
    """Too much is waiting already."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many requests are waiting: try again in {retry_after} s")
        self.retry_after = retry_after


class DeadlineError(CrossrankError):
    """The request's time ran out before its scores were there."""

    def __init__(self) -> None:
        super().__init__(
            "the request's time ran out before it was scored: send fewer passages at a time, or "
            "allow more time"
        )


class ScoringError(CrossrankError):
    """The backend could not score this request."""


class DeviceLostError(CrossrankError):
    """No batch can succeed any more, whatever is in it."""
