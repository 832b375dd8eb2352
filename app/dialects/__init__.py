"""Dialects: one file each, found by being here. A dialect is a router, its models and its errors.

Adding one is adding a module with `router`, `error_body` and `fields`, and its golden pairs.
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Protocol, cast

from fastapi import APIRouter
from fastapi.routing import APIRoute

DEFAULT = "nim"  # whose errors answer paths that belong to no dialect


class Dialect(Protocol):
    """What a dialect's module holds."""

    __name__: str
    router: APIRouter
    STATUSES: Mapping[int, int]  # where the original's codes differ from app/errors.py

    def error_body(self, status: int, message: str) -> Mapping[str, Any]:
        """The JSON body of an error."""
        ...

    def fields(self, location: Sequence[str | int]) -> Sequence[str]:
        """The field names allowed where pydantic found an unknown one."""
        ...


@cache
def load() -> Mapping[str, Dialect]:
    """Every dialect, by name."""
    names = [info.name for info in pkgutil.iter_modules(__path__)]
    return {name: cast(Dialect, importlib.import_module(f"{__name__}.{name}")) for name in names}


def at(path: str) -> Dialect:
    """The dialect that owns a path."""
    for dialect in load().values():
        for route in dialect.router.routes:
            if isinstance(route, APIRoute) and route.path_regex.match(path):
                return dialect
    return load()[DEFAULT]
