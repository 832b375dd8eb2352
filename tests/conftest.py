"""Checkpoints that any test may read; none may write to them. No test is held to a clock.

Tests compute on the CPU, also where there is a GPU: CUDA_VISIBLE_DEVICES=0 pytest -m gpu uses one.
"""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from tests import checkpoints

collect_ignore = ["clients"]  # they run in an environment of their own: make test-clients

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
# CI draws the same examples every time: a change is judged by itself. Other runs explore.
settings.register_profile("no clock", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("no clock")


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny bidirectional Llama."""
    return checkpoints.llama(tmp_path_factory.mktemp("checkpoints") / "tiny-llama")


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT classifier."""
    return checkpoints.bert(tmp_path_factory.mktemp("checkpoints") / "tiny-bert")


@pytest.fixture(scope="session")
def xlmr_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny XLM-RoBERTa classifier."""
    return checkpoints.xlm_roberta(tmp_path_factory.mktemp("checkpoints") / "tiny-xlm-roberta")


@pytest.fixture
def anyio_backend() -> str:
    """The service runs on asyncio."""
    return "asyncio"
