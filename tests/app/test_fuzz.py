"""Schemathesis sends what the OpenAPI document allows and forbids; the service keeps its word."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi import schemas  # noqa: F401 - late imports race in ast.parse
from schemathesis.specs.openapi.checks import positive_data_acceptance

from app.main import create_app
from tests.app import serving

EXAMPLES = 40  # requests for each operation in each mode


@pytest.fixture(scope="module")
def url(bert_folder: Path) -> Iterator[str]:
    """A real server on a free loopback port, on the fake backend."""
    with serving.listening(create_app(serving.settings(bert_folder, backend="fake"))) as address:
        yield address


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_answer_is_one_the_document_describes(url: str, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    assert len(operations) > 10
    for operation in operations:
        _fuzz(operation, mode)


def _fuzz(operation: Any, mode: GenerationMode) -> None:
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    def answers(case: Any) -> None:
        unstated = [positive_data_acceptance] if _beyond_a_schema(case) else []
        case.call_and_validate(excluded_checks=unstated)

    with contextlib.suppress(Unsatisfiable):  # an operation without input has no invalid input
        answers()


def _beyond_a_schema(case: Any) -> bool:
    """What no schema can say: that two lists are of one length, that objects have these fields."""
    named = isinstance(case.body, dict) and bool(case.body.get("rank_fields"))
    return named or str(case.operation.path).endswith("/score")
