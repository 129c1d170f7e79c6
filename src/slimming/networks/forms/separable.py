"""Two steps: a kernel for every input channel alone, then linear combinations of channels (1x1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from slimming.errors import InputError
from slimming.networks.forms.base import Form, truncated
from slimming.networks.kernels import Conv2d


class Depthwise(nn.Conv2d):
    """One kernel a channel; it computes in its weight's type."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(x.to(weight.dtype), weight, bias)


class Separable(Form):
    """W[o, i] = C[o, i] D[i]: kernels D (I, 1, k, k), combinations C (O, I, 1, 1).

    dilation: pixels from one of the kernel's taps to the next. With more than one, the plain convolution that computes
    the same has a larger kernel, padded by as much more: such a layer is chosen, not fitted.
    """

    name = "separable"

    def __init__(self, plain: nn.Conv2d | nn.Linear, dilation: int = 1):
        super().__init__(plain)
        if dilation not in (1, 2):
            raise InputError(f"form separable: dilation must be 1 or 2, got {dilation}")
        self.dilation, self.taken = dilation, self.kernel_size
        more = [(kernel - 1) * (dilation - 1) for kernel in self.taken]
        if any(extra % 2 for extra in more):
            raise InputError(f"form separable: a kernel {self.taken} cannot be dilated about its middle")
        self.kernel_size = tuple(kernel + extra for kernel, extra in zip(self.taken, more, strict=True))
        self.padding = tuple(padding + extra // 2 for padding, extra in zip(self.padding, more, strict=True))
        self.kernels = Depthwise(
            self.in_channels, self.in_channels, self.taken, self.stride, self.padding, dilation,
            groups=self.in_channels, bias=False,
        )  # fmt: skip
        self.combinations = Conv2d(self.in_channels, self.out_channels, 1, bias=False)

    @property
    def settings(self) -> dict[str, Any]:
        return {"dilation": self.dilation}

    @torch.no_grad()
    def fit(self, weight: Tensor) -> None:
        """The best W of this form, input channel by input channel: rank one of its (O, k^2) matrix."""
        if self.dilation > 1:
            return
        for channel in range(self.in_channels):
            left, values, right = truncated(weight[:, channel].flatten(1), 1)
            self.combinations.weight[:, channel, 0, 0] = left[:, 0] * values.sqrt()
            self.kernels.weight[channel, 0] = (values.sqrt()[:, None] * right).view(self.taken)

    def dense(self) -> Tensor:
        weight = self.combinations.weight * self.kernels.weight[:, 0]
        whole = weight.new_zeros(self.out_channels, self.in_channels, *self.kernel_size)
        whole[:, :, :: self.dilation, :: self.dilation] = weight
        return whole

    def compute(self, x: Tensor) -> Tensor:
        return self.combinations(self.kernels(x))
