"""loadtests/gpu.py runs where there is no GPU, and says what it left out and why."""

import json
import sys

import pytest

from engine.families import llama
from loadtests import gpu, nemotron


def test_a_dry_run_measures_what_can_run_and_names_what_cannot(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu", "--dry"])
    gpu.main()
    lines = capsys.readouterr().out.splitlines()
    results = {result["backend"]: result for result in json.loads(lines[-1])["results"]}
    for name in ("torch", "transformers"):
        assert results[name]["error"] < 1e-3
        assert results[name]["tau"] == 1.0
        assert results[name]["mixed"]["tokens/s"] > 0
    for name in ("tensorrt", "tensorrt fp8"):
        assert "GPU" in results[name]["skipped"]
        assert any(line.startswith(f"{name}: skipped, ") for line in lines)


def test_the_work_of_a_pair_is_that_of_the_published_model() -> None:
    config = llama.parse(nemotron.CONFIG)
    checkpoint = type("Shape", (), {"config": config})
    assert gpu.forward_flops(checkpoint, 512) / 512 == 1_946_157_056 + 131_072 * 512  # type: ignore[arg-type]
