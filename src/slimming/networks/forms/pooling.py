"""Means instead of a convolution: every output channel is the mean of its input channel over the kernel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from slimming.errors import InputError
from slimming.networks.forms.base import Form


class Pooling(Form):
    """Mean pooling of kernel `size`, padding of zeros counted; with size 1 the channels pass as they are (a skip).

    It is chosen, not fitted. Maximum pooling is not offered: it contracts to no weight.
    """

    name = "pooling"

    def __init__(self, plain: nn.Conv2d | nn.Linear, size: int):
        super().__init__(plain)
        if self.in_channels != self.out_channels:
            raise InputError(
                f"form pooling: needs as many outputs as inputs, the layer has {self.out_channels} and "
                f"{self.in_channels}"
            )
        centred = all(2 * padding == kernel - 1 for padding, kernel in zip(self.padding, self.kernel_size, strict=True))
        if not centred or any(size not in (1, kernel) for kernel in self.kernel_size):
            raise InputError(
                f"form pooling: size must be 1 or that of a centred kernel, {self.kernel_size}, got {size}"
            )
        self.size = size
        self.register_buffer("zero", torch.zeros(()), persistent=False)  # says on which device the layer lies

    @property
    def settings(self) -> dict[str, Any]:
        return {"size": self.size}

    def fit(self, weight: Tensor) -> None:
        """There is nothing to fit."""

    def dense(self) -> Tensor:
        weight = self.zero.new_zeros(self.out_channels, self.in_channels, *self.kernel_size)
        margins = [(kernel - self.size) // 2 for kernel in self.kernel_size]
        rows, columns = (slice(margin, margin + self.size) for margin in margins)
        channels = torch.arange(self.out_channels)
        weight[channels, channels, rows, columns] = 1 / self.size**2
        return weight

    def compute(self, x: Tensor) -> Tensor:
        if self.size == 1:
            return x[:, :, :: self.stride[0], :: self.stride[1]].clone()  # what follows may write in place
        return nn.functional.avg_pool2d(x, self.kernel_size, self.stride, self.padding)
