"""FP8: scales from text, the same arithmetic in network and emulation, and a gate on the order."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from engine import architectures
from engine import checkpoint as checkpoints_of
from engine.architectures import scaled
from engine.backends.tensorrt import library
from engine.checkpoint import fingerprint
from engine.config import EngineConfig
from engine.errors import StartError
from engine.quantization import calibration, fp8
from engine.quantization.agreement import Agreement, kendall_tau, ndcg
from engine.types import Batch, Checkpoint, Logits
from tests import checkpoints
from tests.engine.test_tensorrt_compile import LLAMA, RUNTIME, compiled
from tests.engine.test_tensorrt_network import batch_of, run

CPU = torch.device("cpu")
BFLOAT16_TOLERANCE = 0.25


@pytest.fixture(params=["llama_folder", "bert_folder"])
def checkpoint(request: pytest.FixtureRequest) -> Checkpoint:
    return load(request.getfixturevalue(request.param))


def load(folder: Path) -> Checkpoint:
    return checkpoints_of.load(EngineConfig(checkpoint=str(folder)))


def test_every_linear_layer_of_the_body_has_a_scale_and_nothing_else(
    checkpoint: Checkpoint,
) -> None:
    scales, _ = fp8.measure(checkpoint, [batch_of(checkpoint, [9, 40, 7], n) for n in range(4)])
    matrix = re.compile(r"_proj\.weight|(query|key|value|dense)\.weight")
    body = {n for n in checkpoint.tensors if ".layer" in n and matrix.search(n)}
    assert set(scales) == body
    assert all(x > 0 and w > 0 for x, w in scales.values())


def test_layers_that_are_one_gemm_share_their_scales(llama_folder: Path) -> None:
    checkpoint = load(llama_folder)
    scales, _ = fp8.measure(checkpoint, [batch_of(checkpoint, [9, 40], n) for n in range(2)])
    for layer in range(checkpoint.config.layers):
        name = f"model.layers.{layer}.self_attn"
        assert len({scales[f"{name}.{x}_proj.weight"] for x in "qkv"}) == 1


def test_a_scale_makes_the_largest_input_the_largest_fp8_number(llama_folder: Path) -> None:
    checkpoint = load(llama_folder)
    batches = [batch_of(checkpoint, [9, 40], n) for n in range(2)]
    scales, _ = fp8.measure(checkpoint, batches)
    network = architectures.load(checkpoint, torch.float32, CPU)
    seen: list[float] = []
    down = network.get_submodule("model.layers.1.mlp.down_proj")
    down.register_forward_pre_hook(lambda module, inputs: seen.append(float(inputs[0].abs().max())))
    fp8._score(network, batches[0])
    name = "model.layers.1.mlp.down_proj.weight"
    heaviest = float(network.get_parameter(name).abs().max())
    assert scales[name] == pytest.approx((seen[0] / 448, heaviest / 448))


def both(network: nn.Module, batch: Batch, scales: scaled.Scales) -> tuple[Logits, Logits]:
    """What the network scores, and what it would in FP8."""
    plain = fp8._score(network, batch)
    with fp8.emulated(network, fp8.linear_layers(network), scales):
        return plain, fp8._score(network, batch)


def test_the_network_computes_what_the_emulation_judged(checkpoint: Checkpoint) -> None:
    batch = batch_of(checkpoint, [30, 41, 7, 22], 1)
    scales, _ = fp8.measure(checkpoint, [batch, batch])
    network = architectures.load(checkpoint, torch.float32, CPU)
    plain, emulated = both(network, batch, scales)
    quantized = run(checkpoint, batch, scales=scales)
    error = np.abs(emulated - plain).max()
    assert error > 1e-4, "FP8 leaves a mark"
    # a value on the edge between two FP8 numbers may fall to either side
    assert np.abs(quantized - emulated).max() < error / 2
    assert fp8._score(network, batch) == pytest.approx(plain), "the emulation is undone"


def test_the_gate_passes_equal_orders_and_names_the_numbers_where_it_refuses() -> None:
    random = np.random.default_rng(3)
    scores = [random.normal(size=20).astype(np.float32) for _ in range(5)]
    Agreement.of(scores, [2 * s + 1 for s in scores]).check()
    with pytest.raises(StartError, match=r"5 held-out .* tau is -1\.000 .* 0\.95 .* nDCG@10 0\."):
        Agreement.of(scores, [-s for s in scores]).check()


def test_tau_and_ndcg_are_what_their_definitions_say() -> None:
    a = np.array([3.0, 2.0, 1.0, 0.0], dtype=np.float32)
    swapped = np.array([2.0, 3.0, 1.0, 0.0], dtype=np.float32)
    assert kendall_tau(a, swapped) == pytest.approx(4 / 6)
    discounts = 1 / np.log2([2, 3, 4, 5])
    expected = np.dot([3, 4, 2, 1], discounts) / np.dot([4, 3, 2, 1], discounts)
    assert ndcg(a, swapped) == pytest.approx(expected)
    assert ndcg(a, a) == kendall_tau(a, a) == 1


def test_torch_s_fp8_layers_compute_what_the_emulation_judged(checkpoint: Checkpoint) -> None:
    batch = batch_of(checkpoint, [30, 41, 7, 22], 1)
    scales, _ = fp8.measure(checkpoint, [batch, batch])
    network = architectures.load(checkpoint, torch.float32, CPU)
    plain, emulated = both(network, batch, scales)
    scaled.scale(network, fp8.linear_layers(network), scales)
    error = np.abs(emulated - plain).max()
    assert np.abs(fp8._score(network, batch) - emulated).max() < error / 2


@pytest.mark.gpu
@pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 9),
    reason="FP8 needs an NVIDIA GPU of compute capability 8.9 or newer",
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, by torch
def test_the_gpu_computes_what_the_emulation_judged(checkpoint: Checkpoint) -> None:
    batch = batch_of(checkpoint, [30, 41, 7, 22], 1)
    cuda = torch.device("cuda")
    scales, _ = fp8.measure(checkpoint, [batch, batch])
    network = architectures.load(checkpoint, torch.float32, cuda)
    plain, emulated = both(network, batch, scales)
    # all but the products is in bfloat16 there
    network = architectures.load(checkpoint, torch.bfloat16, cuda)
    scaled.scale(network, fp8.linear_layers(network), scales)
    assert np.abs(emulated - plain).max() > 1e-4, "FP8 leaves a mark"
    assert fp8._score(network, batch) == pytest.approx(emulated, abs=BFLOAT16_TOLERANCE)


def test_nothing_is_held_in_two_formats(checkpoint: Checkpoint) -> None:
    network = architectures.load(checkpoint, torch.bfloat16, CPU)
    batch = batch_of(checkpoint, [30, 41], 1)
    scales, _ = fp8.measure(checkpoint, [batch, batch])
    scaled.scale(network, fp8.linear_layers(network), scales)
    wide = sum(p.numel() for name, p in network.named_parameters() if name in scales)
    small = sum(b.numel() for b in network.buffers() if b.dtype == torch.float8_e4m3fn)
    sizes = [f.get_slice(n).get_shape() for n in scales for f in [opened(checkpoint, n)]]
    assert (wide, small) == (0, sum(a * b for a, b in sizes))


def opened(checkpoint: Checkpoint, name: str) -> Any:
    return safe_open(checkpoint.tensors[name], framework="pt")


def test_sizes_that_fp8_products_do_not_take_are_refused_with_the_layer_s_name() -> None:
    layer = nn.Linear(32, 24, bias=False)
    network = nn.Sequential(layer)
    layers: scaled.Layers = {layer: {"0.weight": layer.weight}}
    with pytest.raises(StartError, match=r"multiples of 16, and 0.weight is of \[24, 32\]"):
        scaled.scale(network, layers, {"0.weight": (1.0, 1.0)})


def clear_cut(checkpoint: Checkpoint, scratch: Path, query: str) -> str:
    """A line with the two of some passages that this network tells apart most clearly."""
    passages = ["rain", "a stone", "bread " * 9, "the river " * 4, "why", "green over green"]
    scratch.write_text(json.dumps({"query": query, "passages": passages}))
    [batch] = calibration.read(checkpoint, scratch)
    logits = fp8._score(architectures.load(checkpoint, torch.float32, CPU), batch)
    chosen = [passages[int(logits.argmax())], passages[int(logits.argmin())]]
    return json.dumps({"query": query, "passages": chosen})


def test_scales_are_kept_beside_the_checkpoint_and_are_of_it_alone(
    llama_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(llama_folder, folder)
    text = tmp_path / "text.jsonl"
    checkpoint = load(folder)
    text.write_text("\n".join(clear_cut(checkpoint, text, f"how {n}") for n in range(4)))
    path = calibration.run(checkpoint, text)
    digest = fingerprint(checkpoint)
    assert path.parent == folder
    assert len(fp8.load(checkpoint, digest)) == 7 * checkpoint.config.layers
    with pytest.raises(StartError, match=f"is for checkpoint {digest}, this is 0123: calibrate"):
        fp8.load(checkpoint, "0123")


def test_without_scales_the_command_is_named(llama_folder: Path) -> None:
    with pytest.raises(StartError, match="run `crossrank calibrate FILE`"):
        fp8.load(load(llama_folder), "")


@pytest.mark.parametrize("line", ["", "[]", "{}", '{"query": "q", "passages": ["one"]}'])
def test_text_of_another_form_is_refused(line: str, llama_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text(line)
    with pytest.raises(StartError, match=r"must hold lines of|queries are too few"):
        calibration.run(load(llama_folder), tmp_path / "text")


@pytest.mark.skipif(
    not library.installed(RUNTIME), reason=f"{RUNTIME} is not installed (it is in the dev extra)"
)
def test_the_fp8_network_is_compiled_fused(tmp_path: Path) -> None:
    checkpoint = load(checkpoints.llama(tmp_path / "model", config=LLAMA))
    scales = dict.fromkeys(
        (name for name in checkpoint.tensors if name.endswith("_proj.weight")), (0.02, 0.002)
    )
    report = compiled(load(checkpoint.folder), "8.9", "fp8", scales=scales).report
    assert report.fused_attention == checkpoint.config.layers
    for layer in range(checkpoint.config.layers):
        name = f"model.layers.{layer}"
        assert {f"{name}.self_attn.{x}_proj" for x in "qkv"} in report.gemms
        assert {f"{name}.mlp.{x}_proj" for x in ("gate", "up")} in report.gemms
