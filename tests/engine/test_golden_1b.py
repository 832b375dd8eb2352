"""The logits that NVIDIA publishes for nvidia/llama-nemotron-rerank-1b-v2, on its real weights."""

import asyncio
import os

import pytest

from engine.config import EngineConfig
from engine.reranker import Reranker
from engine.types import Query, Ranking

FOLDER = os.environ.get("NEMOTRON_1B_FOLDER")
TOLERANCE = 0.25  # the card's logits are bfloat16: steps of 0.125 at this size
# Source: the model card's example.
QUERY = "how much protein should a female eat?"
CARD = [
    (
        20.6250,
        "As a general guideline, the CDC's average requirement of protein for women ages 19 to 70 "
        "is 46 grams per day. But, as you can see from this chart, you'll need to increase that if "
        "you're expecting or training for a marathon. Check out the chart below to see how much "
        "protein you should be eating each day.",
    ),
    (
        -23.1250,
        "Definition of summit for English Language Learners. : 1  the highest point of a mountain "
        ": the top of a mountain. : 2  the highest level. : 3  a meeting or series of meetings "
        "between the leaders of two or more governments.",
    ),
    (
        -0.2617,
        "Calorie intake should not fall below 1,200 a day in women or 1,500 a day in men, except "
        "under the supervision of a health professional.",
    ),
]


async def rank(folder: str) -> Ranking:
    reranker = Reranker(EngineConfig(checkpoint=folder))
    await reranker.start()
    try:
        return await reranker.rank(Query(QUERY, [passage for _, passage in CARD]))
    finally:
        await reranker.stop()


@pytest.mark.skipif(
    FOLDER is None,
    reason="set NEMOTRON_1B_FOLDER to a folder with the weights of llama-nemotron-rerank-1b-v2",
)
def test_the_model_cards_logits_come_out() -> None:
    assert FOLDER is not None
    ranking = asyncio.run(rank(FOLDER))
    assert [ranked.index for ranked in ranking.results] == [0, 2, 1]
    for ranked in ranking.results:
        assert ranked.logit == pytest.approx(CARD[ranked.index][0], abs=TOLERANCE)
