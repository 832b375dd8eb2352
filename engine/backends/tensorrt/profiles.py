"""Which shapes a plan is built for, and which of them a batch runs in. Pure arithmetic.

Never one box over everything: memory grows with the largest box, and 128 pairs of 8192 tokens
never come together. A few boxes of about equal cells, from many narrow rows to few wide ones.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from engine.errors import StartError

# Far beyond where an H100 becomes compute-bound (about 240), and short enough to wait for.
MAX_TOKENS = 16384
_NARROWEST, _STEP, _ROUND = 128, 4, 64
_CELLS = 2  # cells in a box for each token: rows are not all as long as the longest
_RESERVE = 1.15  # measured on the 1B: 58-63 KB a token, where the formula below says 57
_ONE = re.compile(r"(\d+)x(\d+)")


@dataclass(frozen=True, slots=True)
class Profile:
    """The largest call of one kind: packed tokens, and attention's box of rows by width cells."""

    tokens: int
    rows: int
    width: int

    def __str__(self) -> str:
        return f"{self.rows}x{self.width}"


@dataclass(frozen=True, slots=True)
class Call:
    """One run of the engine: the batch's rows it takes, and the number of its profile."""

    rows: tuple[int, ...]
    profile: int


def token_bytes(hidden_size: int, intermediate_size: int) -> int:
    """Device memory that one packed token needs while a layer runs, in 16-bit activations."""
    return int(2 * (2 * hidden_size + 3 * intermediate_size) * _RESERVE)


def choose(budget_bytes: int, token_bytes: int, longest: int) -> tuple[Profile, ...]:
    """Profiles within a memory budget, widest first. longest: tokens in the longest pair.

    Raises StartError where even one pair of that length does not fit.
    """
    fitting = budget_bytes // token_bytes // _ROUND * _ROUND
    if fitting < longest:
        raise StartError(
            f"{budget_bytes >> 20} MiB of GPU memory hold a batch of {fitting} tokens, but one "
            f"pair may have {longest}: lower the pair limit to {fitting}, or free GPU memory"
        )
    tokens = max(min(fitting, MAX_TOKENS), longest)
    widths = [longest]
    while widths[-1] // _STEP >= _NARROWEST:
        widths.append(widths[-1] // _STEP)
    return tuple(Profile(tokens, _CELLS * tokens // width, width) for width in widths)


def parse(text: str, longest: int) -> tuple[Profile, ...]:
    """Read "rows x width" boxes such as "2x8192,8x2048"; all share the tokens of the largest.

    Raises StartError for another form, and where the longest pair fits none.
    """
    found = [_ONE.fullmatch(part.strip()) for part in text.split(",")]
    boxes = [(int(m[1]), int(m[2])) for m in found if m]
    if len(boxes) != len(found) or not all(rows and width for rows, width in boxes):
        raise StartError(f"profiles {text!r} are not rows x width boxes such as 8x2048,128x128")
    if (widest := max(width for _, width in boxes)) < longest:
        raise StartError(
            f"the widest profile holds pairs of {widest} tokens, but one pair may have {longest}: "
            f"add a profile such as 1x{longest}, or lower the pair limit"
        )
    tokens = max(rows * width for rows, width in boxes)
    return tuple(Profile(tokens, rows, width) for rows, width in sorted(boxes, key=lambda b: -b[1]))


def cut(lengths: Sequence[int], profiles: Sequence[Profile]) -> list[Call]:
    """The calls that a batch is run in: every row once, rows of similar length together.

    The longest waiting row decides: the narrowest profile that holds it takes what fits beside it.
    """
    waiting = sorted(range(len(lengths)), key=lambda row: lengths[row])
    calls = []
    while waiting:
        number = _narrowest(profiles, lengths[waiting[-1]])
        rows: list[int] = []
        room = profiles[number].tokens
        while waiting and len(rows) < profiles[number].rows and lengths[waiting[-1]] <= room:
            room -= lengths[waiting[-1]]
            rows.append(waiting.pop())
        calls.append(Call(tuple(rows), number))
    return calls


def _narrowest(profiles: Sequence[Profile], width: int) -> int:
    holding = [n for n, profile in enumerate(profiles) if profile.width >= width]
    assert holding, "the longest pair fits the widest profile"
    return min(holding, key=lambda n: (profiles[n].width, -profiles[n].rows))
