"""How a query and a passage become one sequence of ids: template, special tokens, truncation.

Whatever the form, a sequence is: specials, query part, specials, passage part, specials.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Encoding, Tokenizer

from engine.errors import CheckpointError, InputTooLongError
from engine.types import Pair, Truncate

# Llama 3's pre-tokenizer: a run of letters ends at the first non-letter, whatever follows.
# Source: the stock Llama 3.2 tokenizer.json.
_LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, slots=True)
class PairForm:
    """The literal text around query and passage, and the special tokens around both parts.

    query_text and passage_text are format strings; where the query's ids may depend on the passage,
    query_text is empty and passage_text holds both. prefix, middle, suffix: special token ids.
    typed: whether the passage side has token type 1.
    """

    query_text: str
    passage_text: str
    prefix: tuple[int, ...]
    middle: tuple[int, ...]
    suffix: tuple[int, ...]
    typed: bool

    @property
    def specials(self) -> int:
        """Special tokens in every pair."""
        return len(self.prefix) + len(self.middle) + len(self.suffix)

    def assemble(
        self, query: Sequence[int], passage: Sequence[int], limit: int, truncate: Truncate
    ) -> Pair:
        """Join both parts, cut to `limit` tokens: the passage from the right, then the query.

        Raises InputTooLongError where a cut is needed and `truncate` is NONE.
        """
        length = self.specials + len(query) + len(passage)
        if length > limit:
            if truncate is Truncate.NONE:
                raise InputTooLongError(length, limit)
            query = query[: limit - self.specials]
            passage = passage[: limit - self.specials - len(query)]
        head = [*self.prefix, *query, *self.middle]
        ids = np.array([*head, *passage, *self.suffix], dtype=np.int32)
        return Pair(ids, split=len(head) if self.typed else len(ids), truncated=length > limit)


def pair_form(tokenizer: Tokenizer, template: str | None) -> PairForm:
    """The form a checkpoint was trained on: the tokenizer's own pair, or one templated sequence."""
    if template is None:
        return _own_pair(tokenizer.encode("a", "b"))
    prefix, _, suffix = _around(tokenizer.encode("a"), 0)
    query_text, passage_text = _split_template(tokenizer, template)
    return PairForm(query_text, passage_text, prefix, (), suffix, typed=False)


def _own_pair(probe: Encoding) -> PairForm:
    prefix, query_end, _ = _around(probe, 0)
    _, _, suffix = _around(probe, 1)
    passage_start = probe.sequence_ids.index(1)
    middle = tuple(probe.ids[query_end:passage_start])
    typed = probe.type_ids[passage_start] == 1
    return PairForm("{query}", "{passage}", prefix, middle, suffix, typed)


def _around(probe: Encoding, sequence: int) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
    """Ids before the sequence, the position where it ends, ids after it."""
    where = [i for i, found in enumerate(probe.sequence_ids) if found == sequence]
    if not where:
        raise CheckpointError("tokenizer.json gives no tokens for a plain letter: not usable")
    end = where[-1] + 1
    return tuple(probe.ids[: where[0]]), end, tuple(probe.ids[end:])


def _split_template(tokenizer: Tokenizer, template: str) -> tuple[str, str]:
    """Cut the template where no token can span the cut, so that the query is tokenized once."""
    query_part, _, tail = template.partition("{passage}")
    literal = query_part.rpartition("{query}")[2]
    letters = literal.rstrip(":")
    clean = letters[-1:].isalpha() and literal != letters and not tail
    if clean and _ends_words_at_letters(tokenizer, letters[-1] + ":"):
        return query_part[: len(letters) - len(literal)], literal[len(letters) :] + "{passage}"
    return "", template


def _ends_words_at_letters(tokenizer: Tokenizer, cut: str) -> bool:
    """Whether the tokenizer is Llama 3's byte-level BPE and no added token spans `cut`.

    Nor may one begin after it: added tokens can ask for a word boundary before them.
    """
    spec = json.loads(tokenizer.to_str())
    added = [token["content"] for token in spec["added_tokens"]]
    steps = (spec.get("pre_tokenizer") or {}).get("pretokenizers", [])
    return (
        spec["model"]["type"] == "BPE"
        and spec.get("normalizer") is None
        and [step["type"] for step in steps] == ["Split", "ByteLevel"]
        and steps[0]["pattern"].get("Regex") == _LLAMA3_SPLIT
        and steps[0]["behavior"] == "Isolated"
        and not steps[0]["invert"]
        and not (steps[1]["add_prefix_space"] or steps[1]["use_regex"])
        and not any(cut in text or text.startswith(cut[1:]) for text in added)
    )
