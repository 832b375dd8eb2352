"""What the dialects call documents: strings, or objects that hold their text."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, Field, PlainValidator
from pydantic_core import PydanticCustomError

from engine.errors import RequestError


class TextObject(BaseModel):
    """A text in an object, as requests may send it and answers return it."""

    text: str


def _string_or_object(value: object) -> str | dict[str, Any]:
    if isinstance(value, str | dict):
        return value
    raise PydanticCustomError("document_type", "must be a string or an object with a text")


Document = Annotated[
    str | dict[str, Any],
    PlainValidator(_string_or_object, json_schema_input_type=str | TextObject),
]
Documents = Annotated[list[Document], Field(min_length=1)]


def texts(documents: Sequence[str | dict[str, Any]], fields: Sequence[str] = ()) -> list[str]:
    """The text of each document: the named fields of an object, in their order, else `text`.

    Raises RequestError for an object that holds none of them as a string.
    """
    return [
        document if isinstance(document, str) else _joined(i, document, fields or ("text",))
        for i, document in enumerate(documents)
    ]


def _joined(index: int, document: dict[str, Any], fields: Sequence[str]) -> str:
    found = [document[name] for name in fields if isinstance(document.get(name), str)]
    if not found:
        raise RequestError(
            f"documents[{index}]: has no text to rank: send a string, or an object with strings in "
            "the fields to rank by (text, unless rank_fields names others)"
        )
    return "\n".join(found)


def _no_instruction(value: object) -> None:
    if value is not None:
        raise PydanticCustomError("instruction", "cannot be followed by this model: leave it out")


Instruction = Annotated[None, PlainValidator(_no_instruction, json_schema_input_type=None)]
