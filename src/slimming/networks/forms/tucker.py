"""Tucker-2: fewer channels on both sides of a smaller kernel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from slimming.networks.forms.base import Form, check_ranks, truncated
from slimming.networks.kernels import Conv2d


class Tucker(Form):
    """`inputs` combinations of the input channels (1x1), a kxk core to `outputs` channels, and combinations of these.

    Fitted by the leading singular vectors of both unfoldings (HOSVD), which is close to the best of these ranks
    (De Lathauwer, De Moor and Vandewalle, 2000).
    """

    name = "tucker"

    def __init__(self, plain: nn.Conv2d | nn.Linear, inputs: int, outputs: int):
        super().__init__(plain)
        check_ranks("tucker", inputs=inputs, outputs=outputs)
        self.inputs, self.outputs = min(inputs, self.in_channels), min(outputs, self.out_channels)
        self.reduce = Conv2d(self.in_channels, self.inputs, 1, bias=False)
        self.core = Conv2d(self.inputs, self.outputs, self.kernel_size, self.stride, self.padding, bias=False)
        self.expand = Conv2d(self.outputs, self.out_channels, 1, bias=False)

    @property
    def settings(self) -> dict[str, Any]:
        return {"inputs": self.inputs, "outputs": self.outputs}

    @torch.no_grad()
    def fit(self, weight: Tensor) -> None:
        whole = weight.detach().double()
        out = truncated(whole.flatten(1), self.outputs)[0]
        into = truncated(whole.transpose(0, 1).flatten(1), self.inputs)[0]
        self.core.weight.copy_(torch.einsum("oikl,or,is->rskl", whole, out, into))
        self.expand.weight.copy_(out[..., None, None])
        self.reduce.weight.copy_(into.T[..., None, None])

    def dense(self) -> Tensor:
        out, into = self.expand.weight[:, :, 0, 0], self.reduce.weight[:, :, 0, 0]
        return torch.einsum("rskl,or,si->oikl", self.core.weight, out, into)

    def compute(self, x: Tensor) -> Tensor:
        return self.expand(self.core(self.reduce(x)))
