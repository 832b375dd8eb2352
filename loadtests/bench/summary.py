"""What follows from the measurements: ratios, shares of the limits, and the targets."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from loadtests.bench.figures import median_ratio
from loadtests.bench.mixes import SHORT, STANDARD
from loadtests.bench.names import BARE, CROSSRANK, INFINITY, PLAIN

Content = Mapping[str, Any]
_ONE_CALLER, _BUSY = "1", ("8", "32")
_FASTEST = "passages_per_second"


@dataclass(frozen=True, slots=True)
class Target:
    """One promise. met: None where this run did not measure it."""

    text: str
    found: str
    met: bool | None

    def line(self) -> str:
        """For the output of the run."""
        verdict = {True: "met", False: "NOT met", None: "not measured"}[self.met]
        return f"{verdict}: {self.text}" + (f" ({self.found})" if self.found else "")


def ratio(content: Content, mix: str, concurrency: str, below: str, figure: str) -> float | None:
    """crossrank's figure over another server's, the median of the rounds' own ratios."""
    rounds = content["closed"][mix]["rounds"]
    if concurrency not in rounds[CROSSRANK]:
        return None
    above, under = ([r[figure] for r in rounds[n][concurrency]] for n in (CROSSRANK, below))
    return median_ratio(above, under)


def efficiency(content: Content, mix: str) -> float:
    """HTTP passages/s at the highest concurrency over the bare model's on the same requests."""
    closed = content["closed"][mix]
    http = [r[_FASTEST] for r in closed["rounds"][CROSSRANK][busiest(content, mix)]]
    return median_ratio(http, closed["bare_passages_per_second"])


def gemm_shares(content: Content, mix: str) -> dict[str, float]:
    """Each server's arithmetic, and the bare model's, as a share of the GEMM peak of its round."""
    closed, most = content["closed"][mix], busiest(content, mix)
    speeds = {name: [r[_FASTEST] for r in c[most]] for name, c in closed["rounds"].items()}
    speeds[BARE] = closed["bare_passages_per_second"]
    work = closed["flops_per_passage"]
    return {
        name: work * median_ratio(rounds, closed["gemm_flops"]) for name, rounds in speeds.items()
    }


def busiest(content: Content, mix: str) -> str:
    """The highest concurrency that was measured."""
    return str(max(map(int, content["closed"][mix]["rounds"][CROSSRANK])))


def linearity(content: Content) -> float:
    """The largest request's cost of a token over the cheapest's."""
    costs = [size["seconds"] / size["tokens"] for size in content["sizes"]]
    return float(costs[-1] / min(costs))


def targets(content: Content) -> list[Target]:
    """Every target of the project that this run can speak of."""
    return list(_targets(content))


def _targets(content: Content) -> Iterator[Target]:
    standard = STANDARD.name
    for busy in _BUSY:
        for peer, least in ((INFINITY, 1.5), (PLAIN, 2.0)):
            found = ratio(content, standard, busy, peer, _FASTEST)
            yield _at_least(f"{standard} mix, {busy} callers: passages/s of {peer}", found, least)
        for peer in (INFINITY, PLAIN):
            found = ratio(content, standard, busy, peer, "p95_ms")
            text = f"{standard} mix, {busy} callers: p95 below that of {peer}"
            yield Target(text, _times(found), None if found is None else found < 1)
    found = ratio(content, standard, _ONE_CALLER, PLAIN, _FASTEST)
    yield _at_least(f"{standard} mix, one caller: passages/s of {PLAIN}", found, 1.0)
    for busy in _BUSY:
        found = ratio(content, SHORT.name, busy, INFINITY, _FASTEST)
        yield _at_least(f"{SHORT.name} mix, {busy} callers: passages/s of {INFINITY}", found, 2.0)
    share = efficiency(content, standard) if busiest(content, standard) == _BUSY[-1] else None
    yield _at_least("service efficiency: passages/s of the bare model, 32 callers", share, 0.95)
    largest = content["sizes"][-1]["passages"]
    found = linearity(content) if largest == 512 else None
    text = "cost linear in tokens up to 512 passages: at most 1.1 times the cheapest token"
    yield Target(text, _times(found), None if found is None else found <= 1.1)


def _at_least(text: str, found: float | None, least: float) -> Target:
    met = None if found is None else found >= least
    return Target(f"at least {least:g} times, {text}", _times(found), met)


def _times(found: float | None) -> str:
    return "" if found is None else f"{found:.2f} times"
