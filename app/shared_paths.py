"""Paths that several dialects serve: one route for each, whose body says which dialect it is.

The body's model is a union with a tag for each dialect, so that OpenAPI shows them all and an
error names the fields of the dialect that was meant.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Union, get_type_hints

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from pydantic import Discriminator, Field, Tag

from app import dialects
from app.service import Serving


def router() -> APIRouter:
    """Every dialect's routes, those of one path made one."""
    merged = APIRouter()
    for path in dict.fromkeys(path for _, path in _routes()):
        owners = {name: route for (name, at), route in _routes().items() if at == path}
        if len(owners) == 1:
            merged.routes.extend(owners.values())
        else:
            _add(merged, path, owners)
    return merged


def names(path: str) -> Sequence[str]:
    """The dialects that share a path; none where only one serves it."""
    found = tuple(dialects.serving(path))
    return found if len(found) > 1 else ()


def _routes() -> dict[tuple[str, str], APIRoute]:
    return {
        (name, route.path): route
        for name, dialect in dialects.load().items()
        for route in dialect.router.routes
        if isinstance(route, APIRoute)
    }


def _add(merged: APIRouter, path: str, owners: Mapping[str, APIRoute]) -> None:
    hints = {name: get_type_hints(route.endpoint) for name, route in owners.items()}
    models = {name: hint["request"] for name, hint in hints.items()}
    handlers = {models[name]: (name, route) for name, route in owners.items()}

    async def endpoint(request: Any, http: Request, serving: Serving) -> Any:
        name, route = handlers[type(request)]
        dialects.pick(http.scope, name)
        return await route.endpoint(request, serving)

    claims = {name: dialects.load()[name].CLAIMS.get(path, ()) for name in owners}
    tagged = tuple(
        Annotated[model, Tag(name), Field(json_schema_extra=_marks(name, claims))]
        for name, model in models.items()
    )
    endpoint.__annotations__["request"] = Annotated[Union[tagged], _discriminator(claims)]  # noqa: UP007
    merged.add_api_route(
        path,
        endpoint,
        methods=["POST"],
        tags=[tag for route in owners.values() for tag in route.tags],
        summary="Rank passages",
        description="\n\n".join(
            f"{route.tags[0]}: {route.description}" for route in owners.values()
        ),
        response_model=Union[tuple(hints[name]["return"] for name in owners)],  # noqa: UP007
        response_model_exclude_none=True,
        responses=_responses(owners.values()),
    )


def _marks(name: str, claims: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What OpenAPI adds to a dialect's model: the fields that make a body its own, or another's."""
    others = [field for other in claims if other != name for field in claims[other]]
    marks: dict[str, Any] = {}
    if claims[name]:
        marks["anyOf"] = [{"required": [field]} for field in claims[name]]
    if others:
        marks["not"] = {"anyOf": [{"required": [field]} for field in others]}
    return marks


def _discriminator(claims: Mapping[str, Sequence[str]]) -> Discriminator:
    return Discriminator(
        _chooser(claims), custom_error_type="dialect", custom_error_message=_which(claims)
    )


def _chooser(claims: Mapping[str, Sequence[str]]) -> Callable[[object], str | None]:
    unclaimed = next((name for name, fields in claims.items() if not fields), None)

    def choose(body: object) -> str | None:
        if not isinstance(body, dict):
            return unclaimed
        found = [name for name, fields in claims.items() if not body.keys().isdisjoint(fields)]
        return found[0] if len(found) == 1 else None if found else unclaimed

    return choose


def _which(claims: Mapping[str, Sequence[str]]) -> str:
    ways = [
        f"{' or '.join(fields)} ({dialects.load()[name].router.tags[0]})"
        for name, fields in claims.items()
        if fields
    ]
    return f"send an object with one of {', '.join(ways)}, and not several of them"


def _responses(routes: Any) -> dict[int | str, dict[str, Any]]:
    """Each error status once, with the shapes of all dialects that give it."""
    found: dict[int | str, list[Any]] = {}
    words: dict[int | str, str] = {}
    for route in routes:
        for status, response in route.responses.items():
            found.setdefault(status, []).append(response["model"])
            words[status] = response["description"]
    return {
        status: {"model": Union[tuple(models)], "description": words[status]}  # noqa: UP007
        for status, models in found.items()
    }
