"""Dialects: one file each, found by being here. A dialect is a router, its models and its errors.

Adding one is adding a module that holds what `Dialect` says, and its golden pairs.
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Protocol, cast

from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.types import Scope

from app.scores import Scored

DEFAULT = "nim"  # whose errors answer paths that belong to no dialect
_PICKED = "crossrank.dialect"


class Dialect(Protocol):
    """What a dialect's module holds.

    CLAIMS: for a path that other dialects serve too, the fields any of which make a body this
    dialect's. On a shared path without an entry it takes the bodies that nobody claims.
    ASKED_AT: the path at which a server that speaks it is asked, as `crossrank eval` does.
    """

    __name__: str
    router: APIRouter
    STATUSES: Mapping[int, int]  # where the original's codes differ from app/errors.py
    CLAIMS: Mapping[str, Sequence[str]]
    ASKED_AT: str

    def error_body(self, status: int, message: str) -> Mapping[str, Any]:
        """The JSON body of an error."""
        ...

    def fields(self, location: Sequence[str | int]) -> Sequence[str]:
        """The field names allowed where pydantic found an unknown one."""
        ...

    def restate(self, error: Exception, status: int, message: str) -> tuple[int, str]:
        """The original's words for an error, and its status where STATUSES cannot tell."""
        ...

    def ask(self, query: str, passages: Sequence[str], model: str | None) -> BaseModel:
        """A request to rank them all: over-long pairs cut, logits where there is a choice."""
        ...

    def ranked(self, answer: Any) -> Sequence[Scored]:
        """What an answer's JSON says, most relevant first. Only what is needed of it is read."""
        ...


@cache
def load() -> Mapping[str, Dialect]:
    """Every dialect, by name."""
    names = [info.name for info in pkgutil.iter_modules(__path__)]
    return {name: cast(Dialect, importlib.import_module(f"{__name__}.{name}")) for name in names}


def serving(path: str) -> dict[str, APIRoute]:
    """The dialects that serve a path, by name, and with which route."""
    return {
        name: route
        for name, dialect in load().items()
        for route in dialect.router.routes
        if isinstance(route, APIRoute) and route.path_regex.match(path)
    }


def at(path: str) -> Dialect:
    """The dialect whose errors a path has, as long as nothing is known of the body.

    On a shared path: whose bodies nobody claims, else the default's.
    """
    names = serving(path)
    unclaimed = [name for name in names if path not in load()[name].CLAIMS]
    first = next(iter(unclaimed if unclaimed or DEFAULT in names else names), DEFAULT)
    return load()[first]


def pick(scope: Scope, name: str) -> None:
    """Remember which dialect a request's body has chosen."""
    scope[_PICKED] = name


def name_of(scope: Scope) -> str:
    """The dialect a request was answered in; none where its path is no dialect's."""
    if _PICKED in scope:
        return str(scope[_PICKED])
    owners = serving(scope["path"])
    return next(iter(owners)) if len(owners) == 1 else "none"


def of(scope: Scope) -> Dialect:
    """The dialect of a request: its body's choice, else its path's."""
    return load()[scope[_PICKED]] if _PICKED in scope else at(scope["path"])
