"""How long a network takes for an image or a batch of them on a CPU."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

BATCHES = (1, 64)


def measure(net: nn.Module, image: tuple[int, int, int], seconds: float = 0.1, least: int = 5) -> dict:
    """CPU inference time in milliseconds at batch 1 and 64: {batch: median, quartiles and repeats}.

    Measured on one thread while other jobs may run beside it, hence the median of many and the spread.
    """
    return of_calls(copy.deepcopy(net).cpu().eval(), image, seconds, least)


def of_calls(
    net: Callable[[Tensor], Tensor], image: tuple[int, int, int], seconds: float = 0.1, least: int = 5
) -> dict:
    """As `measure`, of whatever takes images (N, C, H, W)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            return {str(batch): _timed(net, torch.zeros(batch, *image), seconds, least) for batch in BATCHES}
    finally:
        torch.set_num_threads(threads)


def _timed(net: Callable[[Tensor], Tensor], images: Tensor, seconds: float, least: int) -> dict:
    net(images)  # the first call allocates and chooses kernels
    times: list[float] = []
    while len(times) < least or sum(times) < seconds:
        start = time.perf_counter()
        net(images)
        times.append(time.perf_counter() - start)
    quartiles = torch.tensor(times, dtype=torch.float64).quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    q25, median, q75 = (round(1000 * value, 6) for value in quartiles.tolist())
    return {"median": median, "q25": q25, "q75": q75, "repeats": len(times)}
