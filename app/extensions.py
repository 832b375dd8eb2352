"""What lenient mode adds to NIM's requests: fields the original refuses."""

from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, ValidationError

from app.whole import Count, Positive


class Extensions(BaseModel):
    """The fields of other dialects that NIM's users miss most."""

    model_config = ConfigDict(strict=True)
    top_n: Positive | None = None
    return_documents: bool | None = None
    priority: Count | None = None


NAMES = tuple(Extensions.model_fields)


def hide(schema: dict[str, Any]) -> None:
    """Leave them out of OpenAPI: without lenient mode they are refused."""
    for name in NAMES:
        del schema["properties"][name]


def extensions(request: BaseModel, lenient: bool) -> Extensions:
    """Raises RequestValidationError, as for any unknown field, unless lenient mode is on."""
    given = {name: getattr(request, name) for name in NAMES if name in request.model_fields_set}
    if given and not lenient:
        raise RequestValidationError(
            [{"type": "extra_forbidden", "loc": ("body", name)} for name in given]
        )
    try:
        return Extensions.model_validate(given)
    except ValidationError as error:
        raise RequestValidationError(
            [{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors()]
        ) from error
