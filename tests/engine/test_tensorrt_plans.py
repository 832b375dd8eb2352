"""Which plan is built, found or refused, for the GPU and the packages at hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import checkpoint as checkpoints_of
from engine.backends.tensorrt import choices, library, plans
from engine.backends.tensorrt.choices import Gpu
from engine.backends.tensorrt.manifest import PLAN, Manifest
from engine.config import BuildRequest, EngineConfig
from engine.errors import StartError
from engine.types import Checkpoint
from tests import checkpoints
from tests.engine.test_tensorrt_compile import LLAMA, RUNTIME

ADA = Gpu("8.9", 8 * 2**30)
needs_compiler = pytest.mark.skipif(
    not library.installed(RUNTIME), reason=f"{RUNTIME} is not installed (it is in the dev extra)"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.llama(tmp_path_factory.mktemp("plans") / "llama", config=LLAMA)


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Checkpoint:
    return checkpoints_of.load(EngineConfig(checkpoint=str(folder)))


@pytest.fixture(scope="module")
def built(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan made by `crossrank build --output`."""
    output = tmp_path_factory.mktemp("built") / "plan"
    return plans.make(EngineConfig(checkpoint=str(folder)), request(output=output), quiet)


def request(**fields: Any) -> BuildRequest:
    fields = {"runtime": RUNTIME, "compute_capability": "8.9", "profiles": "1x1024"} | fields
    return BuildRequest(**fields)


def quiet(share: float, phase: str) -> None: ...


@needs_compiler
def test_the_first_start_builds_and_the_next_one_finds(
    folder: Path, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    trt, config = library.load(RUNTIME), EngineConfig(checkpoint=str(folder), cache_dir=tmp_path)
    first = plans.obtain(trt, checkpoint, config, ADA)
    written = (first / PLAN).stat().st_mtime_ns
    assert plans.obtain(trt, checkpoint, config, ADA) == first
    assert (first / PLAN).stat().st_mtime_ns == written


@needs_compiler
def test_another_gpu_or_dtype_is_another_plan(
    folder: Path, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    trt, config = library.load(RUNTIME), EngineConfig(checkpoint=str(folder), cache_dir=tmp_path)
    made = {
        plans.obtain(trt, checkpoint, config, ADA),
        plans.obtain(trt, checkpoint, config, Gpu("8.6", ADA.memory_bytes)),
        plans.obtain(trt, checkpoint, replace(config, dtype="fp16"), ADA),
    }
    assert len(made) == 3


@needs_compiler
def test_a_given_plan_that_fits_is_taken(folder: Path, checkpoint: Checkpoint, built: Path) -> None:
    config = EngineConfig(checkpoint=str(folder), plan=built)
    assert plans.obtain(library.load(RUNTIME), checkpoint, config, ADA) == built
    manifest = Manifest.read(built)
    assert manifest.fused_attention == manifest.attention_layers == 2


@needs_compiler
@pytest.mark.parametrize(
    ("gpu", "changes", "message"),
    [
        (Gpu("8.6", None), {}, r"its compute capability is 8\.9, wanted is 8\.6"),
        (ADA, {"dtype": "fp16"}, r"its dtype is bf16, wanted is fp16"),
        (ADA, {"seed": 9}, r"its checkpoint is [0-9a-f]+, wanted is [0-9a-f]+"),
    ],
    ids=["gpu", "dtype", "weights"],
)
def test_a_given_plan_that_does_not_fit_is_refused_with_both_values(
    built: Path, tmp_path: Path, gpu: Gpu, changes: dict[str, Any], message: str
) -> None:
    seed = changes.pop("seed", 0)
    source = checkpoints.llama(tmp_path / "model", config=LLAMA, seed=seed)
    config = EngineConfig(checkpoint=str(source), plan=built, **changes)
    with pytest.raises(StartError, match=message):
        plans.obtain(library.load(RUNTIME), checkpoints_of.load(config), config, gpu)


def test_a_given_folder_that_is_no_plan_is_refused(
    folder: Path, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    config = EngineConfig(checkpoint=str(folder), plan=tmp_path)
    if library.installed(RUNTIME):
        with pytest.raises(StartError, match=r"has no manifest\.json: it is not a plan"):
            plans.obtain(library.load(RUNTIME), checkpoint, config, ADA)


@pytest.mark.skipif(library.driver_present(), reason="there is a GPU to build for")
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"compute_capability": None}, "no GPU is here: say which one"),
        ({"runtime": "tensorrt"}, r"tensorrt builds for the GPU at hand \(none\), and 8\.9 was"),
        ({"runtime": "onnx"}, "no runtime 'onnx': choose one of tensorrt, tensorrt-rtx"),
    ],
    ids=["no gpu", "not here", "unknown"],
)
def test_a_request_that_cannot_be_built_here_says_what_to_change(
    folder: Path, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(StartError, match=message):
        plans.make(EngineConfig(checkpoint=str(folder)), request(**fields), quiet)


@pytest.mark.skipif(library.driver_present(), reason="there is a driver")
def test_tensorrt_is_not_imported_where_its_import_would_crash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(library, "installed", lambda runtime: True)
    with pytest.raises(StartError, match="tensorrt needs an NVIDIA driver and a GPU"):
        library.load("tensorrt")


def test_without_any_package_the_extras_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "installed", lambda runtime: False)
    with pytest.raises(StartError, match=r"'crossrank\[tensorrt\]' or 'crossrank\[tensorrt-rtx\]'"):
        choices.choose_runtime()
    with pytest.raises(StartError, match=r"pip install 'crossrank\[tensorrt-rtx\]'"):
        library.load(RUNTIME)


@pytest.mark.parametrize(
    ("asked", "capability", "chosen"),
    [
        ("auto", "9.0", "bf16"),
        ("auto", "7.5", "fp16"),
        ("auto", "12.0", "bf16"),
        ("fp16", "8.0", "fp16"),
        ("fp8", "8.9", "fp8"),
    ],
)
def test_the_number_format_suits_the_gpu(asked: str, capability: str, chosen: str) -> None:
    assert choices.choose_dtype(asked, capability) == chosen


@pytest.mark.parametrize(
    ("asked", "capability", "message"),
    [
        ("fp8", "8.0", r"fp8 needs compute capability 8\.9 or newer, but this is for 8\.0"),
        ("bf16", "7.5", r"bf16 needs compute capability 8\.0 or newer, but this is for 7\.5"),
        ("fp32", "9.0", "no plan dtype 'fp32': choose one of auto, bf16, fp16, fp8"),
        ("auto", "ada", "'ada' is no compute capability such as 8.9"),
    ],
)
def test_a_number_format_that_the_gpu_lacks_is_refused(
    asked: str, capability: str, message: str
) -> None:
    with pytest.raises(StartError, match=message):
        choices.choose_dtype(asked, capability)


def test_profiles_leave_room_for_the_weights(checkpoint: Checkpoint) -> None:
    weights = sum(path.stat().st_size for path in set(checkpoint.tensors.values()))
    with pytest.raises(StartError, match="0 MiB of GPU memory hold a batch of"):
        choices.choose_profiles(checkpoint, Gpu("8.9", weights), None)
    assert choices.choose_profiles(checkpoint, ADA, None)[0].width == checkpoint.max_pair_tokens
