"""The lp quasi-norm: Chen, Shen and Suter 2016, IET Signal Proc.; p = 1/2: Xu et al. 2012, IEEE Trans. Neural Netw."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from slimming.penalties.base import Penalty, within

if TYPE_CHECKING:
    from torch import Tensor

FLOOR = 1e-4
"""The |gamma| below which lp's subgradient, which is unbounded at 0, stays at its value there.

Below it descent sees the l1 penalty of weight lam p FLOOR^(p-1), at most 400 lam for any p; above it
nothing changes. Without a bound the step lr lam p |gamma|^(p-1) is longer than 2 |gamma|, and so grows a
factor that it should shrink, where |gamma|^(2-p) < lr lam p / 2: below 1.8e-4 for lr = 0.1, lam = 1e-4 and
p = 1/2. Smaller sizes cannot be told apart at the paper's first learning rate, and a factor that comes near
0 by chance is thrown far back (from 1e-8 by 0.05, before momentum) instead of settling. Factors this far
below their initial 0.5 rank last anyway.
"""


@dataclass(frozen=True)
class Lp(Penalty):
    """p(x) = x^p, 0 < p < 1; p'(x) = p x^(p-1), in the subgradient held at its value in FLOOR for smaller x.

    The proximal operator jumps (Chen, Shen and Suter): with t = step lam it is 0 up to the size at which the
    minima at 0 and at [2 t (1-p)]^(1/(2-p)) tie, and never takes a value between these. Half thresholding for
    p = 1/2 (Xu et al.); Newton's method for all other p, 2/3 with its long closed form among them.
    """

    name: ClassVar[str] = "lp"
    p: float = within(0, 1, default=0.5)

    def _value(self, size: Tensor, lam: float) -> Tensor:
        return lam * size**self.p

    def _slope(self, size: Tensor, lam: float) -> Tensor:
        return lam * self.p * size.clamp(min=FLOOR) ** (self.p - 1)

    def _prox(self, size: Tensor, lam: float, step: float) -> Tensor:
        p = self.p
        # The share of size that is kept depends on one number, size in units of `unit`.
        unit = (step * lam) ** (1 / (2 - p))
        least = (2 - 2 * p) / (2 - p)  # the share at the jump; it grows from there to 1
        jump = (2 - 2 * p) ** (1 / (2 - p)) * unit / least
        if p == 0.5:
            # sqrt(share) is the greatest root of u^3 - u + (size / unit)^(-3/2) / 2.
            sine = math.sqrt(27) / 4 * (size / unit) ** -1.5
            share = 4 / 3 * (math.pi / 6 + sine.arcsin() / 3).cos().square()
        else:
            share = _newton(p, (size / unit) ** (p - 2), least)
        return (share * size).masked_fill(size <= jump, 0)


def _newton(p: float, pull: Tensor, least: float) -> Tensor:
    """The greatest root u of the convex function u - 1 + pull p u^(p-1), which must lie in [least, 1].

    Newton's iterates fall monotonically from 1 to the root, and quadratically, because the slope on the way
    is at least 1 - p/2: seven reach the last digits of float64 for all p from 1e-9 to 1 - 1e-9.
    """
    share = pull.new_ones(pull.shape)
    for _ in range(8):
        residual = share - 1 + pull * p * share ** (p - 1)
        slope = 1 - pull * p * (1 - p) * share ** (p - 2)
        share = (share - residual / slope).clamp(min=least, max=1)
    return share
