"""`crossrank eval`: figures, table, JSON and plot; interrupted, it goes on where it stopped."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.__main__ import main
from app.settings import SHIPPED_CHECKPOINT
from engine.types import Limits
from models.mini import beir as mini
from tests import checkpoints
from tests.app import beir_folders
from tests.app.serving import app_at, listening, settings
from tests.gate import Gate

HALF = "everyday"


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSRANK_BACKEND", "fake")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return beir_folders.write(tmp_path / "data")


def figures(output: Path) -> dict[str, dict[str, float]]:
    """Means by order and measure."""
    content = json.loads((output / "figures.json").read_text())
    return {
        order: {name: value["mean"] for name, value in measured.items()}
        for order, measured in content["figures"].items()
    }


def test_the_figures_are_those_of_the_run_and_of_the_scores(
    folder: Path, bert_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert main(beir_folders.command(folder, output, "--checkpoint", str(bert_folder))) == 0
    found = figures(output)
    # d4 d6 d2 d1 d5 d3: q1 finds d1 at 4, q2 d2 at 3, q3 d6 at 2, q4 d3 at 6, q5 d4 at 1
    assert found["candidates"]["MRR@10"] == pytest.approx((1 / 4 + 1 / 3 + 1 / 2 + 1 / 6 + 1) / 5)
    assert found["candidates"]["Recall@5"] == pytest.approx((1 / 2 + 1 + 1 + 0 + 1) / 5)
    assert found["best order"] == {"nDCG@10": 1.0, "Recall@5": 1.0, "MRR@10": 1.0}
    scores = beir_folders.scores(output)
    firsts = [
        next(i for i, (name, _) in enumerate(scores[query], 1) if name in relevant)
        for query, relevant in beir_folders.RELEVANT.items()
    ]
    assert found["reranked"]["MRR@10"] == pytest.approx(sum(1 / place for place in firsts) / 5)
    out, err = capsys.readouterr()
    assert "data, test: 5 queries, 100 candidates at most from first.trec" in out
    assert f"{found['reranked']['MRR@10']:.4f} ±" in out
    assert "evaluating: 100 % (5 of 5 queries)" in err


def test_the_shipped_checkpoint_has_the_figures_of_its_card(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CROSSRANK_BACKEND")
    monkeypatch.setenv("CROSSRANK_COMPUTE_THREADS", "1")
    mini.write(tmp_path / "mini")
    data, output = tmp_path / "mini", tmp_path / "out"
    run = ["--run", str(data / "lists.trec"), "--split", HALF]
    asked = ["eval", str(data), *run, "--output", str(output)]
    assert main([*asked, "--checkpoint", str(SHIPPED_CHECKPOINT)]) == 0
    card = json.loads((SHIPPED_CHECKPOINT / "results.json").read_text())
    [row] = [r for r in card if (r["set"], r["ranked_by"]) == (f"dev, {HALF}", "this model")]
    found = figures(output)["reranked"]
    assert found["nDCG@10"] == pytest.approx(row["ndcg10"]["value"], abs=1e-3)
    assert found["MRR@10"] == pytest.approx(row["mrr"]["value"], abs=1e-3)


def test_without_a_run_the_candidates_are_bm25_s(
    folder: Path, bert_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["eval", str(folder), "--output", str(tmp_path), "--checkpoint", str(bert_folder)]
    assert main([*asked, "--depth", "2", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["run"], content["depth"], content["queries"]) == ("BM25", 2, 5)
    assert content == json.loads((tmp_path / "figures.json").read_text())
    assert all(len(ranking) <= 2 for ranking in beir_folders.scores(tmp_path).values())


def test_queries_without_candidates_are_counted_and_told(
    folder: Path, bert_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "first.trec").write_text("q5 Q0 d4 1 1 x\n")
    assert main(beir_folders.command(folder, tmp_path, "--checkpoint", str(bert_folder))) == 0
    assert "4 queries have no candidates and count 0" in capsys.readouterr().out
    assert figures(tmp_path)["reranked"]["MRR@10"] == pytest.approx(1 / 5)


def test_a_finished_run_ranks_nothing_again_and_another_depth_is_refused(
    folder: Path, bert_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = beir_folders.command(folder, tmp_path, "--checkpoint", str(bert_folder))
    assert main(asked) == 0
    before = (tmp_path / "scores.jsonl").read_bytes(), figures(tmp_path)
    assert main(asked) == 0
    assert ((tmp_path / "scores.jsonl").read_bytes(), figures(tmp_path)) == before
    capsys.readouterr()
    assert main([*asked, "--depth", "3"]) == 2
    assert "holds scores with depth 100, this run has depth 3: " in capsys.readouterr().err


def test_other_weights_under_the_same_name_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = beir_folders.command(folder, tmp_path)
    first, second = (checkpoints.bert(tmp_path / f"{seed}" / "tiny", seed=seed) for seed in (1, 2))
    assert main([*asked, "--checkpoint", str(first)]) == 0
    assert main([*asked, "--checkpoint", str(second)]) == 2
    told = capsys.readouterr().err
    assert re.search(
        r"holds scores with weights (\w{16}), this run has weights (?!\1)\w{16}: ", told
    )


def test_documents_that_were_changed_are_refused(
    folder: Path, bert_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = beir_folders.command(folder, tmp_path, "--checkpoint", str(bert_folder))
    assert main(asked) == 0
    corpus = folder / "corpus.jsonl"
    corpus.write_text(corpus.read_text().replace("Bread", "Toast"))
    assert main(asked) == 2
    assert "holds scores with documents " in capsys.readouterr().err


def test_a_full_disk_is_told_and_costs_the_line_that_did_not_fit(
    folder: Path, bert_folder: Path, tmp_path: Path
) -> None:
    asked = beir_folders.command(folder, tmp_path, "--checkpoint", str(bert_folder))
    code = (
        "import resource, sys; from app.__main__ import main;"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700)); sys.exit(main({asked!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    before = (tmp_path / "scores.jsonl").read_bytes()
    assert before.endswith(b"\n")
    assert before.count(b"\n") > 1
    assert main(asked) == 0
    assert (tmp_path / "scores.jsonl").read_bytes().startswith(before)
    assert beir_folders.scores(tmp_path).keys() == beir_folders.QUERIES.keys()


def test_the_plot_is_a_png(folder: Path, bert_folder: Path, tmp_path: Path) -> None:
    plot = tmp_path / "deep" / "plot.png"
    asked = beir_folders.command(folder, tmp_path, "--checkpoint", str(bert_folder))
    assert main([*asked, "--plot", str(plot)]) == 0
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("module", "more", "told"),
    [
        ("chart", ["--plot", "plot.png"], "--plot needs matplotlib"),
        ("figures", [], "measuring needs pytrec_eval"),
        ("bm25", [], "making candidates (no --run was given) needs bm25s"),
    ],
)
def test_a_missing_extra_is_named_before_anything_is_ranked(  # noqa: PLR0917
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    module: str,
    more: list[str],
    told: str,
) -> None:
    monkeypatch.setitem(sys.modules, told.rpartition(" ")[2], None)
    for name in (module, "report"):  # imported again, as in a new process
        monkeypatch.delitem(sys.modules, f"app.evaluation.{name}", raising=False)
        monkeypatch.delattr(f"app.evaluation.{name}", raising=False)
    assert main(["eval", str(folder), "--output", str(folder / "out"), *more]) == 2
    err = capsys.readouterr().err
    assert f"{told}: install the extra with pip install" in err
    assert "'.[eval]'" in err
    assert not (folder / "out" / "scores.jsonl").exists()


@pytest.mark.parametrize(
    "more",
    [
        ["--depth", "0"], ["--concurrency", "x"], ["--header", "no colon"],
        ["--url", "http://a", "--checkpoint", "b"], ["--dialect", "soap"],
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(folder: Path, more: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(beir_folders.command(folder, folder / "out", *more))
    assert ended.value.code == 2


def test_an_output_that_cannot_be_written_is_told(
    folder: Path, bert_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = folder / "corpus.jsonl"
    assert main(beir_folders.command(folder, output, "--checkpoint", str(bert_folder))) == 2
    assert "corpus.jsonl cannot be written" in capsys.readouterr().err


@pytest.fixture
def interruptible() -> Iterator[None]:
    """What runs in the background is often started deaf to SIGINT, and its children are, too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.anyio
@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(
    ("how", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)]
)
async def test_interrupted_after_two_queries_it_asks_for_the_other_three_only(
    folder: Path, bert_folder: Path, tmp_path: Path, how: signal.Signals, status: int
) -> None:
    """The third query stands at the gate when the process is ended."""
    gate = Gate(Limits(512, 16))
    with listening(app_at(gate, settings(bert_folder))) as url:
        asked = beir_folders.command(folder, tmp_path / "out", "--url", url, "--concurrency", "1")
        process = subprocess.Popen([sys.executable, "-m", "app", *asked])
        for _ in range(2):
            await gate.batch()
            gate.open()
        await gate.batch()
        process.send_signal(how)
        assert process.wait() == status
        assert len(beir_folders.scores(tmp_path / "out")) == 2
        gate.open_for_good()
        assert await asyncio.to_thread(main, asked) == 0
        assert gate.passed() == 3
        whole = beir_folders.command(folder, tmp_path / "whole", "--url", url)
        assert await asyncio.to_thread(main, whole) == 0
    assert figures(tmp_path / "out") == figures(tmp_path / "whole")
    assert beir_folders.scores(tmp_path / "out") == beir_folders.scores(tmp_path / "whole")
