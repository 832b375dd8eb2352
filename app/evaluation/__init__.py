"""Ranking quality on BEIR-format folders: what `crossrank eval` is made of, one file a step."""

from engine.errors import CrossrankError

_SHOWN = 64  # characters of an id in a message


class EvaluationError(CrossrankError):
    """The evaluation cannot go on; the message says what to change."""


def shown(identifier: str) -> str:
    """An id from the user's own files, safe to print on a terminal."""
    return ascii(identifier[:_SHOWN])


def missing_extra(what: str, error: ImportError) -> EvaluationError:
    """The error for a library that only the extra `eval` brings."""
    return EvaluationError(
        f"{what} needs {error.name}: install the extra with pip install -c constraints.txt "
        "-e '.[eval]'"
    )
