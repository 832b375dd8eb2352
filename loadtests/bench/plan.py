"""How much is measured: a full run of about 15 minutes, or a quick one to see that it runs."""

from dataclasses import dataclass

from loadtests.bench.mixes import MIXES, Mix


@dataclass(frozen=True, slots=True)
class Plan:
    """rounds: of the closed loops, alternating between the servers.

    seconds: what the bare model would take for the requests of one closed loop. open_seconds: how
    long requests keep coming in an open loop. shares: of crossrank's capacity, offered to all.
    sizes: passages of the single requests that show what one more costs. compared: requests of each
    mix whose scores are compared.
    """

    rounds: int
    seconds: float
    concurrencies: tuple[int, ...]
    open_seconds: float
    shares: tuple[float, ...]
    sizes: tuple[int, ...]
    compared: int
    nvidia_concurrency: int
    mixes: tuple[Mix, ...] = MIXES

    @property
    def busiest(self) -> int:
        """The highest concurrency."""
        return max(self.concurrencies)

    def callers(self, mix: Mix) -> list[int]:
        """The concurrencies that this mix is measured at."""
        return [c for c in self.concurrencies if c <= mix.most_callers]

    def count(self, concurrency: int, seconds_per_request: float) -> int:
        """Requests of one closed loop: each caller has one at least."""
        return max(concurrency, round(self.seconds / seconds_per_request))


FULL = Plan(3, 3.0, (1, 8, 32), 12.0, (0.2, 0.4, 0.6, 0.8), (1, 8, 64, 512), 6, 8)
QUICK = Plan(1, 0.5, (1, 8), 3.0, (0.3, 0.6), (1, 8, 32), 2, 2)
# Arrivals faster than this share of what a server can do make a queue without end, not a latency.
_SUSTAINABLE = 0.9


def sustains(offered: float, capacity: float) -> bool:
    """Whether a server that can do so many passages a second is offered so many."""
    return offered <= _SUSTAINABLE * capacity
