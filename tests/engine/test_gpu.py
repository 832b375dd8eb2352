"""A GPU's errors, which fail a batch or end the process, and its recordings; CUDA is a stand-in."""

import inspect
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from engine.architectures.replay import recorder
from engine.backends.tensorrt.device import CudaDevice
from engine.errors import DeviceLostError
from engine.gpu import engine_errors


def broken() -> None:
    raise torch.AcceleratorError("an illegal memory access was encountered")


def test_a_lack_of_memory_is_the_engine_s_word_for_it() -> None:
    with pytest.raises(MemoryError, match="2 GiB"), engine_errors():
        raise torch.OutOfMemoryError("tried to allocate 2 GiB")


def test_a_batch_that_lacked_memory_holds_none_while_it_is_tried_again() -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def forward() -> None:
        activations = torch.zeros(8)
        held.append(weakref.ref(activations))
        raise torch.OutOfMemoryError

    with pytest.raises(MemoryError) as failed, engine_errors():
        forward()
    assert failed.tb is not None
    assert [tensor() for tensor in held] == [None]


def test_an_error_that_passes_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    with pytest.raises(RuntimeError, match="wrong shape"), engine_errors():
        raise RuntimeError("wrong shape")


def test_an_error_that_stays_means_the_device_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", broken)
    with pytest.raises(DeviceLostError, match="illegal memory access"), engine_errors():
        broken()


class Stream:
    """A stream of the GPU that was the current one when it was made."""

    current = 0

    def __init__(self, *device: torch.device) -> None:
        self.device, self.cuda_stream = Stream.current, 0

    def synchronize(self) -> None:
        pass


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of every recording from now on; two GPUs."""
    seen: list[dict[str, Any]] = []
    signature = inspect.signature(torch.cuda.graph)

    @contextmanager
    def graph(*given: Any, **named: Any) -> Iterator[None]:
        seen.append(signature.bind(*given, **named).arguments)
        yield

    def set_device(device: torch.device) -> None:
        Stream.current = device.index

    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, Stream.current))
    monkeypatch.setattr(torch.cuda, "set_device", set_device)
    return seen


def test_each_gpu_records_on_a_stream_of_its_own_and_lets_the_others_work(
    recordings: list[dict[str, Any]],
) -> None:
    for number in (0, 1):
        torch.cuda.set_device(torch.device("cuda", number))
        capture = recorder()
        for _ in range(2):
            capture(lambda: torch.zeros(1))
        CudaDevice(number).capture(lambda: None)
    assert [r["stream"].device for r in recordings] == [0, 0, 0, 1, 1, 1]
    assert recordings[0]["stream"] is recordings[1]["stream"], "memory is shared on one stream only"
    assert {r["capture_error_mode"] for r in recordings} == {"thread_local"}
