"""What the torch backend does for GPUs, as far as a machine without one can show; the rest is gpu.

The fused forms are the plain forms: stacked weights, varlen attention, compiled pointwise kernels.
"""

import itertools
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from engine import architectures, backends
from engine import checkpoint as checkpoints_of
from engine.architectures import packing as packings
from engine.architectures import pointwise, replay
from engine.architectures.packing import Packing
from engine.architectures.replay import Replay, Run
from engine.architectures.stacking import Stack
from engine.backends import tensorrt
from engine.backends import torch as torch_backend
from engine.backends.tensorrt import choices, library
from engine.backends.torch import cpu as cpu_backend
from engine.backends.torch.cuda import CudaBackend
from engine.config import EngineConfig
from engine.errors import StartError
from engine.types import Checkpoint, Limits
from tests import checkpoints
from tests.engine.test_tensorrt_network import batch_of, reference
from tests.gate import Gate

FOLDERS = ["llama_folder", "bert_folder", "xlmr_folder"]
CPU = torch.device("cpu")
BFLOAT16_TOLERANCE = 0.25


@pytest.fixture(params=FOLDERS)
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    return load(request.getfixturevalue(request.param))


def load(folder: Path) -> Checkpoint:
    return checkpoints_of.load(EngineConfig(checkpoint=str(folder)))


def test_layers_with_one_input_share_one_weight_and_keep_their_names(
    checkpoint: Checkpoint,
) -> None:
    network = architectures.load(checkpoint, torch.float32, CPU)
    stacks = [m for m in network.modules() if isinstance(m, Stack)]
    per_layer = 2 if checkpoint.family == "llama" else 1
    assert len(stacks) == per_layer * checkpoint.config.layers
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    assert all(
        s.weight is not None and s.weight.untyped_storage().data_ptr() in own for s in stacks
    )
    assert set(network.state_dict()) == set(checkpoint.tensors)


def one_by_one(q: Tensor, k: Tensor, v: Tensor, *lengths: Any, enable_gqa: bool) -> Tensor:
    """What varlen_attn promises, pair by pair."""
    ends, same, longest, _ = lengths
    assert torch.equal(ends, same)
    assert ends.dtype == torch.int32
    assert int(ends.diff().max()) <= longest
    parts = []
    for start, end in itertools.pairwise([*ends.tolist(), len(q)]):
        if start == end:
            continue
        q_, k_, v_ = (x[start:end].transpose(0, 1) for x in (q, k, v))
        mixed = functional.scaled_dot_product_attention(q_, k_, v_, enable_gqa=enable_gqa)
        parts.append(mixed.transpose(0, 1))
    return torch.cat(parts)


def test_varlen_attention_is_asked_for_what_the_runs_compute(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packings, "varlen_attn", one_by_one)
    network = architectures.load(checkpoint, torch.float32, CPU)
    batch = batch_of(checkpoint, [5, 5, 90, 1, 31])
    arrays = [torch.from_numpy(array) for array in (batch.ids, batch.positions, batch.types)]
    logits = network(*arrays, Packing.of(batch, CPU, varlen=True))
    assert logits.tolist() == pytest.approx(reference(checkpoint, batch), abs=1e-4)


def opened_small(
    folder: Path, record: Callable[[Run], Run]
) -> tuple[Checkpoint, CudaBackend, list[Run]]:
    """A backend that records small batches, as on a GPU; and what it recorded."""
    checkpoint = load(folder)
    network = architectures.load(checkpoint, torch.float32, CPU)
    recorded: list[Run] = []

    def capture(run: Run) -> Run:
        recorded.append(run)
        return record(run)

    replay = Replay(network, CPU, capture)
    return checkpoint, CudaBackend(network, Limits(4096, 64), 512, CPU, True, replay), recorded


