"""The query's ids are computed once where that is exact, and only there."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers

from engine import checkpoint
from engine.config import EngineConfig
from engine.families.llama import TEMPLATE
from engine.pair_form import pair_form
from engine.tokenizer import PairTokenizer
from engine.types import Query
from tests import checkpoints, vocabularies
from tests.engine.test_tokenizer import AWKWARD, texts

LLAMA3 = vocabularies.llama()


def split_ids(tokenizer: Tokenizer, query: str, passage: str) -> list[int]:
    form = pair_form(tokenizer, TEMPLATE)
    texts = [form.query_text, form.passage_text]
    parts = [text.format(query=query, passage=passage) for text in texts]
    ids = [tokenizer.encode(part, add_special_tokens=False).ids for part in parts]
    return [*form.prefix, *ids[0], *form.middle, *ids[1], *form.suffix]


def whole_ids(tokenizer: Tokenizer, query: str, passage: str) -> list[int]:
    return tokenizer.encode(f"question:{query} \n \n passage:{passage}").ids


def test_the_llama_3_tokenizer_computes_the_query_once() -> None:
    form = pair_form(LLAMA3, TEMPLATE)
    assert form.query_text == "question:{query} \n \n passage"
    assert form.passage_text == ":{passage}"


@given(query=texts, passage=texts)
def test_both_halves_of_the_split_give_the_ids_of_the_whole(query: str, passage: str) -> None:
    assert split_ids(LLAMA3, query, passage) == whole_ids(LLAMA3, query, passage)


def test_the_sequence_begins_with_one_bos_and_has_no_end_token() -> None:
    form = pair_form(LLAMA3, TEMPLATE)
    assert form.prefix == (LLAMA3.token_to_id(vocabularies.BOS),)
    assert (form.middle, form.suffix) == ((), ())
    assert split_ids(LLAMA3, "q", "p").count(form.prefix[0]) == 1


def other_regex() -> Tokenizer:
    return vocabularies.llama(split=vocabularies.GPT2_SPLIT)


def with_normalizer() -> Tokenizer:
    tokenizer = vocabularies.llama()
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


def with_prefix_space() -> Tokenizer:
    tokenizer = vocabularies.llama()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return tokenizer


def with_token_over_the_cut() -> Tokenizer:
    tokenizer = vocabularies.llama()
    tokenizer.add_tokens(["passage:"])
    return tokenizer


def with_word_token_after_the_cut() -> Tokenizer:
    tokenizer = vocabularies.llama()
    tokenizer.add_tokens([AddedToken(":the", single_word=True)])
    return tokenizer


@pytest.mark.parametrize(
    "make",
    [
        other_regex,
        with_normalizer,
        with_prefix_space,
        with_token_over_the_cut,
        with_word_token_after_the_cut,
    ],
)
def test_any_other_tokenizer_encodes_the_whole_sequence(
    make: Callable[[], Tokenizer], tmp_path: Path
) -> None:
    tokenizer = make()
    assert pair_form(tokenizer, TEMPLATE).query_text == ""
    folder = checkpoints.llama(tmp_path, tokenizer=tokenizer)
    served = PairTokenizer(checkpoint.load(EngineConfig(checkpoint=str(folder))))
    passages = [*AWKWARD, "the end", " the end"]
    pairs = asyncio.run(served.encode(Query("what is the end?", passages)))
    served.close()
    assert [pair.ids.tolist() for pair in pairs] == [
        whole_ids(tokenizer, "what is the end?", passage) for passage in passages
    ]


@pytest.mark.parametrize("make", [with_token_over_the_cut, with_word_token_after_the_cut])
def test_splitting_there_would_have_been_wrong(make: Callable[[], Tokenizer]) -> None:
    tokenizer = make()
    parts = ["question:q \n \n passage", ":the end"]
    ids = [id for part in parts for id in tokenizer.encode(part, add_special_tokens=False).ids]
    assert ids != whole_ids(tokenizer, "q", "the end")[1:]


@pytest.mark.parametrize(
    ("make", "middle"),
    [(vocabularies.bert, ["[SEP]"]), (vocabularies.xlm_roberta, ["</s>", "</s>"])],
)
def test_a_pair_form_is_the_tokenizers_own(
    make: Callable[[], Tokenizer], middle: list[str]
) -> None:
    tokenizer = make()
    form = pair_form(tokenizer, None)
    assert [tokenizer.id_to_token(id) for id in form.middle] == middle
    assert form.typed == (make is vocabularies.bert)
