"""Plans on disk: a folder each, named by identity; whole or absent; safe for several processes."""

import errno
import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.backends.tensorrt.build import Compiled
from engine.backends.tensorrt.manifest import MANIFEST, PLAN, Identity, Manifest
from engine.errors import StartError
from engine.types import Checkpoint

log = logging.getLogger(__name__)

_PARTIAL = ".partial-"
# A plan holds the weights once more, and kernels; the 1B's is 2 % larger than its weights.
_PLAN_PER_WEIGHTS = 1.1
_KERNELS_BYTES = 64 * 2**20


def obtain(
    root: Path, checkpoint: Checkpoint, identity: Identity, compile: Callable[[], Compiled]
) -> Path:
    """The folder of a plan of this identity below `root`, compiled now if it is not there.

    A second process waits for the first and takes its plan. Raises StartError.
    """
    folder = root / identity.key
    with _locked(root, identity.key):
        if (folder / MANIFEST).is_file():
            return folder
        _write(folder, checkpoint, identity, compile)
    return folder


def replace(
    folder: Path, checkpoint: Checkpoint, identity: Identity, compile: Callable[[], Compiled]
) -> None:
    """Compile a plan into `folder` itself, whatever plan is there. Raises StartError."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise StartError(f"{folder} has files in it that are no plan: choose another folder")
    with _locked(folder.parent, folder.name):
        _write(folder, checkpoint, identity, compile)


def keep(path: Path, content: bytes) -> None:
    """Write a small file in one step. A cache that cannot be written is only reported."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}{_PARTIAL}{os.getpid()}")
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        log.warning("%s cannot be written: %s", path, error.strerror)


def _write(
    folder: Path, checkpoint: Checkpoint, identity: Identity, compile: Callable[[], Compiled]
) -> None:
    """Put plan and manifest in place in one step; nothing half is left behind.

    Raises StartError, before compiling where the disk is too small.
    """
    with _explained(folder):
        _sweep(folder)
        _check_room(folder.parent, checkpoint)
        partial = Path(tempfile.mkdtemp(prefix=folder.name + _PARTIAL, dir=folder.parent))
        try:
            _fill(partial, checkpoint, identity, compile())
            _put(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _fill(folder: Path, checkpoint: Checkpoint, identity: Identity, compiled: Compiled) -> None:
    plan = memoryview(compiled.plan)
    with (folder / PLAN).open("wb") as file:
        file.write(plan)
        file.flush()
        os.fsync(file.fileno())
    Manifest(
        name=checkpoint.name,
        identity=identity,
        plan_bytes=plan.nbytes,
        plan_sha256=hashlib.sha256(plan).hexdigest(),
        activation_bytes=compiled.report.activation_bytes,
        fused_attention=compiled.report.fused_attention,
        attention_layers=checkpoint.config.layers,
        layers=tuple(f"{name} [{kind}]" for name, kind in compiled.report.layers),
    ).write(folder)


def _put(partial: Path, folder: Path) -> None:
    """A folder cannot replace one that has files in it: the old one steps aside first."""
    partial.chmod(0o755)
    if folder.exists():
        aside = Path(tempfile.mkdtemp(prefix=folder.name + _PARTIAL, dir=folder.parent))
        folder.rename(aside / "old")
        partial.rename(folder)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        partial.rename(folder)


def _sweep(folder: Path) -> None:
    """Remove what a crash left of this plan. Whoever builds holds the lock, so nobody needs it."""
    for left in folder.parent.glob(folder.name + _PARTIAL + "*"):
        shutil.rmtree(left, ignore_errors=True)


def _check_room(folder: Path, checkpoint: Checkpoint) -> None:
    weights = sum(path.stat().st_size for path in set(checkpoint.tensors.values()))
    needed = int(weights * _PLAN_PER_WEIGHTS) + _KERNELS_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StartError(
            f"{folder} has {free >> 20} MiB free, but the plan needs about {needed >> 20} MiB: "
            "free some, or choose another folder"
        )


@contextmanager
def _locked(root: Path, key: str) -> Iterator[None]:
    """Hold the lock of one plan. It is released by the system if the process dies."""
    with _explained(root):
        root.mkdir(parents=True, exist_ok=True)
        file = (root / f".{key}.lock").open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another process is building this plan: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StartError(
                f"the disk of {folder} is full: free some, or choose another folder"
            ) from error
        raise StartError(
            f"{folder} cannot be written ({error.strerror}): choose another folder"
        ) from error
