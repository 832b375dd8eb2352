"""Small batches by CUDA graph: below some tokens, launching kernels costs more than running them.

A batch is put into fixed buffers of the next larger shape; the leftover rows and tokens are
computed for nothing.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.architectures.packing import Packing, on_device
from engine.types import Batch

log = logging.getLogger(__name__)

MOST_TOKENS = 1024
_GRAPHS = 64
_TOKENS, _ROWS, _LONGEST = 64, 8, 64  # shapes are rounded up, so that few serve many

Run = Callable[[], Tensor]
Shape = tuple[int, int, int]  # tokens, rows, tokens of the longest pair


@dataclass(slots=True)
class _Slot:
    """One shape's buffers: ids, positions, types [tokens]; offsets [rows + 1]."""

    tokens: Tensor
    offsets: Tensor
    run: Run
    recorded: bool = False


class Replay:
    """Scores small batches on one device. capture: records a run, and gives what repeats it."""

    def __init__(
        self, network: nn.Module, device: torch.device, capture: Callable[[Run], Run]
    ) -> None:
        self._network = network
        self._device = device
        self._capture: Callable[[Run], Run] | None = capture
        self._slots: OrderedDict[Shape, _Slot] = OrderedDict()

    def takes(self, batch: Batch) -> bool:
        """Whether the batch is small; nothing is once a recording has failed."""
        return self._capture is not None and batch.tokens < MOST_TOKENS

    def score(self, batch: Batch) -> Tensor:
        """Raw logits, float32 [rows], on the device."""
        shape = (
            (batch.tokens // _TOKENS + 1) * _TOKENS,  # one token more at least, for unused rows
            -(-batch.rows // _ROWS) * _ROWS,
            -(-max(batch.lengths) // _LONGEST) * _LONGEST,
        )
        known = shape in self._slots
        slot = self._slots.pop(shape, None) or self._slot(shape)
        self._slots[shape] = slot
        _fill(slot, batch)
        if known and not slot.recorded:
            self._record(slot)
        if len(self._slots) > _GRAPHS:
            self._slots.popitem(last=False)
        return slot.run()[: batch.rows].clone()

    def _slot(self, shape: Shape) -> _Slot:
        tokens, rows, longest = shape
        buffers = torch.zeros(3, tokens, dtype=torch.int32, device=self._device)
        offsets = torch.zeros(rows + 1, dtype=torch.int32, device=self._device)
        packing = Packing(offsets, ((0, 1, longest),), varlen=True)

        def run() -> Tensor:
            logits: Tensor = self._network(*buffers, packing)
            return logits

        return _Slot(buffers, offsets, run)

    def _record(self, slot: _Slot) -> None:
        """A shape that comes again is worth it. What cannot be recorded runs plainly for good."""
        assert self._capture is not None
        try:
            slot.run, slot.recorded = self._capture(slot.run), True
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            log.warning("small batches run without graphs: %s", str(error).splitlines()[0])
            self._capture = None


def _fill(slot: _Slot, batch: Batch) -> None:
    """Copies in the device's own time: the slot may still be read by the batch before."""
    device = slot.offsets.device
    for buffer, array in zip(slot.tokens, (batch.ids, batch.positions, batch.types), strict=True):
        buffer[: batch.tokens].copy_(on_device(array, device))
        buffer[batch.tokens :] = 0
    slot.offsets.fill_(batch.tokens)
    slot.offsets[: batch.rows + 1].copy_(on_device(batch.offsets, device))


def capture(run: Run) -> Run:
    """Record on the current CUDA device."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = run()

    def repeat() -> Tensor:
        graph.replay()
        return result

    return repeat
