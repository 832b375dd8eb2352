"""The façade: order, invariance, cancellation, limits and shutdown, on tiny real checkpoints."""

import asyncio
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from engine.config import EngineConfig
from engine.errors import InputTooLongError, StartError, UnavailableError
from engine.reranker import Reranker
from engine.types import Batch, Limits, Logits, Query, Ranking, Truncate
from tests.gate import Gate, settle

pytestmark = pytest.mark.anyio
# float32 sums in another order; a pair's score may move by this much with its company
COMPANY_TOLERANCE = 1e-5
WORDS = ["the", "a", "rain", "river", "stone", "bread", "how", "why", "green", "over", "walks"]


@asynccontextmanager
async def started(config: EngineConfig, gate: Gate | None = None) -> AsyncIterator[Reranker]:
    reranker = Reranker(config, lambda checkpoint, config: gate) if gate else Reranker(config)
    await reranker.start()
    try:
        yield reranker
    finally:
        if gate:
            gate.open_for_good()
        await reranker.stop()


def passages(count: int, seed: int = 1) -> list[str]:
    """Passages of varied length."""
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 30))) for _ in range(count)]


def logits(ranking: Ranking) -> list[float]:
    """Logits in the request's order."""
    return [item.logit for item in sorted(ranking.results, key=lambda item: item.index)]


def equal_scores(batch: Batch) -> Logits:
    return np.zeros(batch.rows, dtype=np.float32)


async def test_every_passage_comes_back_once_highest_logit_first(llama_folder: Path) -> None:
    async with started(EngineConfig(checkpoint=str(llama_folder))) as reranker:
        ranking = await reranker.rank(Query("how green", passages(40)))
    assert sorted(item.index for item in ranking.results) == list(range(40))
    assert [r.logit for r in ranking.results] == sorted(logits(ranking), reverse=True)
    assert len(set(logits(ranking))) > 10


async def test_ties_keep_the_order_of_the_request(bert_folder: Path) -> None:
    gate = Gate(Limits(4096, 64), score=equal_scores)
    async with started(EngineConfig(checkpoint=str(bert_folder)), gate) as reranker:
        gate.open_for_good()
        ranking = await reranker.rank(Query("q", passages(9)))
    assert [item.index for item in ranking.results] == list(range(9))


async def test_a_score_does_not_depend_on_its_company(
    llama_folder: Path, bert_folder: Path, xlmr_folder: Path
) -> None:
    for folder in (llama_folder, bert_folder, xlmr_folder):
        texts = passages(24)
        async with started(EngineConfig(checkpoint=str(folder))) as reranker:
            together = logits(await reranker.rank(Query("why rain", texts)))
            alone = [logits(await reranker.rank(Query("why rain", [t])))[0] for t in texts]
            crowd = [reranker.rank(Query("why rain", [t])) for t in reversed(texts)]
            shared = [logits(ranking)[0] for ranking in await asyncio.gather(*crowd)]
        np.testing.assert_allclose(together, alone, atol=COMPANY_TOLERANCE)
        np.testing.assert_allclose(together, shared[::-1], atol=COMPANY_TOLERANCE)


async def test_usage_counts_every_pair_and_truncation_is_reported(bert_folder: Path) -> None:
    config = EngineConfig(checkpoint=str(bert_folder), max_pair_tokens=16)
    async with started(config) as reranker:
        query = Query("how", ["rain", "stone " * 50], Truncate.END)
        ranking = await reranker.rank(query)
        assert ranking.truncated == {1}
        alone = await reranker.rank(Query("how", ["rain"]))
        assert ranking.tokens == alone.tokens + 16
        with pytest.raises(InputTooLongError, match=r"exceeds maximum allowed token size 16$"):
            await reranker.rank(Query("how", ["rain", "stone " * 50]))


async def test_a_cancelled_caller_takes_its_pairs_along(bert_folder: Path) -> None:
    gate = Gate(Limits(512, 2))
    async with started(EngineConfig(checkpoint=str(bert_folder)), gate) as reranker:
        gone = asyncio.create_task(reranker.rank(Query("q", passages(40))))
        await gate.batch()
        assert reranker.waiting.pairs == 38
        gone.cancel()
        await settle()
        assert (reranker.waiting.pairs, reranker.waiting.requests) == (0, 0)


async def test_stopping_answers_what_was_accepted(bert_folder: Path) -> None:
    gate = Gate(Limits(512, 2))
    async with started(EngineConfig(checkpoint=str(bert_folder)), gate) as reranker:
        accepted = asyncio.create_task(reranker.rank(Query("q", passages(8))))
        await gate.batch()
        stopping = asyncio.create_task(reranker.stop())
        await settle()
        with pytest.raises(UnavailableError):
            await reranker.rank(Query("q", ["late"]))
        gate.open_for_good()
        assert len((await accepted).results) == 8
        await stopping


async def test_nothing_is_ranked_before_the_start(bert_folder: Path) -> None:
    with pytest.raises(UnavailableError):
        await Reranker(EngineConfig(checkpoint=str(bert_folder))).rank(Query("q", ["p"]))


async def test_a_batch_must_hold_the_longest_pair(bert_folder: Path) -> None:
    config = EngineConfig(checkpoint=str(bert_folder), max_batch_tokens=20)
    with pytest.raises(StartError, match=r"holds 20 tokens, but one pair may have"):
        await Reranker(config).start()


async def test_an_unknown_backend_is_refused_with_the_known_ones(bert_folder: Path) -> None:
    config = EngineConfig(checkpoint=str(bert_folder), backend="abacus")
    with pytest.raises(StartError, match="fake, tensorrt, torch"):
        await Reranker(config).start()


async def test_the_fake_backend_serves_without_a_model(bert_folder: Path) -> None:
    config = EngineConfig(checkpoint=str(bert_folder), backend="fake")
    async with started(config) as reranker:
        first, second = [await reranker.rank(Query("q", passages(5))) for _ in range(2)]
    assert first.results == second.results


def test_importing_the_engine_needs_no_torch_no_web_framework_and_no_transformers() -> None:
    code = (
        "import sys, engine, engine.reranker, engine.backends.fake;"
        "heavy = {'torch', 'fastapi', 'starlette', 'pydantic', 'transformers', 'tensorrt'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
