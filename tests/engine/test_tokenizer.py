"""Token ids equal transformers' own, on text of every awkward kind."""

import asyncio
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from engine import checkpoint
from engine.config import EngineConfig
from engine.errors import InputTooLongError, InvalidTextError
from engine.tokenizer import PairTokenizer
from engine.types import Pair, Query, Truncate
from tests import checkpoints

AWKWARD = [
    "How much protein should a female eat?",
    "",
    " ",
    "   leading and trailing spaces   ",
    "\n\n",
    "\r\n a \t b\u00a0\u2003c\u200b ",
    ": starts with a colon",
    "ends with a colon:",
    "'s starts with a suffix, and it'll end like IT'S",
    "12345678901234567890 3.14159 ١٢٣٤٥",
    "🙂🙃 👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪",
    "日本語の文章をここに書きます。中文字符，没有空格。한국어",
    "e\u0301e\u0301\u0301\u0301 Zalgo\u0322\u0334\u0335 \u0301starts with a mark",
    "שלום עולם مرحبا بالعالم \u202eright to left\u202c",
    "nul\0inside\0",
    "\ufeffbom \ufffd \U0010ffff \x1b[0m",
    "<|begin_of_text|><|eot_id|> <|end_of_text|>passage:<|eot_id|>",
    "[CLS] [SEP][MASK] [PAD] <s></s><mask> <pad> <unk>",
    "question:x \n \n passage:y",
    "{query} {passage} {0} {{}} %s",
    "ﬁ ligature, Ⅷ, ½, ſtraße, İstanbul, ǅ",
]
HUGE_WORD = "abcdefghij" * 10_240
fragments = st.sampled_from([*AWKWARD, *" \n:'-.eagé日\u0301", "passage", "<|eot_id|>", "[SEP]"])
texts = st.lists(st.one_of(fragments, st.text(max_size=8)), max_size=6).map("".join)


class Served:
    """One family's tokenizer, and the reference's ids and types for a pair."""

    def __init__(self, folder: Path) -> None:
        self.checkpoint = checkpoint.load(EngineConfig(checkpoint=str(folder)))
        self.reference: Any = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))

    def encode(self, query: Query, limit: int = 1_000_000, threads: int = 1) -> list[Pair]:
        tokenizer = PairTokenizer(replace(self.checkpoint, max_pair_tokens=limit), threads)
        try:
            return asyncio.run(tokenizer.encode(query))
        finally:
            tokenizer.close()

    def expected(self, query: str, passage: str, **options: Any) -> tuple[list[int], list[int]]:
        if self.checkpoint.family == "llama":
            columns = [[f"question:{query} \n \n passage:{passage}"]]
        else:
            columns = [[query], [passage]]  # lists: it takes a lone empty passage for none at all
        found = self.reference(*columns, return_token_type_ids=True, **options)
        return found["input_ids"][0], found["token_type_ids"][0]


def ids_and_types(pair: Pair) -> tuple[list[int], list[int]]:
    return pair.ids.tolist(), [0] * pair.split + [1] * (pair.tokens - pair.split)


@pytest.fixture(
    scope="module", params=[checkpoints.llama, checkpoints.bert, checkpoints.xlm_roberta]
)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Served:
    return Served(request.param(tmp_path_factory.mktemp("tokenizer") / "model"))


@pytest.mark.parametrize("query", AWKWARD)
def test_ids_and_types_equal_the_reference_on_awkward_text(served: Served, query: str) -> None:
    pairs = served.encode(Query(query, AWKWARD))
    for pair, passage in zip(pairs, AWKWARD, strict=True):
        assert ids_and_types(pair) == served.expected(query, passage)
        assert not pair.truncated


@given(query=texts, passages=st.lists(texts, min_size=1, max_size=3))
def test_ids_and_types_equal_the_reference_on_any_text(
    served: Served, query: str, passages: list[str]
) -> None:
    pairs = served.encode(Query(query, passages))
    assert [ids_and_types(pair) for pair in pairs] == [
        served.expected(query, passage) for passage in passages
    ]


