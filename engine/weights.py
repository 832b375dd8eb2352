"""Which safetensors file holds which tensor, and whether they are the ones the network needs.

Reads headers only: no torch, and no weights in memory.
"""

import fnmatch
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from engine.errors import CheckpointError
from engine.families import Shape

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}
_DTYPES = {"F32", "F16", "BF16"}
_SHOWN = 5  # names in one message


def locate(folder: Path) -> dict[str, Path]:
    """Tensor name → the file that holds it. Raises CheckpointError for files that are not whole."""
    if (folder / _SINGLE).is_file():  # before a leftover index, as transformers does
        return dict.fromkeys(_names(folder / _SINGLE), folder / _SINGLE)
    if (folder / _INDEX).is_file():
        return _sharded(folder)
    pickles = sorted(p.name for p in folder.iterdir() if p.suffix in _PICKLES)
    found = f" {', '.join(pickles)} can run code when loaded;" if pickles else ""
    raise CheckpointError(
        f"{folder} has no {_SINGLE} and no {_INDEX}.{found} crossrank reads safetensors only: "
        "save the model again with save_pretrained() of a current transformers."
    )


def verify(
    found: Mapping[str, Path], expected: Iterable[tuple[str, Shape]], ignored: Iterable[str]
) -> dict[str, Path]:
    """The tensors to load, after checking names, shapes and dtypes. Raises CheckpointError."""
    wanted = dict(expected)
    patterns = tuple(ignored)
    extra = {n for n in found if not any(fnmatch.fnmatch(n, p) for p in patterns)} - set(wanted)
    if missing := set(wanted) - set(found):
        raise CheckpointError(f"the weights lack {_some(missing)}: not a ranking model, or not all")
    if extra:
        raise CheckpointError(
            f"the weights hold {_some(extra)}, which this architecture has no place for"
        )
    for path in sorted(set(found.values())):
        _check_file(path, {name: shape for name, shape in wanted.items() if found[name] == path})
    return {name: found[name] for name in wanted}


def _sharded(folder: Path) -> dict[str, Path]:
    try:
        weight_map = json.loads((folder / _INDEX).read_bytes())["weight_map"]
        files = {str(name): str(file) for name, file in weight_map.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder / _INDEX} is not a safetensors index: {error}") from error
    if odd := sorted({f for f in files.values() if Path(f).name != f}):
        raise CheckpointError(f"{_INDEX} names files outside its folder: {_some(odd)}")
    if absent := sorted({f for f in files.values() if not (folder / f).is_file()}):
        raise CheckpointError(f"{folder} lacks {_some(absent)}: copy or download it again")
    present = {file: _names(folder / file) for file in set(files.values())}
    if lost := {name for name, file in files.items() if name not in present[file]}:
        raise CheckpointError(f"{_INDEX} promises {_some(lost)}, which its files do not hold")
    return {name: folder / file for name, file in files.items()}


def _names(path: Path) -> frozenset[str]:
    try:
        with safe_open(path, framework="numpy") as file:
            return frozenset(file.keys())
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is damaged or cut short ({error}): copy or download it again"
        ) from error


def _check_file(path: Path, wanted: Mapping[str, Shape]) -> None:
    with safe_open(path, framework="numpy") as file:
        for name, shape in wanted.items():
            header = file.get_slice(name)
            if (got := tuple(header.get_shape())) != shape:
                raise CheckpointError(
                    f"{name} has shape {list(got)}, but config.json asks for {list(shape)}"
                )
            if header.get_dtype() not in _DTYPES:
                raise CheckpointError(
                    f"{name} is stored as {header.get_dtype()}; crossrank reads {sorted(_DTYPES)}"
                )


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return ", ".join(ordered[:_SHOWN]) + more
