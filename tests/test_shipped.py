"""The shipped checkpoint ranks ordinary questions sensibly; the README shows its real answer."""

import json
import re
from pathlib import Path

import pytest

from app.main import create_app
from app.settings import SHIPPED_CHECKPOINT
from engine import EngineConfig, Query, Reranker
from tests.app.serving import serving, settings

pytestmark = pytest.mark.anyio

EVERYDAY_SHARE = 0.8  # of ordinary questions, right passage first: what the card promises
# What float32 sums may differ by from one processor to the next.
LOGIT_TOLERANCE = 1e-3
ROOT = Path(__file__).resolve().parent.parent


async def test_ordinary_questions_come_back_with_the_right_passage_first() -> None:
    lines = (SHIPPED_CHECKPOINT / "dev.jsonl").read_text().splitlines()
    questions = [item for item in map(json.loads, lines) if item["kind"] == "everyday"]
    assert len(questions) >= 50
    reranker = Reranker(EngineConfig(checkpoint=str(SHIPPED_CHECKPOINT)))
    await reranker.start()
    right = 0
    for item in questions:
        ranking = await reranker.rank(Query(item["question"], item["passages"]))
        right += ranking.results[0].index == item["answer"]
    await reranker.stop()
    assert right >= EVERYDAY_SHARE * len(questions)


async def test_the_readme_s_curl_gets_the_readme_s_answer() -> None:
    readme = (ROOT / "README.md").read_text()
    section = readme.split("## A first ranking\n", 1)[1].split("\n## ", 1)[0]
    [path, body] = re.findall(r"localhost:8000(\S+).*? -d '(.*?)'\n", section, re.DOTALL)[0]
    [shown] = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
    headers = {"Content-Type": "application/json"}
    async with serving(create_app(settings(SHIPPED_CHECKPOINT))) as client:
        answer = (await client.post(path, content=body, headers=headers)).json()
    expected = json.loads(shown)
    assert answer["usage"] == expected["usage"]
    for got, wanted in zip(answer["rankings"], expected["rankings"], strict=True):
        assert got["index"] == wanted["index"]
        assert got["logit"] == pytest.approx(wanted["logit"], abs=LOGIT_TOLERANCE)
