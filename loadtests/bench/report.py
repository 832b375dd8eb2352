"""The run in words: the table for the README, the limits, the targets."""

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from loadtests.bench import summary
from loadtests.bench.mixes import STANDARD
from loadtests.bench.names import BARE, CROSSRANK, INFINITY, NAMES, PLAIN

Content = Mapping[str, Any]


def text(content: Content) -> str:
    """All of it, as Markdown."""
    parts = (part(content) for part in (table, latency_table, open_table, limits, verdicts))
    return "\n\n".join([content["machine"], *parts])


def table(content: Content) -> str:
    """Throughput: a row for each mix and concurrency, and crossrank's lead over its peers."""
    leads = [f"over {name}" for name in (INFINITY, PLAIN)]
    head = ["passages/s", "callers", *NAMES, BARE, *leads]
    return _markdown(head, [*_speeds(content), *_nvidia(content, len(head), _speed)])


def latency_table(content: Content) -> str:
    """Latency: the same rows."""
    head = ["p50 / p95 / p99, ms", "callers", *NAMES]
    rows = [
        [mix, callers, *(_latency(cells[name][callers]) for name in NAMES)]
        for mix, cells in _medians(content)
        for callers in cells[CROSSRANK]
    ]
    return _markdown(head, [*rows, *_nvidia(content, len(head), _latency)])


def open_table(content: Content) -> str:
    """Latency against offered load."""
    head = ["offered, passages/s", *(f"{name}, p50 / p95 / p99 ms" for name in NAMES)]
    points = {(point["offered"], point["server"]): point for point in content["open"]}
    rows = [
        [f"{rate:.0f}", *(_latency(points.get((rate, name))) for name in NAMES)]
        for rate in sorted({rate for rate, _ in points})
    ]
    return f"Poisson arrivals, {STANDARD.name} mix:\n\n" + _markdown(head, rows)


def limits(content: Content) -> str:
    """What bounds the speed, and what the service takes of it."""
    return "\n".join(f"- {line}" for line in _limits(content))


def verdicts(content: Content) -> str:
    """A line for each target."""
    return "\n".join(f"- {target.line()}" for target in summary.targets(content))


def machine(*notes: str) -> str:
    """What the figures were measured on."""
    cores = len(os.sched_getaffinity(0))
    return ", ".join(filter(None, (f"{cores} cores of {_processor()}", *notes)))


def _processor() -> str:
    """The vendor's name for it, its instruction set where it has none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    vectors = "AVX-512" if any("avx512f" in line for line in lines) else ""
    kind = names[0] if names else platform.machine().replace("_", "-")
    return f"{kind}{vectors and ', '}{vectors}"


def _medians(content: Content) -> Iterator[tuple[str, Content]]:
    for mix, closed in content["closed"].items():
        yield mix, closed["median"]


def _speeds(content: Content) -> Iterator[list[str]]:
    for mix, cells in _medians(content):
        bare = {"passages_per_second": median(content["closed"][mix]["bare_passages_per_second"])}
        for callers in cells[CROSSRANK]:
            leads = [
                summary.ratio(content, mix, callers, peer, "passages_per_second")
                for peer in (INFINITY, PLAIN)
            ]
            speeds = [_speed(cells[name][callers]) for name in NAMES]
            yield [mix, callers, *speeds, _speed(bare), *(f"{lead:.2f} x" for lead in leads)]


def _nvidia(content: Content, width: int, cell: Callable[[Content], str]) -> Iterator[list[str]]:
    """aiperf's row, as wide as the others."""
    if found := content.get("aiperf"):
        row = [f"{STANDARD.name}, measured by aiperf", str(found["concurrency"]), cell(found)]
        yield row + [""] * (width - len(row))


def _limits(content: Content) -> Iterator[str]:
    for mix, closed in content["closed"].items():
        peak = summary.gemm_peak(content) / 1e9
        shares = summary.gemm_shares(content, mix).items()
        reached = ", ".join(f"{name} {share:.0%}" for name, share in shares)
        callers = summary.busiest(content, mix)
        yield f"{mix} mix, of the measured GEMM peak ({peak:.0f} GFLOP/s): {reached}"
        yield (
            f"{mix} mix, service efficiency at {callers} callers: "
            f"{summary.efficiency(content, mix):.2f} of the bare model"
        )
        ours = closed["median"][CROSSRANK][callers]
        yield (
            f"{mix} mix, event loop: {ours['loop_ms_per_request']:.1f} ms of CPU a request, "
            f"{ours['loop_share']:.1%} of the server's; outside tokenizing, queue and inference "
            f"a request spends {ours['rest_ms']:.1f} ms"
        )
    for name, found in content["formats"].items():
        yield f"{name}, bare: {found.get('skipped') or _way(found)}"
    cells = [
        c for mix in content["closed"].values() for s in mix["median"].values() for c in s.values()
    ]
    yield f"the load client took at most {max(c['client_cpus'] for c in cells):.2f} of a core"
    burnt = ", ".join(f"{name} {cpus:.3f}" for name, cpus in content["idle_cpus"].items())
    yield f"cores burnt while idle (idle servers are suspended while another is measured): {burnt}"
    worst = max(d for servers in content["agreement"].values() for d in servers.values())
    yield f"largest difference in logits between any server and the bare model: {worst:.1g}"


def _way(found: Content) -> str:
    return (
        f"{found['ratio']:.2f} times float32's passages/s on the {STANDARD.name} mix; "
        f"Kendall's tau {found['tau']:.3f}, logits at most {found['error']:.2g} off; "
        f"on the shipped checkpoint {found['trained_tau']:.3f}, {found['trained_error']:.2g}"
    )


def _speed(cell: Content) -> str:
    return f"{cell['passages_per_second']:.{0 if cell['passages_per_second'] >= 100 else 1}f}"


def _latency(cell: Content | None) -> str:
    return " / ".join(f"{cell[f'p{p}_ms']:.0f}" for p in (50, 95, 99)) if cell else ""


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
