"""CUDA graphs of the shapes that come again, as many as are worth their memory."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable

from engine.backends.tensorrt.device import Device

log = logging.getLogger(__name__)

Run = Callable[[], None]


class Graphs:
    """Records work when it comes again, and repeats the recording from then on.

    What was not used for longest gives way. Where recording fails, all work runs plainly for good.
    """

    def __init__(self, device: Device, most: int = 64) -> None:
        self._device = device
        self._most = most
        self._seen: OrderedDict[Hashable, Run | None] = OrderedDict()

    def run(self, key: Hashable, work: Run) -> None:
        """Queue the work. Equal keys must mean work on equal shapes and addresses."""
        known = key in self._seen
        graph = self._seen.pop(key, None)
        if graph is not None:
            graph()
        else:
            work()  # also what CUDA asks for just before a recording, to settle the shapes
            graph = self._record(work) if known else None
        self._seen[key] = graph
        while len(self._seen) > self._most:
            self._seen.popitem(last=False)

    def clear(self) -> None:
        """Forget all graphs; none may be running."""
        self._seen.clear()

    def _record(self, work: Run) -> Run | None:
        try:
            return self._device.capture(work)
        except RuntimeError as error:
            log.warning("small batches run without graphs: %s", str(error).splitlines()[0])
            self._most = 0
            return None
