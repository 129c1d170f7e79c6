"""How one batch's loss and gradient are computed on a machine: directly, compiled, or as a replayed CUDA graph.

Not for the update or its order: training says what a step is, and kernels how its operators compute.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import torch
from torch import Tensor, nn

from slimming.errors import InputError
from slimming.networks.base import Network
from slimming.settings import Machine
from slimming.training.flat import FlatParameters

WARM_UP = 3  # batches before a graph is captured: libraries choose and allocate in the first ones
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt


def set_up(machine: Machine) -> None:
    """Fix what decides a run's bits, and what its process allocates like. InputError if there is no such device."""
    torch.set_num_threads(machine.threads)
    if machine.device == "cpu":
        torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms would import a compiler, 1.5 s
        torch.utils.deterministic.fill_uninitialized_memory = False  # with NaN, a fifth of the time of narrow networks
        _keep_memory()
    elif not torch.cuda.is_available():
        raise InputError("device: cuda was asked for, but torch sees no GPU; set device: cpu")
    else:
        exact = machine.precision == "fp32"
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = not exact
        torch.backends.cudnn.benchmark = True  # every batch has the same shapes; bits are not promised on GPUs


def _keep_memory() -> None:
    """Let malloc keep what is freed: activations are pages that a step before touched, 1.1 to 1.35 times as fast."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's; elsewhere nothing is to be done
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


class Differentiation:
    """Leaves the gradient of the loss of a batch in `flat.gradients`, and adds (loss, hits) to `sums`.

    net: in training mode, with parameters that are views of `flat`.
    penalty: what a method adds to the cross-entropy, asked anew for every batch (and so never recorded); None: nothing.
    sums: (2,) float64 on the device; nothing is read from the device here, so that it never waits for the CPU.
    """

    def __init__(
        self,
        net: Network,
        flat: FlatParameters,
        penalty: Callable[[], Tensor | float] | None,
        sums: Tensor,
        machine: Machine,
    ):
        self.flat, self.penalty, self.sums = flat, penalty, sums
        self.net = torch.compile(net) if machine.compile else net
        self.graph = Graph(self.compute) if machine.device == "cuda" and penalty is None else None

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        (self.graph or self.compute)(images, labels)

    def compute(self, images: Tensor, labels: Tensor) -> None:
        self.flat.round()
        logits = self.net(images)
        loss = nn.functional.cross_entropy(logits, labels)
        (loss + self.penalty() if self.penalty else loss).backward()
        self.flat.collect()
        hits = (logits.detach().argmax(1) == labels).sum()
        self.sums += torch.stack([loss.detach().double() * len(labels), hits.double()])


def capture(compute: Callable[[], None]) -> Callable[[], None]:
    """The CUDA kernels that `compute` starts, recorded and not run; a call runs them all at the cost of one."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        compute()
    return graph.replay


class Graph:
    """`compute(images, labels)` replayed from fixed tensors; directly while warming up and for an odd last batch."""

    def __init__(self, compute: Callable[[Tensor, Tensor], None]):
        self.compute, self.calls = compute, 0
        self.fixed: tuple[Tensor, Tensor] | None = None
        self.replay: Callable[[], None] = lambda: None

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        self.calls += 1
        if self.fixed is None and self.calls > WARM_UP:
            self.fixed = images.clone(), labels.clone()
            self.replay = capture(lambda: self.compute(*self.fixed))
        if self.fixed is None or len(labels) != len(self.fixed[1]):
            self.compute(images, labels)
            return
        for fixed, given in zip(self.fixed, (images, labels), strict=True):
            fixed.copy_(given)
        self.replay()
