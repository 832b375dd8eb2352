"""Which of a GPU's errors fail a batch, and which end the process; CUDA is a stand-in here."""

import pytest
import torch

from engine.errors import DeviceLostError
from engine.gpu import engine_errors


def broken() -> None:
    raise torch.AcceleratorError("an illegal memory access was encountered")


def test_a_lack_of_memory_is_the_engine_s_word_for_it() -> None:
    with pytest.raises(MemoryError, match="2 GiB"), engine_errors():
        raise torch.OutOfMemoryError("tried to allocate 2 GiB")


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
