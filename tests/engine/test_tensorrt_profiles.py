"""Profiles fit their budget and every pair; batches are cut into calls that fit the profiles."""

from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis import given

from engine.backends.tensorrt import profiles
from engine.backends.tensorrt.profiles import MAX_TOKENS, Profile
from engine.errors import StartError

# hidden 2048, intermediate 8192: the 1B
TOKEN_BYTES = profiles.token_bytes(2048, 8192)
GIB = 2**30


def test_the_estimate_covers_what_was_measured_on_the_1b() -> None:
    assert 63 * 1024 <= TOKEN_BYTES <= 70 * 1024


def test_boxes_run_from_few_long_pairs_to_many_short_ones() -> None:
    chosen = profiles.choose(4 * GIB, TOKEN_BYTES, longest=8192)
    assert [str(profile) for profile in chosen] == ["4x8192", "16x2048", "64x512", "256x128"]
    assert {profile.tokens for profile in chosen} == {MAX_TOKENS}


@given(
    budget=st.integers(TOKEN_BYTES * 9000, 64 * GIB),
    longest=st.integers(16, 8192),
)
def test_no_profile_needs_more_than_the_budget(budget: int, longest: int) -> None:
    for profile in profiles.choose(budget, TOKEN_BYTES, longest):
        assert profile.tokens * TOKEN_BYTES <= budget
        assert profile.rows * profile.width <= 2 * profile.tokens
        assert profile.rows >= 1


def test_too_little_memory_for_one_pair_names_both_numbers_and_the_remedy() -> None:
    with pytest.raises(StartError, match=r"512 MiB .* of 8128 tokens, but one pair .* 8192: lower"):
        profiles.choose(GIB // 2, TOKEN_BYTES, longest=8192)


def test_profiles_can_be_given_as_boxes() -> None:
    assert profiles.parse("128x128, 2x8192", longest=8192) == (
        Profile(16384, 2, 8192),
        Profile(16384, 128, 128),
    )


@pytest.mark.parametrize("text", ["", "8", "8x", "0x128", "8x2048;2x8192", "x128"])
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(StartError, match="not rows x width boxes"):
        profiles.parse(text, longest=128)


def test_profiles_too_narrow_for_the_longest_pair_are_refused() -> None:
    with pytest.raises(StartError, match=r"tokens, but one pair may have 8192: add .* 1x8192"):
        profiles.parse("8x2048,128x128", longest=8192)


@given(st.lists(st.integers(1, 8192), min_size=1, max_size=300))
def test_every_row_runs_once_in_a_call_that_holds_it(lengths: list[int]) -> None:
    chosen = profiles.choose(4 * GIB, TOKEN_BYTES, longest=8192)
    calls = profiles.cut(lengths, chosen)
    assert Counter(row for call in calls for row in call.rows) == Counter(range(len(lengths)))
    for call in calls:
        profile, mine = chosen[call.profile], [lengths[row] for row in call.rows]
        assert max(mine) <= profile.width
        assert len(mine) <= profile.rows
        assert sum(mine) <= profile.tokens


def test_short_pairs_are_not_run_in_the_long_pairs_box() -> None:
    chosen = profiles.choose(4 * GIB, TOKEN_BYTES, longest=8192)
    calls = profiles.cut([100] * 60 + [8000], chosen)
    assert [(len(call.rows), str(chosen[call.profile])) for call in calls] == [
        (4, "4x8192"),
        (57, "256x128"),
    ]


def test_a_batch_that_fits_one_profile_is_one_call() -> None:
    chosen = profiles.choose(4 * GIB, TOKEN_BYTES, longest=8192)
    assert len(profiles.cut([512] * 32, chosen)) == 1
    assert len(profiles.cut([128] * 128, chosen)) == 1
