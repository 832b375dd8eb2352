"""What the callers send: seeded texts of every size, and requests that no service should take."""

import json
import random
from dataclasses import dataclass, field

WORDS = ("river", "stone", "bread", "light", "paper", "green", "music", "winter", "garden", "train")
_POOL = 32  # different bodies of one size: enough for variety, made once


@dataclass(frozen=True, slots=True)
class Ask:
    """One request and how it is sent.

    expected: codes that are a right answer. pieces, gap: the body is sent in so many pieces, with
    so many seconds between them. patience: seconds after which the caller hangs up. sip: bytes
    read at a time, with the same gap; 0 reads all.
    """

    body: bytes
    passages: int = 0
    expected: frozenset[int] = frozenset({200})
    headers: dict[str, str] = field(default_factory=dict)
    pieces: int = 1
    gap: float = 0.0
    patience: float | None = None
    sip: int = 0


def body(passages: int, words: int, seed: int = 0) -> bytes:
    """A valid request; the passages' lengths lie between half and all of these words."""
    chance = random.Random(f"{passages} {words} {seed}")  # noqa: S311 - repeatable, not secret
    texts = [
        " ".join(chance.choices(WORDS, k=chance.randint(max(1, words // 2), words)))
        for _ in range(passages)
    ]
    return json.dumps(
        {"query": {"text": " ".join(chance.choices(WORDS, k=6))},
         "passages": [{"text": text} for text in texts], "truncate": "END"}
    ).encode()  # fmt: skip


def pool(passages: int, words: int) -> list[bytes]:
    """Bodies of one size."""
    return [body(passages, words, seed) for seed in range(_POOL)]


MAX_BODY_BYTES = 1_000_000  # the server's limit where poison is sent

_TEXT = {"text": "river"}
POISON = {
    "malformed": Ask(b'{"query": {"text": "river"', expected=frozenset({400})),
    "not text at all": Ask(bytes(range(256)), expected=frozenset({400})),
    "deep": Ask(b"[" * 50_000, expected=frozenset({400})),
    "wrong types": Ask(
        json.dumps({"query": 5, "passages": ["river"]}).encode(), expected=frozenset({422})
    ),
    "lone surrogate": Ask(
        rb'{"query":{"text":"\ud800"},"passages":[{"text":"p"}]}', expected=frozenset({422})
    ),
    "unknown field": Ask(
        json.dumps({"query": _TEXT, "passages": [_TEXT], "top_k": 1}).encode(),
        expected=frozenset({400}),
    ),
    "unknown model": Ask(
        json.dumps({"model": "a/b", "query": _TEXT, "passages": [_TEXT]}).encode(),
        expected=frozenset({404}),
    ),
    "too many passages": Ask(
        json.dumps({"query": _TEXT, "passages": [_TEXT] * 513}).encode(), expected=frozenset({422})
    ),
    "over-long pair": Ask(
        json.dumps({"query": _TEXT, "passages": [{"text": "river " * 20_000}]}).encode(),
        expected=frozenset({422}),
    ),
    "oversized body": Ask(b" " * (MAX_BODY_BYTES + 200_000), expected=frozenset({413})),
    "wrong kind": Ask(
        b"query=river", headers={"content-type": "text/plain"}, expected=frozenset({415})
    ),
    "bad deadline": Ask(
        body(1, 4), headers={"x-request-timeout-ms": "soon"}, expected=frozenset({422})
    ),
}
