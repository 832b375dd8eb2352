"""Times work on the CPU or the GPU: medians of repeated runs, after a warm-up."""

import statistics
import time
from collections.abc import Callable

import torch

_RUNS = 7


def seconds(work: Callable[[], object]) -> float:
    """Median time of one run. The work must wait for its own results."""
    for _ in range(2):
        work()
    times = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def rate(work: Callable[[], object]) -> float:
    """Runs a second."""
    return 1 / seconds(work)


def gemm_rate(size: int) -> float:
    """FLOP/s of a square matrix product: bfloat16 on the GPU, float32 on the CPU."""
    cuda = torch.cuda.is_available()
    dtype, device = (torch.bfloat16, "cuda") if cuda else (torch.float32, "cpu")
    a, b = (torch.randn(size, size, dtype=dtype, device=device) for _ in range(2))

    def work() -> None:
        for _ in range(10):
            torch.mm(a, b)
        if cuda:
            torch.cuda.synchronize()

    return 10 * 2 * size**3 * rate(work)
