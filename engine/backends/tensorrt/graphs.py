"""CUDA graphs of the shapes that come again, as many as are worth their memory."""

from collections import OrderedDict
from collections.abc import Callable, Hashable

from engine.backends.tensorrt.device import Device

Run = Callable[[], None]


class Graphs:
    """Runs work plainly the first time, as CUDA asks, and by a recorded graph from then on.

    What was not used for longest gives way.
    """

    def __init__(self, device: Device, most: int = 64) -> None:
        self._device = device
        self._most = most
        self._seen: OrderedDict[Hashable, Run | None] = OrderedDict()

    def run(self, key: Hashable, work: Run) -> None:
        """Queue the work. Equal keys must mean work on equal shapes and addresses."""
        if key in self._seen:
            graph = self._seen.pop(key) or self._device.capture(work)
            graph()
        else:
            graph = None
            work()
        self._seen[key] = graph
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)

    def clear(self) -> None:
        """Forget all graphs; none may be running."""
        self._seen.clear()
