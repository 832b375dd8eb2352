"""FP8: per-tensor scales of linear layers, from text at hand, and the proof that the order holds.

Embeddings, norms and the head keep their type. A linear layer's scale is what one FP8 step is
worth, so that the largest value seen is the largest that FP8 has.
"""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from engine import architectures
from engine.architectures.packing import Packing
from engine.architectures.pointwise import LARGEST_FP8, quantize
from engine.architectures.scaled import Layers, Scales
from engine.architectures.stacking import Stack
from engine.errors import StartError
from engine.quantization.agreement import Agreement
from engine.types import Batch, Checkpoint, Logits

log = logging.getLogger(__name__)

FILE = "fp8.json"


def calibrate(checkpoint: Checkpoint, queries: Sequence[Batch]) -> tuple[Scales, Agreement]:
    """Like measure(), and raises StartError where FP8 changes the order too much."""
    scales, agreement = measure(checkpoint, queries)
    log.info("FP8: %s", agreement)
    agreement.check()
    return scales, agreement


def measure(checkpoint: Checkpoint, queries: Sequence[Batch]) -> tuple[Scales, Agreement]:
    """Scales from every other query, and how FP8 ranks the others. One batch is one query's pairs.

    On the GPU in bfloat16 if there is one, else on the CPU in float32. Raises StartError for too
    little text.
    """
    if len(queries) < 2:
        raise StartError(f"{len(queries)} queries are too few: some calibrate, others are held out")
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    network = architectures.load(checkpoint, torch.bfloat16 if cuda else torch.float32, device)
    layers = linear_layers(network)
    scales = _scales(network, layers, queries[0::2])
    held_out = queries[1::2]
    plain = [_score(network, batch) for batch in held_out]
    with emulated(network, layers, scales):
        agreement = Agreement.of(plain, [_score(network, batch) for batch in held_out])
    return scales, agreement


def save(checkpoint: Checkpoint, digest: str, scales: Scales, agreement: Agreement) -> Path:
    """Beside the checkpoint. digest: its fingerprint. Raises StartError."""
    path = checkpoint.folder / FILE
    content = {"checkpoint": digest, "agreement": asdict(agreement), "scales": dict(scales)}
    try:
        path.write_text(json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise StartError(
            f"{path} cannot be written ({error.strerror}): copy the checkpoint to a folder that can"
        ) from error
    return path


def load(checkpoint: Checkpoint, digest: str) -> Scales:
    """The scales beside the checkpoint. Raises StartError: none there, or another checkpoint's."""
    path = checkpoint.folder / FILE
    try:
        content = json.loads(path.read_bytes())
        scales = {name: (float(x), float(w)) for name, (x, w) in content["scales"].items()}
        mine = content["checkpoint"]
    except FileNotFoundError as error:
        raise StartError(
            f"FP8 needs scales, and there is no {path}: run `crossrank calibrate FILE` once"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StartError(f"{path} cannot be read: calibrate again") from error
    if mine != digest:
        raise StartError(f"{path} is for checkpoint {mine}, this is {digest}: calibrate again")
    return scales


def linear_layers(network: nn.Module) -> Layers:
    """All inside the layers that multiplies, and by which weights; stacks share one input."""
    names: dict[Tensor, str] = {weight: name for name, weight in network.named_parameters()}
    stacked = {part for m in network.modules() for part in _stacked(m)}
    found: Layers = {}
    for path, module in network.named_modules():
        if isinstance(module, Stack):
            parent = network.get_submodule(path.rpartition(".")[0])
            found[module] = {names[part.weight]: part.weight for part in _stacked(parent)}
        elif isinstance(module, nn.Linear) and module not in stacked and ".layer" in path:
            found[module] = {names[module.weight]: module.weight}
    return found


def _stacked(module: nn.Module) -> list[nn.Linear]:
    stacked = getattr(module, "stacked", None)
    return cast(Callable[[], list[nn.Linear]], stacked)() if stacked else []


def _scales(network: nn.Module, layers: Layers, queries: Sequence[Batch]) -> Scales:
    """One scale for each input, and one for the weights that multiply it together."""
    largest = dict.fromkeys(layers, 0.0)

    def watch(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        largest[module] = max(largest[module], float(inputs[0].abs().max()))

    hooks = [module.register_forward_pre_hook(watch) for module in layers]
    for batch in queries:
        _score(network, batch)
    for hook in hooks:
        hook.remove()
    scales: dict[str, tuple[float, float]] = {}
    for module, weights in layers.items():
        heaviest = max(float(weight.abs().max()) for weight in weights.values())
        scales.update(dict.fromkeys(weights, (_step(largest[module]), _step(heaviest))))
    return scales


def _step(largest: float) -> float:
    """What was always 0 gets the step of values up to 1."""
    return (largest or 1.0) / LARGEST_FP8


@contextmanager
def emulated(network: nn.Module, layers: Layers, scales: Scales) -> Iterator[None]:
    """Inside, the layers compute what FP8 would, in the network's own type."""
    kept = {weight: weight.clone() for weights in layers.values() for weight in weights.values()}
    hooks = []
    for module, weights in layers.items():
        for name, weight in weights.items():
            step, weight_step = scales[name]
            weight.data.copy_(rounded(weight, weight_step))
        hooks.append(module.register_forward_pre_hook(_rounding(step)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for weight, original in kept.items():
            weight.data.copy_(original)


def _rounding(step: float) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor]]:
    return lambda module, inputs: (rounded(inputs[0], step),)


def rounded(x: Tensor, step: float) -> Tensor:
    """x as FP8 keeps it: in steps, rounded, and multiplied again."""
    small = quantize(x, torch.tensor(1 / step, device=x.device))
    return (small.float() * step).to(x.dtype)


@torch.inference_mode()
def _score(network: nn.Module, batch: Batch) -> Logits:
    device = next(network.parameters()).device
    arrays = (torch.from_numpy(a).to(device) for a in (batch.ids, batch.positions, batch.types))
    logits: Logits = network(*arrays, Packing.of(batch, device)).cpu().numpy()
    return logits
