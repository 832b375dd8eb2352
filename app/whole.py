"""Whole numbers in request bodies, as JSON Schema means them: 3 and 3.0, but not true or "3"."""

from typing import Annotated

from pydantic import BeforeValidator, Field, Strict


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# The bounds stand inside the validator: only there do they reach the schema.
Whole = Annotated[int, Strict(), BeforeValidator(_whole)]
Count = Annotated[int, Strict(), Field(ge=0), BeforeValidator(_whole)]
Positive = Annotated[int, Strict(), Field(ge=1), BeforeValidator(_whole)]
Priority = Annotated[int, Strict(), Field(ge=0, le=999), BeforeValidator(_whole)]
