"""How well two sets of scores agree on the order of passages, and the bound that FP8 must pass."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.errors import StartError
from engine.types import Logits

LEAST_TAU, LEAST_NDCG = 0.95, 0.99
_TOP = 10


@dataclass(frozen=True, slots=True)
class Agreement:
    """Means over queries. tau: Kendall's. ndcg: at 10, with the reference's order as the ideal."""

    tau: float
    ndcg: float
    queries: int

    @classmethod
    def of(cls, reference: Sequence[Logits], other: Sequence[Logits]) -> "Agreement":
        """Both hold one array a query, float32 [passages], of at least two passages."""
        pairs = list(zip(reference, other, strict=True))
        taus = [kendall_tau(a, b) for a, b in pairs]
        ndcgs = [ndcg(a, b) for a, b in pairs]
        return cls(float(np.mean(taus)), float(np.mean(ndcgs)), len(pairs))

    def check(self) -> None:
        """Raise StartError where the bound is missed."""
        if self.tau < LEAST_TAU or self.ndcg < LEAST_NDCG:
            raise StartError(
                f"FP8 would change the order too much: on {self.queries} held-out queries "
                f"Kendall's tau is {self.tau:.3f} (at least {LEAST_TAU} is asked) and nDCG@{_TOP} "
                f"{self.ndcg:.3f} (at least {LEAST_NDCG}). Use bf16, or calibrate with more text"
            )


def kendall_tau(a: Logits, b: Logits) -> float:
    """Pairs in the same order less pairs in the opposite one, as a share of all pairs; -1 to 1."""
    upper = np.triu_indices(len(a), 1)
    signs = [np.sign(x[:, None] - x[None, :])[upper] for x in (a, b)]
    return float(np.mean(signs[0] * signs[1]))


def ndcg(reference: Logits, other: Logits) -> float:
    """nDCG@10 of the other's order; a passage gains the more the higher the reference has it."""
    best = np.argsort(-reference, kind="stable")
    gains = np.zeros(len(reference))
    gains[best[:_TOP]] = np.arange(min(_TOP, len(reference)), 0, -1)
    discounts = 1 / np.log2(np.arange(2, min(_TOP, len(reference)) + 2))
    ranked = gains[np.argsort(-other, kind="stable")][: len(discounts)]
    return float((ranked * discounts).sum() / (gains[best][: len(discounts)] * discounts).sum())
