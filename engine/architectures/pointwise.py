"""What happens between the matrix products. On a GPU each of these is one compiled kernel.

Unfused they cost about a fifth of a forward pass on an H100 (estimated from their memory traffic).
"""

import functools
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

log = logging.getLogger(__name__)

LARGEST_FP8 = 448.0  # of float8_e4m3fn
_VARIANTS = 64


def silu_mul(gate_up: Tensor, steps: Tensor | None = None) -> Tensor:
    """[T, 2 · inner], gate beside up → silu(gate) · up, [T, inner]; in FP8 if given its steps."""
    result: Tensor = _run(_silu_mul, gate_up, steps)
    return result


def add_rms_norm(
    hidden: Tensor, update: Tensor, weight: Tensor, eps: float, steps: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """hidden + update, and its root-mean-square norm, in FP8 if given its steps. [T, hidden]."""
    result: tuple[Tensor, Tensor] = _run(_add_rms_norm, hidden, update, weight, eps, steps)
    return result


def quantize(x: Tensor, steps: Tensor) -> Tensor:
    """x as float8_e4m3fn, where 1.0 is worth `steps` (float32 []); what is too large is cut."""
    result: Tensor = _run(_quantize, x, steps)
    return result


def steps_of(layer: nn.Module | None) -> Tensor | None:
    """How many FP8 steps 1.0 is worth in the layer's input; None where it takes no FP8."""
    steps: Tensor | None = getattr(layer, "steps", None)
    return steps


def add_layer_norm(
    hidden: Tensor, update: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    """The layer norm of hidden + update. [T, hidden]. On the CPU the sum takes update's place."""
    if not hidden.is_cuda:  # fresh memory costs more there than the addition
        return functional.layer_norm(update.add_(hidden), weight.shape, weight, bias, eps)
    result: Tensor = _run(_add_layer_norm, hidden, update, weight, bias, eps)
    return result


def rotate(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Rotary embedding, halves layout (Hugging Face's rotate_half).

    q, k: [T, heads, dim], heads may differ; cos, sin: [T, 1, dim / 2].
    """
    result: tuple[Tensor, Tensor] = _run(_rotate, q, k, cos, sin)
    return result


def _silu_mul(gate_up: Tensor, steps: Tensor | None) -> Tensor:
    gate, up = gate_up.chunk(2, dim=-1)
    return _quantize(functional.silu(gate) * up, steps)


def _add_rms_norm(
    hidden: Tensor, update: Tensor, weight: Tensor, eps: float, steps: Tensor | None
) -> tuple[Tensor, Tensor]:
    summed = hidden + update
    return summed, _quantize(functional.rms_norm(summed, weight.shape, weight, eps), steps)


def _quantize(x: Tensor, steps: Tensor | None) -> Tensor:
    if steps is None:
        return x
    return (x.float() * steps).clamp(-LARGEST_FP8, LARGEST_FP8).to(torch.float8_e4m3fn)


def _add_layer_norm(
    hidden: Tensor, update: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    return functional.layer_norm(hidden + update, weight.shape, weight, bias, eps)


def _rotate(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    return _turned(q, cos, sin), _turned(k, cos, sin)


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    left, right = x.chunk(2, dim=-1)
    return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1)


def _run(function: Callable[..., Any], first: Tensor, *rest: Any) -> Any:
    return (_compiled(function) if first.is_cuda else function)(first, *rest)


@functools.cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """One kernel for any number of tokens; the plain function where it cannot be compiled.

    Compiled twice: for the first number of tokens, then, when another comes, for all of them.
    """
    # by default eight variants, of all GPUs together: two a GPU, and as many again in FP8
    torch._dynamo.config.recompile_limit = _VARIANTS
    compiled = torch.compile(function)

    def run(*args: Any) -> Any:
        nonlocal compiled
        try:
            return compiled(*args)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # no compiler, no triton: its own errors have no common root
            if compiled is function:
                raise
            log.warning("%s runs unfused: %s", function.__name__, str(error).splitlines()[0])
            compiled = function
            return function(*args)

    return run
