"""Runs a plan: contexts that share one buffer, pinned staging, one stream, graphs for small shapes.

While the GPU runs one call, the next is prepared and its inputs are copied.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from engine.backends.tensorrt import feeds, network
from engine.backends.tensorrt.device import Device, Mark
from engine.backends.tensorrt.feeds import Shape
from engine.backends.tensorrt.graphs import Graphs
from engine.backends.tensorrt.profiles import Call, Profile, cut
from engine.backends.tensorrt.staging import Staging
from engine.errors import StartError
from engine.types import Batch, Checkpoint, Limits, Logits

# Below this, launching kernels costs more than running them.
_GRAPH_TOKENS = 1024
_ROUND = {"tokens": 64, "rows": 4, "width": 32}  # shapes of graphs, so that few serve many


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

    def score(self, batch: Batch) -> Logits:
        """Raw logits, float32 [rows]. Raises RuntimeError where TensorRT refuses a call."""
        try:
            return self._score(batch)
        except BaseException:
            self._device.mark().synchronize()  # the next batch may use the buffers again
            raise

    def _score(self, batch: Batch) -> Logits:
        logits = np.empty(batch.rows, dtype=np.float32)
        running: list[tuple[Call, Batch, Staging, Mark]] = []
        for number, call in enumerate(cut(batch.lengths, self._profiles)):
            slot = self._slots[number % len(self._slots)]
            if len(running) == len(self._slots):
                self._collect(logits, *running.pop(0))
            part = batch.select(call.rows)
            running.append((call, part, slot, self._start(call, part, slot)))
        for each in running:
            self._collect(logits, *each)
        return logits

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

    def _start(self, call: Call, part: Batch, slot: Staging) -> Mark:
        """Copy the inputs, queue the run and the copy of its scores."""
        shape = self._shape(call, part)
        slot.fill(network.feeds(self._checkpoint, part, shape), self._device)
        work = partial(self._enqueue, call.profile, shape, slot)
        if shape.tokens <= _GRAPH_TOKENS:
            self._graphs.run((slot, call.profile, shape), work)
        else:
            work()
        return slot.fetch(self._device)

    def _collect(self, logits: Logits, call: Call, part: Batch, slot: Staging, done: Mark) -> None:
        done.synchronize()
        logits[list(call.rows)] = self._reduce(slot.scores, part)

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
