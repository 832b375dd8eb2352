"""Errors → status codes and JSON bodies. The only table; each dialect shapes the body."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from app import dialects, shared_paths
from app.names import UnknownModelError
from engine import errors

Location = Sequence[str | int]

STATUS: dict[type[errors.CrossrankError], int] = {
    UnknownModelError: 404,
    errors.RequestError: 422,
    errors.UnavailableError: 503,
    errors.OverloadedError: 429,
    errors.DeadlineError: 504,
    errors.ScoringError: 500,
    errors.CrossrankError: 500,
}
_REASONS = {
    404: "no such path: see /docs for the paths served here",
    405: "this path does not take that method: see /docs",
}
_WORDS = {  # pydantic's problem types in words that say what to change; others keep its own
    "missing": "is required",
    "string_too_short": "must not be empty",
    "too_short": "must hold at least one item",
    "string_type": "must be a string",
    "string_unicode": "must be valid Unicode: it holds a lone surrogate",
    "list_type": "must be a list",
    "model_attributes_type": "must be an object",
    "model_type": "must be an object",
    "dict_type": "must be an object",
}
_SHOWN = 3  # problems named in one message
_NAME_LENGTH = 64


def install(app: FastAPI) -> None:
    """Answer every error in the dialect of its path."""
    app.add_exception_handler(errors.CrossrankError, _engine_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _bug)


def response(path: str, status: int, message: str, **headers: str) -> JSONResponse:
    """The error as the path's dialect writes it."""
    dialect = dialects.at(path)
    status = dialect.STATUSES.get(status, status)
    return JSONResponse(dialect.error_body(status, message), status, headers=headers)


async def _engine_error(request: Request, error: Exception) -> JSONResponse:
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    after = getattr(error, "retry_after", None)
    headers = {} if after is None else {"Retry-After": str(after)}
    return _answer(dialects.of(request.scope), error, status, str(error), **headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems, dialect = error.errors(), dialects.of(request.scope)
    location = problems[0]["loc"]
    if location[1:2] and location[1] in shared_paths.names(request.url.path):
        dialect = dialects.load()[location[1]]
        problems = [{**p, "loc": (location[0], *p["loc"][2:])} for p in problems]
    told = RequestValidationError(problems)
    return _answer(dialect, told, *explain(problems, dialect.fields))


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    message = _REASONS.get(error.status_code, error.detail)
    dialect, headers = dialects.of(request.scope), dict(error.headers or {})
    return _answer(dialect, error, error.status_code, message, **headers)


def _answer(
    dialect: dialects.Dialect, error: Exception, status: int, message: str, **headers: str
) -> JSONResponse:
    status, message = dialect.restate(error, dialect.STATUSES.get(status, status), message)
    return JSONResponse(dialect.error_body(status, message), status, headers=headers)


async def _bug(request: Request, error: Exception) -> JSONResponse:
    return response(request.url.path, 500, "internal error: the server's log has the details")


def explain(
    problems: Sequence[Any], fields: Callable[[Location], Sequence[str]]
) -> tuple[int, str]:
    """Status and message for pydantic's list of problems. Never holds the input's values.

    fields: the names that are allowed at a location. The wording of an unknown field is NIM's.
    """
    if problems[0]["type"] == "json_invalid":
        return 400, f"the body is not valid JSON (at byte {problems[0]['loc'][-1]})"
    for problem in problems:
        if problem["type"] == "extra_forbidden":
            names = fields(problem["loc"])
            allowed = f"one of {', '.join(names)}" if len(names) > 1 else names[0]
            return 400, f"{_place(problem['loc'])}: unknown field, expected {allowed}"
    shown = [f"{_place(p['loc'])}: {_words(p)}" for p in problems[:_SHOWN]]
    more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
    return 422, "; ".join(shown + more)


def malformed(error: Exception) -> bool:
    """Whether the body is not JSON."""
    problems = error.errors() if isinstance(error, RequestValidationError) else ()
    return any(problem["type"] == "json_invalid" for problem in problems)


def unknown_field(error: Exception) -> str | None:
    """The first field, safe to print, that the dialect does not have; None if there is none."""
    problems = error.errors() if isinstance(error, RequestValidationError) else ()
    found = (p["loc"] for p in problems if p["type"] == "extra_forbidden")
    return next(map(_place, found), None)


def _words(problem: Mapping[str, Any]) -> str:
    return str(_WORDS.get(problem["type"], problem["msg"]))


def _place(location: Location) -> str:
    """("body", "passages", 3, "text") → passages[3].text, safe to print."""
    path = ""
    for part in location[1:]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    path = path.removeprefix(".") or "body"
    return ascii(path[:_NAME_LENGTH])[1:-1]
