"""Two factors: the truncated singular value decomposition of a weight."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from slimming.networks.forms.base import Form, check_ranks, truncated
from slimming.networks.kernels import Conv2d


class SVD(Form):
    """W = V U: `rank` filters kxk, and their linear combinations (1x1). The best W of that rank (Eckart and Young)."""

    name = "svd"

    def __init__(self, plain: nn.Conv2d | nn.Linear, rank: int):
        super().__init__(plain)
        check_ranks("svd", rank=rank)
        # Surgery may have left fewer channels than the rank was chosen for.
        self.rank = min(rank, self.out_channels, self.in_channels * self.taps)
        self.filters = Conv2d(self.in_channels, self.rank, self.kernel_size, self.stride, self.padding, bias=False)
        self.combinations = Conv2d(self.rank, self.out_channels, 1, bias=False)

    @property
    def settings(self) -> dict[str, Any]:
        return {"rank": self.rank}

    @torch.no_grad()
    def fit(self, weight: Tensor) -> None:
        left, values, right = truncated(weight.flatten(1), self.rank)
        roots = values.sqrt()
        self.filters.weight.copy_((roots[:, None] * right).view_as(self.filters.weight))
        self.combinations.weight.copy_((left * roots)[..., None, None])

    def dense(self) -> Tensor:
        return torch.einsum("or,rikl->oikl", self.combinations.weight[:, :, 0, 0], self.filters.weight)

    def compute(self, x: Tensor) -> Tensor:
        return self.combinations(self.filters(x))
