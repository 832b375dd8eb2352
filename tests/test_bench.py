"""The benchmark's own parts, with no peer and nothing timed: mixes, arrivals, figures, report."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from app.settings import SHIPPED_CHECKPOINT
from engine import checkpoint as checkpoints
from engine.config import EngineConfig
from engine.types import Pair
from loadtests.bench import checkpoint, figures, load, plots, report, servers, summary
from loadtests.bench.agreement import TOLERANCE, Disagreement, check
from loadtests.bench.ceiling import BareModel, forward_flops, packed
from loadtests.bench.dialects import INFINITY, NIM, PLAIN
from loadtests.bench.mixes import LONG, MIXES, SHORT, STANDARD, Drawer, Mix, Request
from loadtests.bench.names import BARE, CROSSRANK, NAMES
from loadtests.bench.names import INFINITY as INFINITY_NAME
from loadtests.bench.plan import FULL, QUICK, sustains

REQUEST = Request("which?", ("one", "two", "three"), (8, 8, 8))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(SHIPPED_CHECKPOINT / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


@pytest.fixture(scope="module")
def drawer(tokenizer: Tokenizer) -> Drawer:
    return Drawer(tokenizer)


@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: mix.name)
def test_a_mix_is_the_same_every_time_and_as_long_as_it_says(
    mix: Mix, drawer: Drawer, tokenizer: Tokenizer
) -> None:
    requests = drawer.requests(mix, 40)
    assert requests[:5] == Drawer(tokenizer).requests(mix, 5)
    assert len({r.passages for r in requests}) == 40
    for request in requests[:10]:
        pairs = [(request.query, passage) for passage in request.passages]
        counted = tuple(len(encoding.ids) for encoding in tokenizer.encode_batch(pairs))
        assert counted == request.tokens
    lengths = [n for request in requests for n in request.tokens]
    assert mix.least <= min(lengths) <= max(lengths) <= mix.most
    assert sorted(lengths)[len(lengths) // 2] == pytest.approx(mix.median, rel=0.1)


def test_the_mixes_are_those_that_the_report_names() -> None:
    assert SHORT.most == 48
    assert (STANDARD.median, STANDARD.most, set(STANDARD.sizes)) == (120, 512, {5, 20, 100})
    assert (LONG.least, LONG.most) == (512, checkpoint.MAX_TOKENS)


def test_every_block_of_requests_has_every_size(drawer: Drawer) -> None:
    block = len(STANDARD.sizes)
    sizes = [len(r.passages) for r in drawer.requests(STANDARD, 2 * block)]
    assert sorted(sizes[:block]) == sorted(sizes[block:]) == sorted(STANDARD.sizes)


def test_arrivals_are_poisson_and_the_pattern_is_the_same_at_every_rate() -> None:
    arrivals = figures.poisson_arrivals(10.0, 5000, seed=4)
    gaps = [b - a for a, b in zip([0.0, *arrivals], arrivals, strict=False)]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert mean == pytest.approx(0.1, rel=0.05)
    assert variance == pytest.approx(mean**2, rel=0.1)  # as only independent arrivals have it
    assert figures.poisson_arrivals(5.0, 5000, seed=4) == pytest.approx([2 * a for a in arrivals])


def test_figures_are_medians_over_rounds_and_ratios_are_taken_within_each() -> None:
    assert figures.percentiles([0.001 * n for n in range(101)]) == {
        "p50_ms": 50.0, "p95_ms": 95.0, "p99_ms": 99.0,
    }  # fmt: skip
    assert figures.medians([{"a": 1.0}, {"a": 9.0}, {"a": 2.0}]) == {"a": 2.0}
    assert figures.median_ratio([2.0, 20.0, 3.0], [1.0, 10.0, 1.0]) == 2.0


def test_each_server_is_asked_in_its_own_words_and_logits_come_back_in_order() -> None:
    ranked = [{"index": 2, "logit": 3.0}, {"index": 0, "logit": 2.0}, {"index": 1, "logit": 1.0}]
    results = [{"index": r["index"], "relevance_score": r["logit"]} for r in ranked]
    assert NIM.logits({"rankings": ranked}) == [2.0, 1.0, 3.0]
    assert INFINITY.logits({"results": results}) == [2.0, 1.0, 3.0]
    assert PLAIN.logits({"scores": [2.0, 1.0, 3.0]}) == [2.0, 1.0, 3.0]
    assert json.loads(NIM.body(REQUEST))["passages"][1] == {"text": "two"}
    assert json.loads(INFINITY.body(REQUEST))["raw_scores"] is True
    assert json.loads(PLAIN.body(REQUEST)) == {
        "query": "which?",
        "documents": ["one", "two", "three"],
    }


def test_servers_that_disagree_stop_the_run() -> None:
    ours = [[1.0, 2.0], [3.0]]
    assert check("short", ours, [[1.0, 2.0005], [3.0]], "peer") == pytest.approx(5e-4)
    with pytest.raises(Disagreement, match=r"peer .* 0\.002 .* short mix"):
        check("short", ours, [[1.0, 2.0 + 2 * TOLERANCE], [3.0]], "peer")
    with pytest.raises(Disagreement):
        check("short", ours, [[1.0, float("nan")], [3.0]], "peer")
    with pytest.raises(Disagreement, match="degenerate"):
        check("short", [[1.0, 1.0]], [[1.0, 1.0]], "peer")


def test_the_checkpoint_is_seeded_and_its_scores_spread(tmp_path: Path, drawer: Drawer) -> None:
    folder, again = checkpoint.write(tmp_path / "a"), checkpoint.write(tmp_path / "b")
    weights = "model.safetensors"
    assert (folder / weights).read_bytes() == (again / weights).read_bytes()
    bare = BareModel(folder)
    requests = drawer.requests(SHORT, 1)
    done = bare.run(requests)
    bare.close()
    assert [len(logits) for logits in done.logits] == [20]
    assert max(done.logits[0]) - min(done.logits[0]) > 0.5


def test_a_load_on_a_real_server_is_accounted_for(tmp_path: Path, drawer: Drawer) -> None:
    requests = drawer.requests(SHORT, 3)
    too_long = Request("which?", ("word " * checkpoint.MAX_TOKENS,), (checkpoint.MAX_TOKENS + 4,))
    with servers.ours(checkpoint.write(tmp_path)) as server:
        runs = [load.closed(server, requests, 2), load.open_loop(server, requests, [0, 0.01, 0.02])]
        with pytest.raises(SystemExit, match=r"1 of 1 requests, with \[422\]"):
            load.closed(server, [too_long], 1)
    for run in runs:
        assert run.passages == 60
        assert len(run.latencies) == 3
        assert run.stages is not None
        assert run.stages.requests == 3
        assert run.stages.inference > 0
        assert run.stages.rest > 0  # the stages are parts of the whole
        assert run.figures().keys() >= {"p99_ms", "server_cpus", "client_cpus", "loop_share"}


def test_the_ceiling_packs_full_batches_in_order() -> None:
    pairs = [Pair(drawn, split=len(drawn)) for drawn in _ids(50, 40, 30, 30)]
    batches = list(packed(pairs, max_tokens=90, max_rows=2))
    assert [batch.lengths for batch in batches] == [[50, 40], [30, 30]]


def _ids(*lengths: int) -> list[Any]:
    import numpy as np

    return [np.zeros(n, dtype=np.int32) for n in lengths]


def test_the_work_of_a_pair_is_that_of_minilm(tmp_path: Path) -> None:
    opened = checkpoints.load(EngineConfig(checkpoint=str(checkpoint.write(tmp_path))))
    per_layer = 4 * 384**2 + 2 * 384 * 1536
    body = 100 * (2 * 6 * per_layer) + 6 * 4 * 384 * 100**2
    assert forward_flops(opened, [100]) == body + 2 * 384**2


def test_a_server_is_offered_what_it_can_keep_up_with() -> None:
    assert sustains(50.0, 100.0)
    assert not sustains(95.0, 100.0)
    assert QUICK.count(8, seconds_per_request=10.0) == 8
    assert FULL.count(1, seconds_per_request=0.1) == 30
    assert FULL.callers(STANDARD) == [1, 8, 32]
    assert FULL.callers(LONG) == [1, 8]


def made_up(concurrencies: tuple[int, ...] = (1, 8, 32)) -> dict[str, Any]:
    """A result in which crossrank is twice and four times as fast as its peers."""
    speeds = dict(zip(NAMES, (200.0, 100.0, 50.0), strict=True))
    stages = {"tokenize_ms": 1.0, "queue_ms": 5.0, "inference_ms": 20.0, "rest_ms": 2.0}

    def cell(name: str) -> dict[str, float]:
        slow = 20_000 / speeds[name]
        latency = {"p50_ms": slow, "p95_ms": 2 * slow, "p99_ms": 3 * slow}
        cpu = {"client_cpus": 0.01, "loop_ms_per_request": 1.0, "loop_share": 0.01}
        ours = stages if name == CROSSRANK else {}
        return {"passages_per_second": speeds[name]} | latency | cpu | ours

    cells = {name: {str(c): cell(name) for c in concurrencies} for name in NAMES}
    closed = {
        "rounds": {name: {c: [one] for c, one in by.items()} for name, by in cells.items()},
        "median": cells,
        "bare_passages_per_second": [220.0],
        "flops_per_passage": 3e8,
    }
    return {
        "machine": "2 cores of a test",
        "mixes": {mix.name: mix.says for mix in MIXES},
        "closed": {mix.name: closed for mix in MIXES},
        "open": [
            {"server": name, "offered": rate} | cell(name)
            for name in NAMES
            for rate in (20.0, 40.0)
        ],
        "sizes": [
            {"passages": 1, "tokens": 100, "seconds": 0.02},
            {"passages": 512, "tokens": 51_200, "seconds": 5.12},
        ],
        "formats": {
            "bf16": {"skipped": "bf16 is slow here"},
            "int8": {
                "ratio": 1.9,
                "tau": 0.95,
                "error": 0.1,
                "trained_tau": 0.99,
                "trained_error": 0.5,
            },
        },
        "gemm_flops": [9e10, 1e11],
        "agreement": {"short": dict.fromkeys(NAMES, 1e-5)},
        "idle_cpus": dict.fromkeys(NAMES, 0.0),
        "aiperf": {"concurrency": 8} | cell(CROSSRANK),
    }


def test_the_report_has_every_server_and_a_verdict_for_each_target() -> None:
    content = made_up()
    text = report.text(content)
    assert "| standard | 8 | 200 | 100 | 50.0 | 220 | 2.00 x | 4.00 x |" in text
    assert "| standard | 8 | 100 / 200 / 300 | 200 / 400 / 600 | 400 / 800 / 1200 |" in text
    assert "| standard, measured by aiperf | 8 | 200 |" in text
    assert "| 20 | 100 / 200 / 300 | 200 / 400 / 600 |" in text
    assert "- standard mix, service efficiency at 32 callers: 0.91 of the bare model" in text
    assert "- bf16, bare: bf16 is slow here" in text
    assert "- int8, bare: 1.90 times float32's passages/s on the standard mix" in text
    verdicts = {target.text: target.met for target in summary.targets(content)}
    assert all(f"- {target.line()}\n" in f"{text}\n" for target in summary.targets(content))
    missed = "service efficiency at 32 callers: at least 0.95 of the bare model's passages/s"
    assert verdicts.pop(missed) is False
    assert all(verdicts.values())
    assert len(verdicts) == 14


def test_what_a_quick_run_did_not_measure_is_neither_met_nor_missed() -> None:
    targets = summary.targets(made_up((1, 8)))
    unmeasured = [target for target in targets if target.met is None]
    assert {"32" in target.text for target in unmeasured} == {True}
    assert len(unmeasured) == 6
    assert all(target.line().startswith("not measured: ") for target in unmeasured)


def test_a_slower_server_misses_its_targets() -> None:
    content = made_up()
    ours, theirs = (content["closed"]["short"]["rounds"][n] for n in (CROSSRANK, INFINITY_NAME))
    ours["8"], theirs["8"] = theirs["8"], ours["8"]
    missed = [target.text for target in summary.targets(content) if target.met is False]
    assert "short mix, 8 callers: at least 2 times infinity-emb's passages/s" in missed


def test_the_shares_of_the_peak_are_arithmetic() -> None:
    shares = summary.gemm_shares(made_up(), "standard")
    assert shares == pytest.approx({NAMES[0]: 0.6, NAMES[1]: 0.3, NAMES[2]: 0.15, BARE: 0.66})


def test_the_plots_are_drawn(tmp_path: Path) -> None:
    plots.draw(made_up(), tmp_path)
    drawn = {path.name: path.read_bytes()[:8] for path in tmp_path.iterdir()}
    names = {"bench-throughput.png", "bench-latency.png", "bench-time.png"}
    assert drawn == dict.fromkeys(names, b"\x89PNG\r\n\x1a\n")
