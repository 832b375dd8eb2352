"""Plans on disk are whole or absent, built once, and never used where they do not fit."""

import errno
import os
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from engine import checkpoint as checkpoints_of
from engine.backends.tensorrt import store
from engine.backends.tensorrt.build import Compiled
from engine.backends.tensorrt.layers import LayerReport
from engine.backends.tensorrt.manifest import MANIFEST, PLAN, Identity, Manifest
from engine.backends.tensorrt.profiles import Profile
from engine.checkpoint import fingerprint
from engine.config import EngineConfig
from engine.errors import StartError
from engine.types import Checkpoint
from tests import checkpoints

IDENTITY = Identity(
    checkpoint="c0ffee",
    runtime="tensorrt",
    version="11.4.0.106",
    compute_capability="9.0",
    dtype="bf16",
    profiles=(Profile(1024, 2, 512), Profile(1024, 8, 128)),
)
REPORT = LayerReport((("a+b+c", "gemm"), ("_gemm_mha_v2", "kgen")))
LEFT_OVER = "*.partial-*"


@pytest.fixture(scope="module")
def checkpoint(llama_folder: Path) -> Checkpoint:
    return checkpoints_of.load(EngineConfig(checkpoint=str(llama_folder)))


def compiled(plan: bytes = b"a plan") -> Compiled:
    return Compiled(plan, REPORT, b"")


def never() -> Compiled:
    pytest.fail("the plan is there: nothing is compiled")


def test_a_plan_is_compiled_once_and_then_found(tmp_path: Path, checkpoint: Checkpoint) -> None:
    folder = store.obtain(tmp_path, checkpoint, IDENTITY, compiled)
    assert (folder / PLAN).read_bytes() == b"a plan"
    assert store.obtain(tmp_path, checkpoint, IDENTITY, never) == folder


def test_the_manifest_says_what_the_plan_is_and_how_it_was_fused(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    folder = store.obtain(tmp_path, checkpoint, IDENTITY, compiled)
    manifest = Manifest.read(folder)
    manifest.verify(folder)
    assert manifest.identity == IDENTITY
    assert (manifest.fused_attention, manifest.attention_layers) == (1, checkpoint.config.layers)
    assert manifest.layers == ("a+b+c [gemm]", "_gemm_mha_v2 [kgen]")


@pytest.mark.parametrize(
    "change",
    [
        {"checkpoint": "decaf"},
        {"runtime": "tensorrt-rtx"},
        {"version": "11.5.0.1"},
        {"compute_capability": "8.9"},
        {"dtype": "fp16"},
        {"profiles": (Profile(1024, 2, 512),)},
        {"scales": "0123"},
        {"network": 2},
    ],
    ids=str,
)
def test_whatever_a_plan_depends_on_makes_another_plan(
    tmp_path: Path, checkpoint: Checkpoint, change: dict[str, Any]
) -> None:
    store.obtain(tmp_path, checkpoint, IDENTITY, compiled)
    other = store.obtain(
        tmp_path, checkpoint, replace(IDENTITY, **change), lambda: compiled(b"another")
    )
    assert (other / PLAN).read_bytes() == b"another"


def test_a_difference_names_both_values() -> None:
    [difference] = IDENTITY.differences(replace(IDENTITY, compute_capability="8.9"))
    assert difference == "its compute capability is 9.0, wanted is 8.9"


def test_the_fingerprint_is_of_the_content(checkpoint: Checkpoint, tmp_path: Path) -> None:
    copy = tmp_path / "renamed"
    shutil.copytree(checkpoint.folder, copy)
    same = checkpoints_of.load(EngineConfig(checkpoint=str(copy)))
    other = checkpoints_of.load(
        EngineConfig(checkpoint=str(checkpoints.llama(tmp_path / "other", seed=5)))
    )
    assert fingerprint(checkpoint) == fingerprint(same) != fingerprint(other)


def test_a_failed_build_leaves_nothing(tmp_path: Path, checkpoint: Checkpoint) -> None:
    def fail() -> Compiled:
        raise StartError("the builder refused the network")

    with pytest.raises(StartError, match="refused"):
        store.obtain(tmp_path, checkpoint, IDENTITY, fail)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []
    assert store.obtain(tmp_path, checkpoint, IDENTITY, compiled)


def test_a_full_disk_is_a_clear_message_and_no_half_plan(
    tmp_path: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StartError, match=r"the disk of .* is full: free some"):
        store.obtain(tmp_path, checkpoint, IDENTITY, compiled)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_too_small_a_disk_is_refused_before_the_long_build(
    tmp_path: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=3 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StartError, match=r"has 3 MiB free, but the plan needs about 64 MiB"):
        store.obtain(tmp_path, checkpoint, IDENTITY, never)


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path, checkpoint: Checkpoint) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match=r"cannot be written .*: choose another folder"):
        store.obtain(tmp_path / "file" / "plans", checkpoint, IDENTITY, never)


