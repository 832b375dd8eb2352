"""Golden pairs of every dialect: what goes in, what comes out, what is refused and how.

A file in goldens/ is a list of cases: path, request, and the status and response they get. The
device gives each pair minus a quarter of its length as logit. `*` stands for any id or time.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app import dialects
from engine.types import Limits
from tests.app.serving import Client, app_at, serving, settings
from tests.gate import Gate, by_length

pytestmark = pytest.mark.anyio

NAME = "nvidia/llama-nemotron-rerank-1b-v2"
FOLDER = Path(__file__).parent / "goldens"
CASES = [
    pytest.param(path.stem, case, id=f"{path.stem}: {case['name']}")
    for path in sorted(FOLDER.glob("*.json"))
    for case in json.loads(path.read_text())
]


@pytest.fixture
async def client(bert_folder: Path) -> AsyncIterator[Client]:
    gate = Gate(Limits(16384, 600), score=by_length)
    app = app_at(gate, settings(bert_folder, model_name=NAME, max_passages=5, max_pair_tokens=64))
    async with serving(app, gate) as client:
        gate.open_for_good()
        yield client


@pytest.mark.parametrize(("dialect", "case"), CASES)
async def test_the_answer_is_the_golden_one(
    client: Client, dialect: str, case: dict[str, Any]
) -> None:
    answer = await client.post(case["path"], json=case["request"])
    assert (answer.status_code, starred(answer.json())) == (case["status"], case["response"])


def starred(answer: Any) -> Any:
    """The answer with what differs every time starred out."""
    if isinstance(answer, dict):
        return answer | {key: "*" for key in ("id", "created") if key in answer}
    return answer


def test_every_dialect_has_goldens_with_answers_and_errors() -> None:
    for name in dialects.load():
        cases = json.loads((FOLDER / f"{name}.json").read_text())
        assert {case["status"] < 400 for case in cases} == {True, False}, name
