"""A request's own limits: a cap for each passage, a cap for the pair, and a cut from the left."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from engine import checkpoint, clipping
from engine.config import EngineConfig
from engine.errors import InputTooLongError
from engine.tokenizer import PairTokenizer
from engine.types import Checkpoint, Pair, Query, Truncate
from tests import checkpoints, vocabularies

LLAMA3 = vocabularies.llama()
WORDS = "rain river stone bread the over"
texts = st.lists(st.sampled_from(["rain", " bread", "é日", " \n", "unbelievable", "🙂", ""])).map(
    "".join
)


@pytest.fixture(
    scope="module", params=[checkpoints.llama, checkpoints.bert, checkpoints.xlm_roberta]
)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder: Path = request.param(tmp_path_factory.mktemp("clipping") / "model")
    return checkpoint.load(EngineConfig(checkpoint=str(folder)))


def encode(loaded: Checkpoint, query: Query, limit: int = 1000) -> list[Pair]:
    tokenizer = PairTokenizer(replace(loaded, max_pair_tokens=limit), threads=1)
    try:
        return asyncio.run(tokenizer.encode(query))
    finally:
        tokenizer.close()


def ids(loaded: Checkpoint, query: str, passage: str) -> list[int]:
    (pair,) = encode(loaded, Query(query, [passage]))
    found: list[int] = pair.ids.tolist()
    return found


@given(text=texts, count=st.integers(min_value=0, max_value=12))
def test_the_first_tokens_are_a_beginning_with_no_more_than_asked(text: str, count: int) -> None:
    kept = clipping.first(LLAMA3, text, count)
    assert text.startswith(kept)
    assert size(LLAMA3, kept) <= count
    assert kept == text or size(LLAMA3, text) > count


@given(text=texts.filter(bool), count=st.integers(min_value=1, max_value=12))
def test_what_is_left_is_an_end_and_always_shorter(text: str, count: int) -> None:
    kept = clipping.without_first(LLAMA3, text, count)
    assert text.endswith(kept)
    assert len(kept) < len(text)


def size(tokenizer: Tokenizer, text: str) -> int:
    return len(tokenizer.encode(text, add_special_tokens=False))


def test_a_passage_cap_cuts_every_long_passage_and_no_other(loaded: Checkpoint) -> None:
    long = f"{WORDS} {WORDS} {WORDS}"
    short, cut = encode(loaded, Query("why", ["rain", long], max_passage_tokens=8))
    assert (short.truncated, cut.truncated) == (False, True)
    whole = Tokenizer.from_file(str(loaded.folder / "tokenizer.json"))
    assert cut.ids.tolist() == ids(loaded, "why", clipping.first(whole, long, 8))
    assert short.ids.tolist() == ids(loaded, "why", "rain")


def test_a_passage_cap_needs_no_permission_to_cut_the_pair(loaded: Checkpoint) -> None:
    query = Query("why", ["rain " * 500], Truncate.NONE, max_passage_tokens=5)
    (pair,) = encode(loaded, query, limit=100)
    assert pair.truncated


def test_a_request_may_lower_the_pair_limit_and_never_raise_it(loaded: Checkpoint) -> None:
    for asked, held in ((20, 20), (5000, 60)):
        query = Query("why", ["rain " * 500], Truncate.END, max_pair_tokens=asked)
        (pair,) = encode(loaded, query, limit=60)
        assert pair.tokens == held
    with pytest.raises(InputTooLongError, match="maximum allowed token size 20"):
        encode(loaded, Query("why", ["rain " * 500], max_pair_tokens=20), limit=60)


def test_a_cut_from_the_left_keeps_the_query_the_template_and_the_end(loaded: Checkpoint) -> None:
    passage = f"{WORDS} {WORDS} {WORDS} the end is near"
    (pair,) = encode(loaded, Query("why", [passage], Truncate.START), limit=24)
    assert pair.truncated
    assert 24 - 8 < pair.tokens <= 24
    assert pair.ids.tolist() in [ids(loaded, "why", passage[n:]) for n in range(len(passage))]


def test_a_cut_from_the_left_leaves_what_fits(loaded: Checkpoint) -> None:
    (pair,) = encode(loaded, Query("why", ["rain"], Truncate.START), limit=60)
    assert not pair.truncated
    assert pair.ids.tolist() == ids(loaded, "why", "rain")


def test_a_query_over_the_limit_is_cut_even_when_the_passage_is_gone(loaded: Checkpoint) -> None:
    (pair,) = encode(loaded, Query("why " * 100, ["rain"], Truncate.START), limit=30)
    assert pair.truncated
    assert pair.tokens == 30
