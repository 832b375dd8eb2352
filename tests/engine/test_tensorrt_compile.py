"""The real compiler takes the networks of both families, with attention fused and QKV one GEMM.

tensorrt-rtx compiles on a machine without a GPU; what it compiled cannot run there.
"""

from pathlib import Path
from typing import Any

import pytest

from engine import checkpoint as checkpoints_of
from engine.backends.tensorrt import build, library, profiles
from engine.backends.tensorrt.build import Compiled, Recipe
from engine.config import EngineConfig
from engine.errors import StartError
from engine.types import Checkpoint
from tests import checkpoints

RUNTIME = "tensorrt-rtx"
pytestmark = pytest.mark.skipif(
    not library.installed(RUNTIME), reason=f"{RUNTIME} is not installed (it is in the dev extra)"
)
# Heads of 64: the kernels for fused attention are made for the widths that real models have.
LLAMA = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 64,
}
BERT = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
PROFILES = profiles.parse("2x512,8x128", longest=512)


def load(folder: Path) -> Checkpoint:
    return checkpoints_of.load(EngineConfig(checkpoint=str(folder), max_pair_tokens=512))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return load(checkpoints.llama(tmp_path_factory.mktemp("compile") / "llama", config=LLAMA))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return load(checkpoints.bert(tmp_path_factory.mktemp("compile") / "bert", config=BERT))


@pytest.fixture(scope="module")
def xlmr(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return load(checkpoints.xlm_roberta(tmp_path_factory.mktemp("compile") / "xlmr", config=BERT))


@pytest.fixture(scope="module")
def cosine(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    config = checkpoints.COSINE | BERT | {"join_layer": 1}
    return load(checkpoints.bert(tmp_path_factory.mktemp("compile") / "cosine", config=config))


def compiled(checkpoint: Checkpoint, capability: str, dtype: str = "bf16", **more: Any) -> Compiled:
    recipe = Recipe(capability, dtype, PROFILES, more.pop("scales", None))
    return build.compile(library.load(RUNTIME), checkpoint, recipe, **more)


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
@pytest.mark.parametrize("capability", ["8.0", "8.9"])
def test_the_llama_is_compiled_fused(llama: Checkpoint, capability: str, dtype: str) -> None:
    report = compiled(llama, capability, dtype).report
    assert report.fused_attention == llama.config.layers
    assert report.activation_bytes > 0
    for layer in range(llama.config.layers):
        name = f"model.layers.{layer}"
        assert {f"{name}.self_attn.{x}_proj" for x in "qkv"} in report.gemms
        assert {f"{name}.mlp.{x}_proj" for x in ("gate", "up")} in report.gemms


@pytest.mark.parametrize("capability", ["8.0", "8.9"])
@pytest.mark.parametrize("family", ["bert", "xlmr", "cosine"])
def test_bert_is_compiled_fused(
    family: str, capability: str, request: pytest.FixtureRequest
) -> None:
    checkpoint = request.getfixturevalue(family)
    report = compiled(checkpoint, capability).report
    assert report.fused_attention == checkpoint.config.layers
    for layer in range(checkpoint.config.layers):
        name = f"{checkpoint.config.prefix}.encoder.layer.{layer}.attention.self"
        assert {f"{name}.{x}" for x in ("query", "key", "value")} in report.gemms


def test_attention_that_cannot_be_fused_fails_the_build(llama_folder: Path) -> None:
    narrow = load(checkpoints.llama(llama_folder.parent / "narrow", config={"head_dim": 12}))
    with pytest.raises(StartError, match="the builder refused the network: "):
        compiled(narrow, "8.9")


def test_a_capability_that_is_not_built_for_is_refused_with_those_that_are(
    llama: Checkpoint,
) -> None:
    with pytest.raises(StartError, match=r"capability 9\.0 is not among .*8\.0, 8\.6, 8\.9"):
        compiled(llama, "9.0")


def test_the_build_says_how_far_it_is(llama: Checkpoint) -> None:
    seen: list[tuple[float, str]] = []
    compiled(llama, "8.9", on_progress=lambda share, phase: seen.append((share, phase)))
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(set(shares)) > 20


def test_ctrl_c_ends_the_build(llama: Checkpoint) -> None:
    def interrupt(share: float, phase: str) -> None:
        if share > 0.05:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compiled(llama, "8.9", on_progress=interrupt)
    assert compiled(llama, "8.9").plan.nbytes > 0, "and the next one is not disturbed"
