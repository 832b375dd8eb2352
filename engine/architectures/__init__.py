"""Networks over packed tokens, one file a family, and how their weights are loaded."""

import importlib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from safetensors import safe_open
from torch import nn

from engine.architectures import stacking
from engine.types import Checkpoint


def load(checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """The checkpoint's network with its weights, strict by name, ready to score.

    Called as network(ids, positions, types, packing) → float32 [rows]. Weights go straight from
    the file to `dtype` on `device`; nothing is allocated twice.
    """
    module = importlib.import_module(f"{__name__}.{checkpoint.family}")
    with torch.device("meta"):
        network = cast(nn.Module, module.build(checkpoint.config))
    state = read(checkpoint.tensors, dtype, device)
    network.load_state_dict(state, strict=True, assign=True)
    del state
    stacking.fill_all(network)
    return network.to(device).eval().requires_grad_(False)


def read(
    tensors: Mapping[str, Path], dtype: torch.dtype, device: torch.device
) -> dict[str, torch.Tensor]:
    """The tensors by name, each in `dtype` on `device`, copied out of their files."""
    by_file: dict[Path, list[str]] = defaultdict(list)
    for name, path in tensors.items():
        by_file[path].append(name)
    state = {}
    for path, names in by_file.items():
        with safe_open(path, framework="pt", device=str(device)) as file:
            # clone: a tensor of the file's own dtype would keep the whole file mapped
            state.update({name: file.get_tensor(name).to(dtype).clone() for name in names})
    return state