def test_a_plan_can_be_put_in_a_folder_of_its_own_and_again(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    for plan in (b"first", b"second"):
        store.replace(tmp_path / "mine", checkpoint, IDENTITY, partial(compiled, plan))
        assert (tmp_path / "mine" / PLAN).read_bytes() == plan
    assert list(tmp_path.glob(LEFT_OVER)) == []


def test_a_folder_with_other_files_is_not_overwritten(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(StartError, match="has files in it that are no plan"):
        store.replace(tmp_path, checkpoint, IDENTITY, never)


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"identity": {"profiles": 3}}'])
def test_a_damaged_manifest_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(StartError, match=r"manifest\.json"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [(b"a plan, longer", "has 14 bytes, but 6 were written"), (b"a plam", "has sha256 .*, but")],
)
def test_a_damaged_plan_is_refused(
    tmp_path: Path, checkpoint: Checkpoint, damage: bytes, message: str
) -> None:
    folder = store.obtain(tmp_path, checkpoint, IDENTITY, compiled)
    (folder / PLAN).write_bytes(damage)
    with pytest.raises(StartError, match=message):
        Manifest.read(folder).verify(folder)


PROCESS = """
    import os, signal, sys
    from pathlib import Path
    from engine import checkpoint
    from engine.backends.tensorrt import store
    from engine.config import EngineConfig
    from tests.engine.test_tensorrt_store import IDENTITY, compiled

    root, log, fate = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[4]

    def compile():
        with log.open("a") as file:
            file.write("compiled\\n")
        if fate == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        sys.stdin.read()  # until the test lets go
        return compiled()

    loaded = checkpoint.load(EngineConfig(checkpoint=sys.argv[3]))
    print("starts", flush=True)
    print(store.obtain(root, loaded, IDENTITY, compile).name, flush=True)
"""


def process(root: Path, checkpoint: Checkpoint, fate: str = "") -> subprocess.Popen[str]:
    arguments = [str(root), str(root.parent / "log"), str(checkpoint.folder), fate]
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROCESS), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_compile_one_plan_once(tmp_path: Path, checkpoint: Checkpoint) -> None:
    root = tmp_path / "plans"
    with process(root, checkpoint) as first, process(root, checkpoint) as second:
        assert [each.stdout.readline() for each in (first, second) if each.stdout] == [
            "starts\n"
        ] * 2
        for each in (first, second):
            assert each.stdin is not None
            each.stdin.close()  # whichever compiles may go on
        answers = [each.stdout.read() for each in (first, second) if each.stdout]
    assert answers == [f"{IDENTITY.key}\n"] * 2
    assert (tmp_path / "log").read_text() == "compiled\n"


def test_a_process_that_dies_while_compiling_leaves_no_plan_and_no_lock(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    dying = process(tmp_path / "plans", checkpoint, "dies")
    dying.communicate()
    assert dying.returncode < 0
    assert len(list((tmp_path / "plans").glob(LEFT_OVER))) == 1
    folder = store.obtain(tmp_path / "plans", checkpoint, IDENTITY, compiled)
    assert list((tmp_path / "plans").glob(LEFT_OVER)) == []
    Manifest.read(folder).verify(folder)
