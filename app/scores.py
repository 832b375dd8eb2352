"""From logits to the scores that dialects answer with. Ranking comes first, and is by logit."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scored:
    """A document's place in what was sent, and whatever score the answer gave it."""

    index: int
    score: float


def sigmoid(logit: float) -> float:
    """The logistic function in double precision, for any size of logit."""
    if logit < 0:
        tail = math.exp(logit)
        return tail / (1 + tail)
    return 1 / (1 + math.exp(-logit))


def score(logit: float, raw: bool) -> float:
    """The logit itself, or its sigmoid."""
    return logit if raw else sigmoid(logit)
