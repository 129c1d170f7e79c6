"""Nothing: a layer whose output is zero."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from slimming.networks.forms.base import Form


class Null(Form):
    """y = 0. It is chosen, not fitted."""

    name = "null"

    def __init__(self, plain: nn.Conv2d | nn.Linear):
        super().__init__(plain)
        self.register_buffer("zero", torch.zeros(()), persistent=False)  # says on which device the layer lies

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    def fit(self, weight: Tensor) -> None:
        """There is nothing to fit."""

    def dense(self) -> Tensor:
        return self.zero.new_zeros(self.out_channels, self.in_channels, *self.kernel_size)

    def compute(self, x: Tensor) -> Tensor:
        sides = zip(x.shape[2:], self.padding, self.kernel_size, self.stride, strict=True)
        size = [(side + 2 * padding - kernel) // stride + 1 for side, padding, kernel, stride in sides]
        return x.new_zeros(x.shape[0], self.out_channels, *size)