@given(query=texts, passage=texts, limit=st.integers(min_value=8, max_value=60))
def test_end_cuts_as_the_reference_cuts(
    served: Served, query: str, passage: str, limit: int
) -> None:
    (pair,) = served.encode(Query(query, [passage], Truncate.END), limit)
    whole, types = served.expected(query, passage)
    assert pair.truncated == (len(whole) > limit)
    if served.checkpoint.family == "llama":
        assert ids_and_types(pair) == (whole[:limit], types[:limit])
        return
    query_ids = served.reference(query, add_special_tokens=False)["input_ids"]
    specials, special_types = served.expected("", "")
    room = limit - len(specials)
    if len(query_ids) < room:
        cut = served.expected(query, passage, truncation="only_second", max_length=limit)
        assert ids_and_types(pair) == cut
    else:  # the reference gives up here: the query is cut last, and the special tokens stay
        ids = [specials[0], *query_ids[:room], *specials[1:]]
        assert ids_and_types(pair) == (ids, [0] * (len(query_ids[:room]) + 1) + special_types[1:])


def test_one_word_of_100_kilobytes_is_tokenized_exactly(served: Served) -> None:
    for query, passage in (("q", HUGE_WORD), (HUGE_WORD, "p")):
        (pair,) = served.encode(Query(query, [passage]))
        assert ids_and_types(pair) == served.expected(query, passage)
        (pair,) = served.encode(Query(query, [passage], Truncate.END), limit=500)
        assert pair.tokens <= 500


def test_many_passages_keep_their_order(served: Served) -> None:
    passages = [f"passage {n} " * (n % 7) for n in range(200)]
    pairs = served.encode(Query("q", passages), threads=3)
    assert [ids_and_types(p) for p in pairs] == [served.expected("q", p) for p in passages]


def test_none_refuses_with_the_longest_pairs_length_and_the_limit(served: Served) -> None:
    passages = [*["short"] * 100, "x y " * 40, *["short"] * 100, "x y " * 50, "short"]
    longest = len(served.expected("q", "x y " * 50)[0])
    with pytest.raises(InputTooLongError) as caught:
        served.encode(Query("q", passages), limit=50)
    assert (caught.value.length, caught.value.limit) == (longest, 50)
    assert str(caught.value) == (f"Input length {longest} exceeds maximum allowed token size 50")


def test_a_pair_of_exactly_the_limit_is_not_cut(served: Served) -> None:
    length = len(served.expected("q", "x y z")[0])
    (pair,) = served.encode(Query("q", ["x y z"]), limit=length)
    assert not pair.truncated
    with pytest.raises(InputTooLongError):
        served.encode(Query("q", ["x y z"]), limit=length - 1)


def test_saved_truncation_and_padding_settings_are_ignored(served: Served, tmp_path: Path) -> None:
    shutil.copytree(served.checkpoint.folder, tmp_path, dirs_exist_ok=True)
    saved = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    saved.enable_truncation(4)
    saved.enable_padding(length=99)
    saved.save(str(tmp_path / "tokenizer.json"))
    expected = [served.expected("a query", passage) for passage in AWKWARD]
    assert [
        ids_and_types(p) for p in Served(tmp_path).encode(Query("a query", AWKWARD))
    ] == expected


@pytest.mark.parametrize("text", ["\ud800", "a\udfff b", "\ude42\ud83d"])
def test_lone_surrogates_are_refused_and_the_text_is_not_echoed(served: Served, text: str) -> None:
    for query in (Query(text, ["ok"]), Query("ok", ["ok", text])):
        with pytest.raises(InvalidTextError, match="lone surrogates") as caught:
            served.encode(query)
        assert text not in str(caught.value)


def test_the_threads_are_named_bounded_and_end_with_close(served: Served) -> None:
    others = threading.enumerate()
    tokenizer = PairTokenizer(served.checkpoint, threads=2)
    asyncio.run(tokenizer.encode(Query("q", ["p"] * 600)))
    ours = [thread for thread in threading.enumerate() if thread not in others]
    assert {thread.name for thread in ours} <= {"tokenize_0", "tokenize_1"}
    assert ours
    tokenizer.close()
    assert not any(thread.is_alive() for thread in ours)
