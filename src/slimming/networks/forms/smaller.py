"""A smaller kernel: the middle of the layer's own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from slimming.errors import InputError
from slimming.networks.forms.base import Form
from slimming.networks.kernels import Conv2d


class Smaller(Form):
    """A convolution of kernel `size`, less than the layer's by an even number, at the same places."""

    name = "smaller"

    def __init__(self, plain: nn.Conv2d | nn.Linear, size: int):
        super().__init__(plain)
        self.margins = [(kernel - size) // 2 for kernel in self.kernel_size]
        paddings = [padding - margin for padding, margin in zip(self.padding, self.margins, strict=True)]
        odd = any((kernel - size) % 2 for kernel in self.kernel_size)
        if size < 1 or odd or min(self.margins) < 0 or min(paddings) < 0:
            raise InputError(f"form smaller: size {size} does not fit in the middle of a kernel {self.kernel_size}")
        self.size = size
        self.middle = Conv2d(self.in_channels, self.out_channels, size, self.stride, tuple(paddings), bias=False)

    @property
    def settings(self) -> dict[str, Any]:
        return {"size": self.size}

    @torch.no_grad()
    def fit(self, weight: Tensor) -> None:
        """The best W whose other entries are zero."""
        rows, columns = (slice(margin, margin + self.size) for margin in self.margins)
        self.middle.weight.copy_(weight[:, :, rows, columns])

    def dense(self) -> Tensor:
        down, across = self.margins
        return nn.functional.pad(self.middle.weight, (across, across, down, down))

    def compute(self, x: Tensor) -> Tensor:
        return self.middle(x)
