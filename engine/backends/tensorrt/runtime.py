"""Runs a plan: contexts that share one buffer, pinned staging, one stream, graphs for small shapes.

While the GPU runs one call, the next is prepared and its inputs are copied: of the same batch, or
of the next one.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from engine import backends
from engine.backends.tensorrt import feeds, network
from engine.backends.tensorrt.device import Device, Mark
from engine.backends.tensorrt.feeds import Shape
from engine.backends.tensorrt.graphs import Graphs
from engine.backends.tensorrt.profiles import Call, Profile, cut
from engine.backends.tensorrt.staging import Staging
from engine.errors import StartError
from engine.gpu import engine_errors
from engine.types import Batch, Checkpoint, Limits, Logits

# Below this, launching kernels costs more than running them.
_GRAPH_TOKENS = 1024
_ROUND = {"tokens": 64, "rows": 4, "width": 32}  # shapes of graphs, so that few serve many


@dataclass(eq=False, slots=True)
class _Batch:
    """A batch on its way. logits: float32 [rows]. left: calls whose scores are not there yet.

    error: of a call, which may be collected while another batch is started.
    """

    logits: Logits
    left: int
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class _Running:
    """A call on its way, and whose scores it will give."""

    batch: _Batch
    rows: tuple[int, ...]
    part: Batch
    slot: Staging
    done: Mark


class TensorRTBackend:
    """One plan on one GPU. Opened, used and closed by one thread.

    limits may be raised: a batch that is larger than a profile is run in several calls.
    """

    def __init__(
        self,
        trt: Any,
        engine: Any,
        checkpoint: Checkpoint,
        profiles: Sequence[Profile],
        device: Device,
    ) -> None:
        self.limits = _limits(profiles)
        self._checkpoint = checkpoint
        self._profiles = profiles
        self._device = device
        self._contexts, self._scratch = _contexts(trt, engine, len(profiles), device)
        self._slots = [Staging(trt, engine, profiles, device) for _ in range(2)]
        self._reduce = feeds.REDUCE[self._slots[0].output]
        self._graphs = Graphs(device)
        self._running: deque[_Running] = deque()  # at most one a slot

    def warm_up(self) -> None:
        """The largest batch of every profile, and a small one often enough to be recorded."""
        for profile in self._profiles:
            rows = max(1, min(profile.rows, profile.tokens // profile.width))
            self.score(backends.blank([profile.width] * rows))
        for _ in range(2):
            self.score(backends.blank([8]))

    def score(self, batch: Batch) -> Logits:
        """Raw logits, float32 [rows].

        Raises RuntimeError where TensorRT refuses a call, MemoryError or DeviceLostError.
        """
        return self.start(batch)()

    def start(self, batch: Batch) -> Callable[[], Logits]:
        """Queue a batch. Raises as score() does; what runs already is not harmed."""
        calls = cut(batch.lengths, self._profiles)
        begun = _Batch(np.empty(batch.rows, dtype=np.float32), len(calls))
        with engine_errors():
            try:
                for call in calls:
                    self._start(begun, call, batch.select(call.rows))
            except BaseException:
                self._finish()  # the next batch may use the buffers again
                raise
        return partial(self._wait, begun)

    def cells(self, batch: Batch) -> int:
        """The padded boxes of attention, over all calls."""
        lengths = batch.lengths
        calls = cut(lengths, self._profiles)
        return sum(len(call.rows) * max(lengths[row] for row in call.rows) for call in calls)

    def close(self) -> None:
        """Free contexts and buffers."""
        self._device.mark().synchronize()
        self._graphs.clear()
        del self._contexts, self._slots, self._scratch

    def _start(self, begun: _Batch, call: Call, part: Batch) -> None:
        """Copy the inputs, queue the run and the copy of its scores."""
        if len(self._running) == len(self._slots):
            self._collect()
        slot = next(s for s in self._slots if all(call.slot is not s for call in self._running))
        shape = self._shape(call, part)
        slot.fill(network.feeds(self._checkpoint, part, shape), self._device)
        work = partial(self._enqueue, call.profile, shape, slot)
        if shape.tokens <= _GRAPH_TOKENS:
            self._graphs.run((slot, call.profile, shape), work)
        else:
            work()
        self._running.append(_Running(begun, call.rows, part, slot, slot.fetch(self._device)))

    def _wait(self, begun: _Batch) -> Logits:
        with engine_errors():
            while begun.left:
                self._collect()
            if begun.error is not None:
                raise begun.error
        return begun.logits

    def _collect(self) -> None:
        """Wait for the oldest call."""
        call = self._running.popleft()
        call.batch.left -= 1
        try:
            call.done.synchronize()
            call.batch.logits[list(call.rows)] = self._reduce(call.slot.scores, call.part)
        except Exception as error:
            call.batch.error = error

    def _finish(self) -> None:
        while self._running:
            self._collect()
        self._device.mark().synchronize()

    def _shape(self, call: Call, part: Batch) -> Shape:
        """The batch's own shape, or one of few where a graph is to be reused."""
        exact, most = Shape.of(part), self._profiles[call.profile]
        if exact.tokens > _GRAPH_TOKENS:
            return exact
        return Shape(
            *(
                min(-(-getattr(exact, name) // step) * step, getattr(most, name))
                for name, step in _ROUND.items()
            )
        )

    def _enqueue(self, profile: int, shape: Shape, slot: Staging) -> None:
        context = self._contexts[profile]
        slot.bind(context, shape)
        if not context.execute_async_v3(self._device.stream):
            raise RuntimeError(f"TensorRT could not run {shape} in profile {profile}")


def _contexts(trt: Any, engine: Any, count: int, device: Device) -> tuple[list[Any], torch.Tensor]:
    """One context a profile, over one buffer: they run one after the other, on one stream."""
    if engine.num_optimization_profiles != count:
        raise StartError(
            f"the plan has {engine.num_optimization_profiles} profiles, but its manifest names "
            f"{count}: build it again"
        )
    needs = [engine.get_device_memory_size_for_profile_v2(number) for number in range(count)]
    scratch = device.memory(max(needs), torch.uint8)
    contexts = []
    for number in range(count):
        context = engine.create_execution_context(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        if context is None or not context.set_optimization_profile_async(number, device.stream):
            raise StartError(f"TensorRT gave no execution context for profile {number}")
        context.set_device_memory(scratch.data_ptr(), max(needs))
        contexts.append(context)
    device.mark().synchronize()
    return contexts, scratch


def _limits(profiles: Sequence[Profile]) -> Limits:
    return Limits(
        max_batch_tokens=max(profile.tokens for profile in profiles),
        max_batch_rows=max(profile.rows for profile in profiles),
    )
