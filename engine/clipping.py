"""Shortens texts by whole tokens. Works on text, so that the template around it stays intact."""

from tokenizers import Tokenizer


def first(tokenizer: Tokenizer, text: str, count: int) -> str:
    """The longest beginning of the text that has at most `count` tokens of its own."""
    while len(ends := [end for _, end in _offsets(tokenizer, text)]) > count:
        text = text[: min(ends[count - 1], len(text) - 1)] if count else ""
    return text


def without_first(tokenizer: Tokenizer, text: str, count: int) -> str:
    """The text without its first `count` tokens; at least one character shorter."""
    starts = [start for start, _ in _offsets(tokenizer, text)]
    return text[max(1, starts[count]) :] if count < len(starts) else ""


def _offsets(tokenizer: Tokenizer, text: str) -> list[tuple[int, int]]:
    offsets: list[tuple[int, int]] = tokenizer.encode(text, add_special_tokens=False).offsets
    return offsets