@pytest.mark.parametrize("name", ["llama_folder", "bert_folder"])
def test_small_batches_of_one_shape_share_a_recording_and_score_right(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packings, "varlen_attn", one_by_one)
    folder = request.getfixturevalue(name)
    checkpoint, backend, recorded = opened_small(folder, lambda run: run)
    for lengths in ([30, 9], [63], [5] * 8, [64, 20, 5], [512, 511]):
        batch = batch_of(checkpoint, lengths)
        assert backend.score(batch) == pytest.approx(reference(checkpoint, batch), abs=1e-4)
    assert len(recorded) == 1


def test_no_more_is_recorded_than_is_kept_and_what_is_kept_stays(
    llama_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packings, "varlen_attn", one_by_one)
    monkeypatch.setattr(replay, "_GRAPHS", 1)
    monkeypatch.setattr(replay, "_SHAPES", 2)
    checkpoint, backend, recorded = opened_small(llama_folder, lambda run: run)
    first, *others = ([n] for n in (30, 100, 200, 300))
    for lengths in (first, first, *others, *others, first):
        batch = batch_of(checkpoint, lengths)
        assert backend.score(batch) == pytest.approx(reference(checkpoint, batch), abs=1e-4)
    assert len(recorded) == 1
    assert backend._replay is not None
    slots = list(backend._replay._slots.values())
    assert (len(slots), sum(slot.recorded for slot in slots)) == (2, 1)


def test_what_cannot_be_recorded_runs_plainly_and_says_so_once(
    llama_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(run: Run) -> Run:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(packings, "varlen_attn", one_by_one)
    checkpoint, backend, recorded = opened_small(llama_folder, refuse)
    batch = batch_of(checkpoint, [30, 9])
    for _ in range(4):
        assert backend.score(batch) == pytest.approx(reference(checkpoint, batch), abs=1e-4)
    assert len(recorded) == 1
    assert sum("without graphs" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler on the CPU")
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, by torch
def test_compiled_kernels_compute_what_the_plain_functions_do() -> None:
    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))

    for tokens in (3, 64, 65):
        hidden, update, vector = random(tokens, 32), random(tokens, 32).neg(), random(32)
        turn = random(tokens, 1, 4)
        cases: list[tuple[Any, tuple[Any, ...]]] = [
            (pointwise._silu_mul, (random(tokens, 64), None)),
            (pointwise._add_rms_norm, (hidden, update, vector, 1e-5, None)),
            (pointwise._rotate, (random(tokens, 4, 8), random(tokens, 2, 8), turn, turn + 1)),
            (pointwise._add_layer_norm, (hidden, update, vector, vector, 1e-5)),
        ]
        for function, arguments in cases:
            torch.testing.assert_close(
                pointwise._compiled(function)(*arguments), function(*arguments)
            )


def test_a_kernel_that_cannot_be_compiled_runs_unfused_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(function: Any) -> Any:
        def fail(*arguments: Any) -> Any:
            raise RuntimeError("no compiler found")

        return fail

    monkeypatch.setattr(torch, "compile", refuse)

    def double(x: Tensor) -> Tensor:
        return x * 2

    with caplog.at_level(logging.WARNING):
        run = pointwise._compiled(double)
        assert run(torch.ones(2)).tolist() == run(torch.ones(2)).tolist() == [2, 2]
    assert [record.getMessage() for record in caplog.records] == [
        "double runs unfused: no compiler found"
    ]


