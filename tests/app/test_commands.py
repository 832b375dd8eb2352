"""The command line: a ranking without a server, and what NIM's operator and charts call."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app import __main__ as command
from loadtests.process import crossrank

PASSAGES = ["rain falls", "a stone", "bread " * 30]


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, bert_folder: Path) -> None:
    for name in [*os.environ]:
        if name.startswith(("CROSSRANK_", "NIM_", "HF_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CROSSRANK_CHECKPOINT", str(bert_folder))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = command.main(arguments)
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "passages.txt"
    path.write_text("\n\n".join(PASSAGES) + "\n")
    return path


def test_a_file_of_lines_becomes_a_table(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    status, out, _ = run(capsys, "rank", "--query", "why rain", "--passages", str(file))
    header, *rows, tokens = out.splitlines()
    assert status == 0
    assert header.split() == ["rank", "index", "logit", "score", "passage"]
    logits = [float(row.split()[2]) for row in rows]
    assert logits == sorted(logits, reverse=True)
    assert sorted(int(row.split()[1]) for row in rows) == [0, 1, 2]
    assert all(len(row) < 110 for row in rows)
    assert tokens.endswith(" tokens")


@pytest.mark.parametrize("shape", ["object", "string"])
def test_json_lines_become_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, shape: str
) -> None:
    lines = [json.dumps({"text": p, "id": 1} if shape == "object" else p) for p in PASSAGES]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
    status, out, _ = run(
        capsys, "rank", "--query", "why", "--passages", "-", "--json", "--top-n", "2"
    )
    answer = json.loads(out)
    assert status == 0
    assert len(answer["results"]) == 2
    for item in answer["results"]:
        assert item["text"] == PASSAGES[item["index"]]
        assert 0 < item["score"] < 1
        assert not item["truncated"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\n \n", "there are no passages"),
        (b'{"text": "a"}\n{"txt": "b"}', "line 2 of the passages has no string under text"),
        (b'{"text": "a"}\n{', "line 2 of the passages is not valid JSON"),
        (b"\xff", "cannot be read"),
    ],
)
def test_bad_passages_are_refused_by_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "passages"
    path.write_bytes(content)
    status, out, err = run(capsys, "rank", "--query", "q", "--passages", str(path))
    assert (status, out) == (2, "")
    assert reason in err


def test_over_long_passages_are_cut_and_marked_or_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "passages"
    path.write_text("rain " * 2000)
    asked = ("rank", "--query", "q", "--passages", str(path))
    assert "(cut)" in run(capsys, *asked)[1]
    status, _, err = run(capsys, *asked, "--refuse-long")
    assert status == 2
    assert "exceeds maximum allowed token size" in err


@pytest.mark.parametrize("name", ["SHOW_CONFIG", "CROSSRANK_SHOW_CONFIG", None])
def test_the_configuration_is_shown_and_secrets_are_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    monkeypatch.setenv("NIM_HTTP_API_PORT", "9123")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    if name:
        monkeypatch.setenv(name, "1")
    status, out, _ = run(capsys, *([] if name else ["show-config"]))
    assert status == 0
    shown = dict(line.split(maxsplit=1) for line in out.splitlines() if line.startswith("CROSS"))
    assert shown["CROSSRANK_PORT"] == "9123"
    assert shown["CROSSRANK_HF_TOKEN"] == "(set)"
    assert "hf_secret" not in out


@pytest.mark.parametrize(
    "arguments", [[], ["serve"], ["download-to-cache", "--profiles", "a", "b"]]
)
def test_a_cache_job_verifies_the_model_and_exits(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    bert_folder: Path,
    arguments: list[str],
) -> None:
    if "download-to-cache" not in arguments:
        monkeypatch.setenv("NIM_ENGINE_MODEL_DOWNLOAD_ONLY", "1")
    status, out, _ = run(capsys, *arguments)
    assert status == 0
    assert f"is in {bert_folder}, verified" in out


def test_a_cache_job_fails_where_the_model_cannot_be_had(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSRANK_CHECKPOINT", "/nowhere/at/all")
    status, _, err = run(capsys, "download-to-cache", "--all")
    assert status == 2
    assert "no folder" in err


def test_a_model_store_is_a_folder_that_can_be_served(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: Path
) -> None:
    repository, store = os.environ["CROSSRANK_CHECKPOINT"], tmp_path / "deep" / "store"
    monkeypatch.setenv("CROSSRANK_CHECKPOINT", "/nowhere")
    status, _, _ = run(
        capsys, "create-model-store", "--profile", "p", "--model-repo", repository,
        "--model-store", str(store),
    )  # fmt: skip
    assert status == 0
    monkeypatch.setenv("CROSSRANK_CHECKPOINT", str(store))
    assert run(capsys, "rank", "--query", "q", "--passages", str(file))[0] == 0


def test_ngc_is_refused_with_the_remedy(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, _, err = run(
        capsys, "create-model-store", "--model-repo", "ngc://nim/nvidia/x:1",
        "--model-store", str(tmp_path),
    )  # fmt: skip
    assert status == 2
    assert "give a hub id" in err


def test_the_one_profile_is_listed_as_runnable(
    capsys: pytest.CaptureFixture[str], bert_folder: Path
) -> None:
    _, out, _ = run(capsys, "list-model-profiles")
    runnable = out.split("Compatible with system and runnable:\n")[1].splitlines()[0]
    assert runnable == f"  - {bert_folder}@local (auto)"


@pytest.mark.parametrize("name", ["download_to_cache", "list_model_profiles"])
def test_nim_s_command_names_are_commands_of_their_own(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(sys, "argv", [name])
    assert getattr(command, name)() == 0


def test_ignored_names_are_logged_once_on_one_line(bert_folder: Path) -> None:
    settings = {"CROSSRANK_CHECKPOINT": str(bert_folder), "NIM_MODEL_PROFILE": "x"}
    with crossrank(**settings, NGC_API_KEY="k", NIM_ENGINE_MODEL_DOWNLOAD_ONLY="1") as process:
        _, log = process.communicate()
        assert process.returncode == 0
    lines = [line for line in log.splitlines() if "ignored" in line]
    assert len(lines) == 1
    assert lines[0].endswith("NGC_API_KEY, NIM_MODEL_PROFILE")


def test_the_engine_s_names_load_when_they_are_used() -> None:
    code = (
        "import sys, engine; heavy = {'torch', 'numpy', 'tokenizers', 'fastapi'};"
        "assert not heavy & set(sys.modules); from engine import Reranker, Query, EngineConfig;"
        "assert not {'torch', 'fastapi'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
