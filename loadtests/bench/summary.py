"""What follows from the measurements: ratios, shares of the limits, and the targets."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from loadtests.bench.figures import median_ratio
from loadtests.bench.mixes import SHORT, STANDARD
from loadtests.bench.names import BARE, CROSSRANK, INFINITY, PLAIN

Content = Mapping[str, Any]
_ONE_CALLER, _BUSY = "1", ("8", "32")
_FASTEST = "passages_per_second"
_LARGEST = 512  # passages of the largest request


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


def gemm_peak(content: Content) -> float:
    """FLOP/s of the machine's matrix products: the best of the run."""
    return float(max(content["gemm_flops"]))


def gemm_shares(content: Content, mix: str) -> dict[str, float]:
    """Each server's arithmetic at the highest concurrency, and the bare model's, over the peak."""
    closed, most = content["closed"][mix], busiest(content, mix)
    speeds = {name: cells[most][_FASTEST] for name, cells in closed["median"].items()}
    speeds[BARE] = median(closed["bare_passages_per_second"])
    work = closed["flops_per_passage"] / gemm_peak(content)
    return {name: work * speed for name, speed in speeds.items()}


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
            yield _faster(content, standard, busy, peer, least)
        for peer in (INFINITY, PLAIN):
            found = ratio(content, standard, busy, peer, "p95_ms")
            met = None if found is None else found < 1
            yield Target(f"{standard} mix, {busy} callers: p95 below {peer}'s", _times(found), met)
    yield _faster(content, standard, _ONE_CALLER, PLAIN, 1.0)
    for busy in _BUSY:
        yield _faster(content, SHORT.name, busy, INFINITY, 2.0)
    share = efficiency(content, standard) if busiest(content, standard) == _BUSY[-1] else None
    text = "service efficiency at 32 callers: at least 0.95 of the bare model's passages/s"
    yield Target(text, _times(share), None if share is None else share >= 0.95)
    int8 = content["formats"]["int8"]
    for figure, least, text in (
        ("ratio", 1.8, "times float32's passages/s, bare"),
        ("trained_tau", 0.98, "Kendall's tau with float32, shipped checkpoint"),
    ):
        found = int8.get(figure)
        met = None if found is None else found >= least
        shown = int8.get("skipped", "") if found is None else f"{found:.3g}"
        yield Target(f"int8: at least {least:g} {text}", shown, met)
    found = linearity(content) if content["sizes"][-1]["passages"] == _LARGEST else None
    text = f"cost linear in tokens up to {_LARGEST} passages: at most 1.1 times the cheapest token"
    yield Target(text, _times(found), None if found is None else found <= 1.1)


def _faster(content: Content, mix: str, callers: str, peer: str, least: float) -> Target:
    found = ratio(content, mix, callers, peer, _FASTEST)
    who = "one caller" if callers == _ONE_CALLER else f"{callers} callers"
    text = f"{mix} mix, {who}: at least {least:g} times {peer}'s passages/s"
    return Target(text, _times(found), None if found is None else found >= least)


def _times(found: float | None) -> str:
    return "" if found is None else f"{found:.2f} times"