@pytest.mark.parametrize(
    ("driver", "cuda", "packages", "name", "reason"),
    [
        (False, False, True, "torch", "no NVIDIA GPU here, so the CPU"),
        (True, False, True, "torch", "this torch has no CUDA, so the CPU"),
        (True, True, False, "torch", "TensorRT is not installed, so torch runs on the GPU"),
        (True, True, True, "tensorrt", "TensorRT and a GPU are here"),
    ],
)
def test_the_backend_is_chosen_from_what_is_there(  # noqa: PLR0917
    driver: bool,
    cuda: bool,
    packages: bool,
    name: str,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(library, "driver_present", lambda: driver)
    monkeypatch.setattr(library, "installed", lambda runtime: packages)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    chosen, why = choices.choose_backend()
    assert (chosen, reason in why) == (name, True)


@pytest.mark.skipif(library.driver_present(), reason="there is a GPU")
def test_one_log_line_says_which_backend_runs(
    llama_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        backends.open_backend(load(llama_folder), EngineConfig(checkpoint="")).close()
    lines = [r.getMessage() for r in caplog.records if r.name == "engine.backends"]
    assert lines == ["the torch backend is used: there is no NVIDIA GPU here, so the CPU computes"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_where_tensorrt_fails_torch_serves_and_the_log_says_why(
    llama_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(choices, "choose_backend", lambda: ("tensorrt", "TensorRT is here"))
    checkpoint = load(llama_folder)
    backend = backends.open_backend(checkpoint, EngineConfig(checkpoint=""))
    batch = batch_of(checkpoint, [7, 9])
    assert backend.score(batch) == pytest.approx(reference(checkpoint, batch), abs=1e-4)
    [warning] = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert "TensorRT cannot be used (the tensorrt backend needs an NVIDIA GPU" in warning
    assert warning.endswith("the torch backend is used in its place")


def test_a_tensorrt_that_cannot_run_is_closed_before_torch_is_opened(
    llama_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(Gate):
        def warm_up(self) -> None:
            raise MemoryError

    failing, torch_gate = Failing(), Gate()

    def open(checkpoint: Checkpoint, config: EngineConfig) -> Gate:
        assert failing.closed.is_set()
        return torch_gate

    monkeypatch.setattr(choices, "choose_backend", lambda: ("tensorrt", "TensorRT is here"))
    monkeypatch.setattr(tensorrt, "open", lambda checkpoint, config: failing)
    monkeypatch.setattr(torch_backend, "open", open)
    assert backends.open_backend(load(llama_folder), EngineConfig(checkpoint="")) is torch_gate


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_plan_that_was_given_is_never_left_aside(
    llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "choose_backend", lambda: ("tensorrt", "TensorRT is here"))
    with pytest.raises(StartError, match="the tensorrt backend needs an NVIDIA GPU"):
        backends.open_backend(load(llama_folder), EngineConfig(checkpoint="", plan=tmp_path))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"devices": (1,)}, "GPU 1 was asked for, but torch finds none here"),
        ({"dtype": "fp16"}, "fp16 needs a GPU, and torch finds none: use fp32"),
        ({"backend": "tensorrt"}, "the tensorrt backend needs an NVIDIA GPU"),
    ],
    ids=["device", "dtype", "tensorrt"],
)
def test_what_needs_a_gpu_is_refused_without_one(
    llama_folder: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(StartError, match=message):
        backends.open_backend(load(llama_folder), EngineConfig(checkpoint="", **changes))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, by torch
def test_the_gpu_agrees_with_the_cpu(checkpoint: Checkpoint) -> None:
    agrees(checkpoint)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, by torch
def test_the_gpu_agrees_with_the_cpu_where_pairs_are_split(tmp_path: Path) -> None:
    agrees(load(checkpoints.cosine(tmp_path / "cosine")))


def agrees(checkpoint: Checkpoint) -> None:
    batch = batch_of(checkpoint, [5, 5, 90, 2, 31, 200])
    backend = torch_backend.open(checkpoint, EngineConfig(checkpoint=""))
    assert isinstance(backend, CudaBackend)
    expected = reference_on_cpu(checkpoint, batch)
    backend.warm_up()
    waits = [backend.start(batch) for _ in range(4)]  # plain, recorded, repeated, while one runs
    for wait in waits:
        assert wait() == pytest.approx(expected, abs=BFLOAT16_TOLERANCE)


def reference_on_cpu(checkpoint: Checkpoint, batch: Any) -> list[float]:
    config = EngineConfig(checkpoint="")
    return [float(x) for x in cpu_backend.open(checkpoint, config).score(batch)]
