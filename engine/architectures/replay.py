"""Small batches by CUDA graph: below some tokens, launching kernels costs more than running them.

A batch is put into fixed buffers of the next larger shape; the leftover rows and tokens are
computed for nothing: at most 64 tokens below 1024, and an eighth of them from there on.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.architectures.packing import Packing, on_device
from engine.gpu import recording
from engine.types import Batch

log = logging.getLogger(__name__)

# On an H100 a 1B's kernels take 17 ms to launch (25 in FP8), and those of 8192 tokens 30 to run.
MOST_TOKENS = 8192
_GRAPHS, _SHAPES = 128, 192  # recorded at most; known at most
_TOKENS, _ROWS, _LONGEST = 64, 8, 64  # the least of each; shapes are few, so that one serves many

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
        self._recorded = 0

    def takes(self, batch: Batch) -> bool:
        """Whether the batch is small; nothing is once a recording has failed."""
        return self._capture is not None and batch.tokens < MOST_TOKENS

    def score(self, batch: Batch) -> Tensor:
        """Raw logits, float32 [rows], on the device."""
        tokens = batch.tokens + 1  # one more at least, for unused rows
        step = max(_TOKENS, _power_of_two(tokens) // 16)
        rows = max(_ROWS, _power_of_two(batch.rows))
        longest = max(_LONGEST, _power_of_two(max(batch.lengths)))
        shape = (-(-tokens // step) * step, rows, longest)
        known = shape in self._slots
        slot = self._slots.pop(shape, None) or self._slot(shape)
        self._slots[shape] = slot
        _fill(slot, batch)
        if known and not slot.recorded and self._recorded < _GRAPHS:
            self._record(slot)
        if len(self._slots) > _SHAPES:
            self._forget_one()
        return slot.run()[: batch.rows].clone()

    def _forget_one(self) -> None:
        """A shape that came once, the oldest. Recordings stay: to make them anew halts the GPU."""
        plain = (shape for shape, slot in self._slots.items() if not slot.recorded)
        del self._slots[next(plain)]

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
            self._recorded += 1
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


def _power_of_two(n: int) -> int:
    """The next."""
    return 1 << (n - 1).bit_length()


def recorder() -> Callable[[Run], Run]:
    """Records on the current CUDA device. All recordings work in the same memory, in turn."""
    pool = torch.cuda.graph_pool_handle()
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def capture(run: Run) -> Run:
        graph = torch.cuda.CUDAGraph()
        with recording(graph, stream, pool=pool):
            result = run()

        def repeat() -> Tensor:
            graph.replay()
            return result

        return repeat

    return capture
