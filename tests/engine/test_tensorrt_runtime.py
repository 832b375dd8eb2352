"""The runtime around a plan: right scores for any batch, checked shapes and types, graphs reused.

The plan and the GPU are stand-ins that do queued work as late as they may.
"""

from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from engine import checkpoint as checkpoints_of
from engine.backends.tensorrt.feeds import Shape
from engine.backends.tensorrt.graphs import Graphs
from engine.backends.tensorrt.profiles import Profile
from engine.backends.tensorrt.runtime import TensorRTBackend
from engine.backends.tensorrt.staging import Staging
from engine.config import EngineConfig
from engine.errors import StartError
from engine.types import Checkpoint
from tests import checkpoints
from tests.eager_engine import Context, Engine, QueueDevice, Trt
from tests.engine.test_tensorrt_network import TOLERANCE, batch_of, reference

PROFILES = (Profile(256, 2, 200), Profile(256, 8, 40))


@pytest.fixture(scope="module", params=["llama", "bert", "xlm_roberta", "cosine"])
def checkpoint(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Checkpoint:
    make = getattr(checkpoints, request.param)
    return load(make(tmp_path_factory.mktemp("runtime") / request.param))


@pytest.fixture
def tiny(bert_folder: Path) -> Checkpoint:
    return load(bert_folder)


def load(folder: Path) -> Checkpoint:
    return checkpoints_of.load(EngineConfig(checkpoint=str(folder), max_pair_tokens=200))


def opened(
    checkpoint: Checkpoint, change: Callable[[Engine], None] = lambda engine: None
) -> tuple[TensorRTBackend, QueueDevice]:
    device = QueueDevice()
    engine = Engine(checkpoint, PROFILES, device)
    change(engine)
    return TensorRTBackend(Trt, engine, checkpoint, PROFILES, device), device


@settings(max_examples=6)
@given(lengths=st.lists(st.integers(2, 200), min_size=1, max_size=14), seed=st.integers(0, 99))
def test_any_batch_scores_as_the_torch_backend_scores_it(
    checkpoint: Checkpoint, lengths: list[int], seed: int
) -> None:
    backend, _ = opened(checkpoint)
    batch = batch_of(checkpoint, lengths, seed)
    assert backend.score(batch) == pytest.approx(reference(checkpoint, batch), abs=TOLERANCE)


def test_a_batch_of_many_calls_reuses_its_buffers_only_when_they_are_free(
    tiny: Checkpoint,
) -> None:
    backend, device = opened(tiny)
    batch = batch_of(tiny, [200, 3, 150, 40, 40, 1, 180, 90, 90, 40, 5, 33])
    for _ in range(3):
        assert backend.score(batch) == pytest.approx(reference(tiny, batch), abs=TOLERANCE)
    assert device.queue == []


def test_a_small_shape_that_comes_again_is_run_by_a_graph(tiny: Checkpoint) -> None:
    backend, device = opened(tiny)
    batches = [batch_of(tiny, [7, 9], seed) for seed in range(4)]
    scores = [backend.score(batch) for batch in batches]
    assert (device.captured, device.replayed) == (1, 2)
    for batch, mine in zip(batches, scores, strict=True):
        assert mine == pytest.approx(reference(tiny, batch), abs=TOLERANCE)


def test_nearly_equal_shapes_share_a_graph(tiny: Checkpoint) -> None:
    backend, device = opened(tiny)
    for lengths in ([7, 9], [5, 31], [20], [30, 2, 3]):
        batch = batch_of(tiny, lengths)
        assert backend.score(batch) == pytest.approx(reference(tiny, batch), abs=TOLERANCE)
    assert device.captured == 1


def test_the_graphs_that_are_kept_are_few_and_the_used_ones_stay() -> None:
    device = QueueDevice()
    graphs = Graphs(device, most=4)
    for key in [*"aab", *"acad", *"aeaf", *"ag"]:
        graphs.run(key, lambda: None)
    assert device.captured == 1
    graphs.run("c", lambda: None)
    graphs.run("a", lambda: None)
    assert device.captured == 1, "c was forgotten, a was not"


def test_where_recording_fails_everything_runs_plainly_for_good(
    tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[object] = []

    def fail(device: QueueDevice, run: Callable[[], None]) -> Callable[[], None]:
        attempts.append(run)
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(QueueDevice, "capture", fail)
    backend, _ = opened(tiny)
    batch = batch_of(tiny, [7, 9])
    for _ in range(5):
        assert backend.score(batch) == pytest.approx(reference(tiny, batch), abs=TOLERANCE)
    assert len(attempts) == 1


def test_the_limits_are_those_of_the_profiles(tiny: Checkpoint) -> None:
    backend, _ = opened(tiny)
    assert (backend.limits.max_batch_tokens, backend.limits.max_batch_rows) == (256, 8)


@pytest.mark.parametrize("name", ["ids", "lengths", "row_scores"])
def test_a_plan_with_another_type_is_refused_before_an_address_is_set(
    tiny: Checkpoint, name: str
) -> None:
    def widen(engine: Engine) -> None:
        engine.types[name] = "INT64"

    with pytest.raises(StartError, match=f"the plan's {name} is INT64, wanted is"):
        opened(tiny, widen)


def test_a_plan_with_another_output_is_refused(tiny: Checkpoint) -> None:
    def rename(engine: Engine) -> None:
        engine.types["logits"] = engine.types.pop(engine.output)
        engine.output = "logits"

    with pytest.raises(StartError, match="gives logits, wanted is one of token_scores"):
        opened(tiny, rename)


def test_a_plan_of_other_profiles_is_refused(tiny: Checkpoint) -> None:
    def more(engine: Engine) -> None:
        engine.num_optimization_profiles = 3

    with pytest.raises(StartError, match="has 3 profiles, but its manifest names 2"):
        opened(tiny, more)


def test_a_shape_outside_the_profile_is_an_error_and_not_a_wrong_score(tiny: Checkpoint) -> None:
    device = QueueDevice()
    engine = Engine(tiny, PROFILES, device)
    context = Context(engine)
    context.set_optimization_profile_async(1, device.stream)
    staging = Staging(Trt, engine, PROFILES, device)
    with pytest.raises(RuntimeError, match=r"refuses cells of shape \[8, 41\]"):
        staging.bind(context, Shape(256, 8, 41))
    assert context._addresses.get("cells") is None


def test_more_than_the_buffers_hold_is_an_error(tiny: Checkpoint) -> None:
    device = QueueDevice()
    staging = Staging(Trt, Engine(tiny, PROFILES, device), PROFILES, device)
    with pytest.raises(RuntimeError, match="ids has 257 values, the plan takes 256"):
        staging.fill({"ids": np.zeros(257, dtype=np.int32)}, device)


def test_a_refused_call_leaves_nothing_running_and_the_next_batch_is_right(
    tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, device = opened(tiny)
    batch = batch_of(tiny, [200, 150, 33, 30])
    answers = iter([True, False])
    with monkeypatch.context() as patch:
        patch.setattr(Context, "execute_async_v3", lambda context, stream: next(answers))
        with pytest.raises(RuntimeError, match="TensorRT could not run Shape"):
            backend.score(batch)
    assert device.queue == []
    assert backend.score(batch) == pytest.approx(reference(tiny, batch), abs=TOLERANCE)


@settings(max_examples=6)
@given(lengths=st.lists(st.integers(2, 200), min_size=1, max_size=9), late=st.booleans())
def test_a_batch_may_be_started_while_another_runs(
    checkpoint: Checkpoint, lengths: list[int], late: bool
) -> None:
    backend, _ = opened(checkpoint)
    batches = [batch_of(checkpoint, order, 1) for order in (lengths, [7, 200, 33], lengths[::-1])]
    waits = [backend.start(batch) for batch in batches]
    found = [wait() for wait in (reversed(waits) if late else waits)]
    for batch, logits in zip(batches[:: -1 if late else 1], found, strict=True):
        assert logits == pytest.approx(reference(checkpoint, batch), abs=TOLERANCE)


def test_a_batch_that_cannot_start_does_not_harm_the_one_that_runs(
    tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, device = opened(tiny)
    batch = batch_of(tiny, [200, 33, 30])
    running = backend.start(batch)
    with monkeypatch.context() as patch:
        patch.setattr(Context, "execute_async_v3", lambda context, stream: False)
        with pytest.raises(RuntimeError, match="TensorRT could not run Shape"):
            backend.start(batch_of(tiny, [5, 150], 2))
    assert device.queue == []
    assert running() == pytest.approx(reference(tiny, batch), abs=TOLERANCE)


def test_warming_up_runs_every_profile_and_records_a_small_shape(
    tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: set[Profile] = set()
    choose = Context.set_input_shape

    def noted(context: Context, name: str, shape: tuple[int, ...]) -> bool:
        used.add(context._profile)
        return choose(context, name, shape)

    monkeypatch.setattr(Context, "set_input_shape", noted)
    backend, device = opened(tiny)
    backend.warm_up()
    assert used == set(PROFILES)
    assert device.captured == 1


def test_a_batch_larger_than_any_profile_is_run_in_several_calls(tiny: Checkpoint) -> None:
    backend, _ = opened(tiny)
    batch = batch_of(tiny, [200, 200, 200, 150])
    assert backend.score(batch) == pytest.approx(reference(tiny, batch), abs=TOLERANCE)


def test_closing_waits_for_what_runs(tiny: Checkpoint) -> None:
    backend, device = opened(tiny)
    done: list[str] = []
    device.queue.append(lambda: done.append("run"))
    backend.close()
    assert done == ["run"]
