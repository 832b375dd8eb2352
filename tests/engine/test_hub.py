"""Getting a checkpoint from a hub: pinned, verified, resumable, and clear when it fails."""

import hashlib
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import checkpoint, hub
from engine.config import EngineConfig
from engine.errors import StartError
from tests import stand_in_hub
from tests.stand_in_hub import COMMIT, REPO, Hub

TOKEN = "hf_0123456789"


@pytest.fixture
def remote(bert_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with a tiny checkpoint, its remote code, a pickle and a picture."""
    with stand_in_hub.serve(bert_folder) as served:
        served.files |= {
            "modeling.py": b"raise SystemExit",
            "pytorch_model.bin": b"pickle",
            "plot.png": b"",
            "LICENSE": b"Apache-2.0",
        }
        _point_at(served.url, monkeypatch)
        yield served


def _point_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_ENDPOINT does before the library is imported; and no waiting between its retries."""
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def config(cache: Path, **changes: Any) -> EngineConfig:
    pinned = EngineConfig(checkpoint=REPO, revision=COMMIT, cache_dir=cache, hub_token=TOKEN)
    return replace(pinned, **changes)


def test_a_pinned_commit_is_downloaded_and_loads(remote: Hub, tmp_path: Path) -> None:
    loaded = checkpoint.load(config(tmp_path))
    assert (loaded.name, loaded.revision, loaded.family) == (REPO, COMMIT, "bert")
    assert loaded.folder.is_relative_to(tmp_path)
    calls = [r.path for r in remote.requests if r.path.startswith("/api/models/")]
    assert calls
    assert all(path.startswith(f"/api/models/{REPO}/tree/{COMMIT}") for path in calls)


def test_code_pickles_and_pictures_are_never_asked_for(remote: Hub, tmp_path: Path) -> None:
    folder, _ = hub.locate(config(tmp_path))
    wanted = {"config.json", "tokenizer.json", "model.safetensors", "LICENSE"}
    assert {path.name for path in folder.iterdir()} == wanted
    for name in ("modeling.py", "pytorch_model.bin", "plot.png"):
        assert not [r for r in remote.requests if r.path.endswith(name)]


def test_a_download_shows_its_progress(
    remote: Hub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hub.locate(config(tmp_path))
    assert "4/4" in capfd.readouterr().err


def test_every_call_carries_the_token(remote: Hub, tmp_path: Path) -> None:
    hub.locate(config(tmp_path))
    calls = [r for r in remote.requests if REPO in r.path]
    assert calls
    assert {r.headers["authorization"] for r in calls} == {f"Bearer {TOKEN}"}


def test_without_a_pin_the_newest_commit_is_taken_with_a_warning(
    remote: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        _, commit = hub.locate(config(tmp_path, revision=None))
    assert commit == COMMIT
    assert "not pinned" in caplog.text


def test_a_cached_checkpoint_loads_offline_and_with_the_hub_down(
    bert_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stand_in_hub.serve(bert_folder) as served:
        _point_at(served.url, monkeypatch)
        first = checkpoint.load(config(tmp_path))
    assert checkpoint.load(config(tmp_path, offline=True)) == first
    assert checkpoint.load(config(tmp_path)) == first


def test_offline_without_a_cache_says_how_to_fill_it(remote: Hub, tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"not in the cache, and offline mode is on: download it"):
        hub.locate(config(tmp_path, offline=True))
    assert not remote.requests


def test_offline_with_half_a_cache_says_how_to_fill_it(remote: Hub, tmp_path: Path) -> None:
    folder, _ = hub.locate(config(tmp_path))
    (folder / "model.safetensors").unlink()
    with pytest.raises(StartError, match="not in the cache"):
        hub.locate(config(tmp_path, offline=True))


def test_a_wrong_revision_is_named(remote: Hub, tmp_path: Path) -> None:
    with pytest.raises(StartError, match=f"{REPO} at revision v9 does not exist: check the rev"):
        hub.locate(config(tmp_path, revision="v9"))


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        ((401, "GatedRepo"), "is gated: accept its terms on the hub and set HF_TOKEN"),
        ((403, "GatedRepo"), "is gated: accept its terms on the hub and set HF_TOKEN"),
        ((401, ""), "does not exist or is private: check the name, or set HF_TOKEN"),
        ((403, ""), "does not exist or is private: check the name, or set HF_TOKEN"),
        ((404, "RepoNotFound"), "does not exist or is private: check the name"),
        ((500, ""), r"could not be downloaded \(HfHubHTTPError: .*500.*\): check the network"),
    ],
)
def test_a_refusal_says_what_to_do(
    remote: Hub, tmp_path: Path, refusal: tuple[int, str], reason: str
) -> None:
    remote.refusal = refusal
    with pytest.raises(StartError, match=reason):
        hub.locate(config(tmp_path))


def test_a_hub_that_is_down_is_named_with_the_remedy(
    bert_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stand_in_hub.serve(bert_folder) as served:
        _point_at(served.url, monkeypatch)
    with pytest.raises(StartError, match=r"\(ConnectError: .*\): check the network, HF_ENDPOINT"):
        hub.locate(config(tmp_path))


@pytest.mark.parametrize("name", ["a", "../b", "models\\mini", "/no/such/folder", "x/y/z"])
def test_what_is_neither_a_folder_nor_a_hub_id_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"no folder .*: give a folder with config.json"):
        hub.locate(config(tmp_path, checkpoint=name))


def test_a_name_the_hub_library_refuses_is_a_start_error(remote: Hub, tmp_path: Path) -> None:
    with pytest.raises(StartError, match="could not be downloaded"):
        hub.locate(config(tmp_path, checkpoint="acme/a..b"))


def test_a_cut_download_resumes_where_it_stopped(
    remote: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The library keeps whole chunks of this size; its own are larger than this file.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1)
    remote.cuts = {"model.safetensors": 2}
    folder, _ = hub.locate(config(tmp_path))
    assert (folder / "model.safetensors").read_bytes() == remote.files["model.safetensors"]
    size = len(remote.files["model.safetensors"])
    asked = [r.headers.get("range") for r in remote.asked_for("model.safetensors")]
    assert asked == [None, f"bytes={size // 2}-", f"bytes={size // 2 + (size - size // 2) // 2}-"]


def test_after_a_failed_download_only_what_is_missing_is_fetched(
    remote: Hub, tmp_path: Path
) -> None:
    remote.cuts = {"model.safetensors": 1000}
    with pytest.raises(StartError, match="start again"):
        hub.locate(config(tmp_path))
    remote.cuts = {}
    checkpoint.load(config(tmp_path))
    assert len(remote.asked_for("tokenizer.json")) == 1


def test_a_pinned_file_of_another_content_is_refused(
    remote: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(remote.files["model.safetensors"]).hexdigest()
    monkeypatch.setitem(hub.SHA256, COMMIT, {"model.safetensors": digest})
    folder, _ = hub.locate(config(tmp_path))
    (folder / "model.safetensors").write_bytes(b"not what was published")
    with pytest.raises(StartError, match=rf"sha256 .* but the pinned commit's is {digest}: delete"):
        hub.locate(config(tmp_path))


def test_a_pinned_file_that_is_not_there_is_refused(
    remote: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(hub.SHA256, COMMIT, {"tokenizer_config.json": "0" * 64})
    with pytest.raises(StartError, match=r"lacks tokenizer_config.json"):
        hub.locate(config(tmp_path))


def test_a_cache_that_cannot_be_written_is_a_start_error(remote: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match=r"could not be downloaded .* and the disk"):
        hub.locate(config(tmp_path / "file"))


def test_the_known_models_are_pinned_to_commits_whose_files_are_known() -> None:
    for repo, commit in hub.PINNED.items():
        assert re.fullmatch(r"nvidia/[\w.-]+", repo)
        assert re.fullmatch(r"[0-9a-f]{40}", commit)
        assert "model.safetensors" in hub.SHA256[commit]
