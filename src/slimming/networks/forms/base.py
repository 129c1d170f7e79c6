"""What a form is: a convolution or linear layer written otherwise than by its dense weight."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from slimming.errors import InputError
from slimming.networks.kernels import Conv2d


class Form(nn.Module, ABC):
    """(N, I, H, W) -> (N, O, H', W') as the convolution `plain` has it, (N, I) -> (N, O) as the linear layer has it.

    A linear layer is a 1x1 convolution of an image of one pixel. Its result has the type of what it reads.

    A form that computes with weights of its own, not with convolutions in it, calls them `weight` (O, I, k, k): each
    of them is used once at every position, which is how multiply-accumulates are counted.
    """

    name: ClassVar[str]

    def __init__(self, plain: nn.Conv2d | nn.Linear):
        super().__init__()
        if not writable(plain):
            raise InputError("is grouped, dilated, or pads otherwise than with zeros; leave it in its plain form")
        self.linear = isinstance(plain, nn.Linear)
        if self.linear:
            self.in_channels, self.out_channels = plain.in_features, plain.out_features
            self.kernel_size, self.stride, self.padding = (1, 1), (1, 1), (0, 0)
        else:
            self.in_channels, self.out_channels = plain.in_channels, plain.out_channels
            self.kernel_size, self.stride, self.padding = plain.kernel_size, plain.stride, plain.padding
        self.bias = None if plain.bias is None else nn.Parameter(plain.bias.detach().clone())

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What the form was made with, clipped to what the layer has room for: its parameters, JSON-able."""

    @abstractmethod
    def fit(self, weight: Tensor) -> None:
        """Take over a dense weight (O, I, k, k), as closely as the form can."""

    @abstractmethod
    def dense(self) -> Tensor:
        """The weight (O, I, k, k) of the plain convolution that computes the same."""

    @abstractmethod
    def compute(self, x: Tensor) -> Tensor:
        """The convolution without its bias."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.compute(x[:, :, None, None])[:, :, 0, 0].to(x.dtype) if self.linear else self.compute(x)
        if self.bias is None:
            return y
        bias = self.bias.to(y.dtype)
        return y + (bias if self.linear else bias[:, None, None])

    def plain(self) -> Conv2d | nn.Linear:
        """The plain layer that computes the same."""
        weight = self.dense()
        if self.linear:
            made = nn.Linear(self.in_channels, self.out_channels, bias=self.bias is not None)
        else:
            geometry = self.in_channels, self.out_channels, self.kernel_size, self.stride, self.padding
            made = Conv2d(*geometry, bias=self.bias is not None)
        made = made.to(weight.device)
        made.weight.data.copy_(weight.view_as(made.weight))
        if self.bias is not None:
            made.bias.data.copy_(self.bias)
        return made

    @property
    def taps(self) -> int:
        """The number of weights that a kernel has, k^2."""
        return math.prod(self.kernel_size)


def writable(layer: nn.Conv2d | nn.Linear) -> bool:
    """Whether a layer can be written in a form, which has no groups, no dilation, and pads with zeros."""
    if isinstance(layer, nn.Linear):
        return True
    return layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"


def check_ranks(form: str, **ranks: int) -> None:
    """InputError unless every rank is a whole number of at least 1."""
    for name, rank in ranks.items():
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
            raise InputError(f"form {form}: {name} must be a whole number of at least 1, got {rank!r}")


def truncated(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `rank` leading singular vectors and values of a matrix (m, n), float64: (m, r), (r,), (r, n).

    Where the matrix has fewer, zeros fill up.
    """
    left, values, right = torch.linalg.svd(matrix.detach().double(), full_matrices=False)
    missing = max(0, rank - len(values))
    left, values = (nn.functional.pad(part, (0, missing))[..., :rank] for part in (left, values))
    return left, values, nn.functional.pad(right, (0, 0, 0, missing))[:rank]
