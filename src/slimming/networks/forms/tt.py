"""Tensor train: a weight as a chain of five small cores, with channels in two factors each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from slimming.errors import InputError
from slimming.networks.forms.base import Form, check_ranks, truncated
from slimming.networks.kernels import Conv2d


class TensorTrain(Form):
    """W[(o1 o2), (i1 i2), s] = A[o1, a] B[a, o2, b] C[b, s, c] D[c, i1, d] E[d, i2], summed over the ranks a, b, c, d.

    s runs over the k^2 places of a kernel. Channels are factored as evenly as their number allows, the smaller factor
    first; where channels are removed later, the rest has other factors. Computed right to left by convolutions alone:
    E and D (1x1) read channels, C (kxk) sees the image, B and A (1x1) write channels. Fitted left to right by truncated
    singular value decompositions (Oseledets, 2011, "Tensor-Train decomposition", SIAM Journal on Scientific Computing;
    for convolutions Yin et al., CVPR 2021).
    """

    name = "tt"

    def __init__(self, plain: nn.Conv2d | nn.Linear, ranks: Sequence[int]):
        super().__init__(plain)
        if len(ranks) != 4:
            raise InputError(f"form tt: ranks are four, one between each two of the five cores, got {ranks!r}")
        check_ranks("tt", **dict(zip("abcd", ranks, strict=True)))
        self.outputs, self.inputs = factors(self.out_channels), factors(self.in_channels)
        self.ranks = clipped(ranks, (*self.outputs, self.taps, *self.inputs))
        a, b, c, d = self.ranks
        (o1, o2), (i1, i2) = self.outputs, self.inputs
        self.e = Conv2d(i2, d, 1, bias=False)
        self.d = Conv2d(i1 * d, c, 1, bias=False)
        self.c = Conv2d(c, b, self.kernel_size, self.stride, self.padding, bias=False)
        self.b = Conv2d(b, o2 * a, 1, bias=False)
        self.a = Conv2d(a, o1, 1, bias=False)

    @property
    def settings(self) -> dict[str, Any]:
        return {"ranks": [*self.ranks]}

    @torch.no_grad()
    def fit(self, weight: Tensor) -> None:
        (o1, o2), (i1, i2), taps = self.outputs, self.inputs, self.taps
        a, b, c, d = self.ranks
        # Modes o1, o2, s, i1, i2; every decomposition splits the next one off.
        rest, previous, cores = weight.detach().double().flatten(2).transpose(1, 2), 1, []
        for size, rank in zip((o1, o2, taps, i1), self.ranks, strict=True):
            left, values, right = truncated(rest.reshape(previous * size, -1), rank)
            cores.append(left.view(previous, size, rank))
            rest, previous = values[:, None] * right, rank
        first, second, third, fourth = cores
        self.a.weight.copy_(first.view(o1, a)[..., None, None])
        self.b.weight.copy_(second.permute(2, 1, 0).reshape(b, o2 * a).T[..., None, None])
        self.c.weight.copy_(third.permute(0, 2, 1).reshape(b, c, *self.kernel_size))
        self.d.weight.copy_(fourth.reshape(c, i1 * d)[..., None, None])
        self.e.weight.copy_(rest.view(d, i2)[..., None, None])

    def dense(self) -> Tensor:
        (o1, o2), (i1, i2) = self.outputs, self.inputs
        a, b, c, d = self.ranks
        w = torch.einsum(
            "pa,qab,bcs,cid,dj->pqijs",
            self.a.weight.view(o1, a),
            self.b.weight.view(o2, a, b),
            self.c.weight.flatten(2),
            self.d.weight.view(c, i1, d),
            self.e.weight.view(d, i2),
        )
        return w.reshape(self.out_channels, self.in_channels, *self.kernel_size)

    def compute(self, x: Tensor) -> Tensor:
        (o1, o2), (i1, i2) = self.outputs, self.inputs
        a, _, _, d = self.ranks
        images = x.shape[0]
        x = self.e(x.reshape(images * i1, i2, *x.shape[2:]))
        x = self.b(self.c(self.d(x.reshape(images, i1 * d, *x.shape[2:]))))
        x = self.a(x.reshape(images * o2, a, *x.shape[2:]))
        return x.reshape(images, o2, o1, *x.shape[2:]).transpose(1, 2).flatten(1, 2)


def factors(channels: int) -> tuple[int, int]:
    """The two factors of a number that are nearest to each other, the smaller first: 12 -> (3, 4)."""
    small = next(size for size in range(math.isqrt(channels), 0, -1) if channels % size == 0)
    return small, channels // small


def clipped(ranks: Sequence[int], sizes: Sequence[int]) -> tuple[int, ...]:
    """`ranks` of a train whose modes have these sizes, none higher than what is on its left or on its right."""
    held, left = [], 1
    for rank, size in zip(ranks, sizes, strict=False):
        left = min(rank, left * size)
        held.append(left)
    right = 1
    for place, size in zip(reversed(range(len(held))), reversed(sizes), strict=False):
        right = held[place] = min(held[place], right * size)
    return tuple(held)
