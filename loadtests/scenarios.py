"""The scenarios: who calls a server with which settings, and what must be seen to have happened."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from loadtests import users
from loadtests.texts import MAX_BODY_BYTES

Model = Literal["fake", "tiny", "shipped"]
Callers = Mapping[type[users.Caller], int]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One load on one fresh server.

    model: no computing at all, a tiny network, or the shipped checkpoint. allowed: codes that a
    valid request may get too. seen: codes that must occur, 0 for a client that gave up. terminate:
    SIGTERM halfway. passages: go on until so many are ranked. steps: numbers of the first caller,
    in turn, instead of the numbers in callers.
    """

    name: str
    callers: Callers
    seconds: float = 8.0
    model: Model = "fake"
    settings: Mapping[str, str] = field(default_factory=dict)
    allowed: frozenset[int] = frozenset()
    seen: frozenset[int] = frozenset({200})
    terminate: bool = False
    passages: int = 0
    steps: tuple[int, ...] = ()


def _faults(name: str, rates: str) -> Scenario:
    settings = {"CROSSRANK_FAULTS": f"{rates},seed=7", "CROSSRANK_MAX_BATCH_TOKENS": "1024"}
    return Scenario(
        f"fault: {name}", {users.Eager: 8}, settings=settings, allowed=frozenset({500}),
        seen=frozenset({200, 500}),
    )  # fmt: skip


def scenarios(soak_passages: int) -> list[Scenario]:
    """All of them, the soak last."""
    return [
        Scenario("steady", {users.Steady: 8}),
        Scenario("burst", {users.Burst: 48}),
        Scenario("mixed sizes", {users.Mixed: 8}, model="tiny"),
        Scenario("slow clients", {users.Steady: 4, users.Slow: 24}),
        Scenario(
            "disconnects", {users.Steady: 2, users.Fickle: 12}, model="tiny",
            seen=frozenset({0, 200}),
        ),
        Scenario(
            "poison", {users.Steady: 4, users.Poisoner: 6},
            settings={"CROSSRANK_MAX_BODY_BYTES": str(MAX_BODY_BYTES)},
            seen=frozenset({200, 400, 404, 413, 415, 422}),
        ),
        _faults("error", "error=0.1"),
        _faults("memory", "memory=0.1"),
        _faults("nan", "nan=0.02"),
        _faults("all kinds", "error=0.05,memory=0.05,nan=0.02"),
        Scenario(
            "overload", {users.Insistent: 24}, model="tiny",
            settings={"CROSSRANK_MAX_QUEUE_TOKENS": "30000"}, allowed=frozenset({503, 504}),
            seen=frozenset({200, 503, 504}),
        ),
        Scenario("saturation", {users.Long: 8, users.Steady: 2}, seconds=15, model="shipped"),
        Scenario(
            "SIGTERM", {users.Eager: 6, users.Long: 4}, model="tiny", allowed=frozenset({503}),
            terminate=True,
        ),
        Scenario(
            "rising load", {users.Eager: 1}, seconds=5, model="tiny", steps=(1, 2, 4, 8, 16, 32)
        ),
        Scenario(
            "soak", {users.Brief: 6, users.Steady: 1, users.Fickle: 1}, seconds=540, model="tiny",
            seen=frozenset({0, 200}), passages=soak_passages,
        ),
    ]  # fmt: skip
