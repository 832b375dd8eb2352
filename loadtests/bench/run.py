"""The whole measurement: agreement, closed loops in alternating rounds, open loops, aiperf."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from loadtests.bench import agreement, formats, idle, load, nvidia
from loadtests.bench.ceiling import BareModel, forward_flops, gemm_peak
from loadtests.bench.figures import medians, poisson_arrivals
from loadtests.bench.load import Run
from loadtests.bench.mixes import STANDARD, Drawer, Mix
from loadtests.bench.names import CROSSRANK
from loadtests.bench.plan import Plan, sustains
from loadtests.bench.servers import Server

_ARRIVALS_SEED = 4
Content = dict[str, Any]


class Bench:
    """Servers that are running, the bare model, and the plan; keeps what was measured."""

    def __init__(self, plan: Plan, servers: Sequence[Server], bare: BareModel, drawer: Drawer):
        self._plan, self._servers, self._bare, self._drawer = plan, servers, bare, drawer
        self._ours = next(server for server in servers if server.name == CROSSRANK)
        self.content: Content = {
            "idle_cpus": {},
            "agreement": {},
            "gemm_flops": [],
            "closed": {},
            "open": [],
            "sizes": [],
        }

    def run(self, aiperf: Path | None, checkpoint: Path) -> Content:
        """Everything, in order. Raises SystemExit where figures would mean nothing."""
        self.content["idle_cpus"] = {s.name: idle.cpus(s) for s in self._servers}
        paces = {mix.name: self._agree(mix) for mix in self._plan.mixes}
        for mix in self._plan.mixes:
            self.content["closed"][mix.name] = self._closed(mix, paces[mix.name])
        self._open()
        self._sizes()
        _say("other number formats")
        requests = self._drawer.requests(STANDARD, self._plan.count(1, paces[STANDARD.name]))
        self.content["formats"] = formats.compare(
            self._bare, checkpoint, requests, self._plan.rounds
        )
        if aiperf:
            self._nvidia(aiperf, checkpoint, paces[STANDARD.name])
        return self.content

    def _agree(self, mix: Mix) -> float:
        """Compare the scores; this warms everything up too. Returns the bare model's pace."""
        _say(f"{mix.name}: comparing scores")
        requests = self._drawer.requests(mix, self._plan.compared)
        expected = self._bare.run(requests).logits
        self.content["agreement"][mix.name] = {
            server.name: agreement.check(
                mix.name, expected, agreement.ask(server, requests), server.name
            )
            for server in self._servers
        }
        return self._bare.run(requests).seconds / len(requests)

    def _closed(self, mix: Mix, pace: float) -> Content:
        counts = {c: self._plan.count(c, pace) for c in self._plan.callers(mix)}
        requests = self._drawer.requests(mix, max(counts.values()))
        lengths = [n for request in requests for n in request.tokens]
        rounds: Content = {server.name: {str(c): [] for c in counts} for server in self._servers}
        self.content["gemm_flops"].append(gemm_peak())
        bare = []
        for number in range(self._plan.rounds):
            _say(f"{mix.name}: round {number + 1} of {self._plan.rounds}")
            bare.append(self._bare.run(requests).passages_per_second)
            for server in self._servers:
                for concurrency, count in counts.items():
                    done = load.closed(server, requests[:count], concurrency)
                    rounds[server.name][str(concurrency)].append(_figures(done))
        return {
            "rounds": rounds,
            "median": {
                name: {c: medians(figures) for c, figures in cells.items()}
                for name, cells in rounds.items()
            },
            "bare_passages_per_second": bare,
            "flops_per_passage": forward_flops(self._bare.checkpoint, lengths) / len(lengths),
        }

    def _open(self) -> None:
        """Rate by rate, each to every server that can keep up with it."""
        busiest = str(self._plan.busiest)
        able = {
            name: cells[busiest]["passages_per_second"]
            for name, cells in self.content["closed"][STANDARD.name]["median"].items()
        }
        for rate in (share * able[CROSSRANK] for share in self._plan.shares):
            for server in self._servers:
                if sustains(rate, able[server.name]):
                    self._offer(server, rate)

    def _offer(self, server: Server, passages: float) -> None:
        """So many passages a second on average, request by request at random."""
        _say(f"{STANDARD.name}: open loop, {passages:.0f} passages/s to {server.name}")
        per_second = passages * len(STANDARD.sizes) / sum(STANDARD.sizes)
        count = max(4, round(per_second * self._plan.open_seconds))
        arrivals = poisson_arrivals(per_second, count, _ARRIVALS_SEED)
        done = load.open_loop(server, self._drawer.requests(STANDARD, count), arrivals)
        self.content["open"].append(
            {"server": server.name, "offered": round(passages, 2)} | done.figures()
        )

    def _sizes(self) -> None:
        """What one request costs by its size, alone on crossrank; the second of two is taken."""
        _say("one request of each size")
        for size in self._plan.sizes:
            (request,) = self._drawer.requests(replace(STANDARD, sizes=(size,)), 1)
            done = [load.closed(self._ours, [request], 1) for _ in range(2)][1]
            self.content["sizes"].append(
                {"passages": size, "tokens": sum(request.tokens), "seconds": done.latencies[0]}
            )

    def _nvidia(self, tool: Path, checkpoint: Path, pace: float) -> None:
        concurrency = self._plan.nvidia_concurrency
        _say("aiperf against crossrank")
        requests = self._drawer.requests(STANDARD, self._plan.count(concurrency, pace))
        self.content["aiperf"] = {"concurrency": concurrency} | nvidia.measure(
            self._ours, requests, concurrency, tool, checkpoint
        )


def _figures(run: Run) -> dict[str, float]:
    stages = {} if run.stages is None else run.stages.milliseconds()
    return run.figures() | {f"{name}_ms": ms for name, ms in stages.items()}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
