"""Smoothly clipped absolute deviation: Fan and Li 2001, J. Am. Stat. Assoc."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from slimming.penalties.base import Penalty, within

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SCAD(Penalty):
    """lam p(x) = lam x - max(x - lam, 0)^2 / (2 (a-1)) up to the knee a lam, constant beyond, a > 2.

    The derivative is lam up to x = lam and falls linearly to 0 at the knee (Fan and Li); the default a is
    MCP's. The proximal operator is continuous and piecewise linear for step < a - 1, and otherwise jumps
    from soft thresholding to the identity.
    """

    name: ClassVar[str] = "scad"
    a: float = within(2, math.inf, default=5000.0)

    def knee(self, lam: float) -> float:
        return self.a * lam

    def _value(self, size: Tensor, lam: float) -> Tensor:
        inside = size.clamp(max=self.knee(lam))
        return lam * inside - (inside - lam).clamp(min=0).square() / (2 * (self.a - 1))

    def _slope(self, size: Tensor, lam: float) -> Tensor:
        return (lam - (size - lam) / (self.a - 1)).clamp(min=0, max=lam)

    def _prox(self, size: Tensor, lam: float, step: float) -> Tensor:
        soft, rest = (size - step * lam).clamp(min=0), self.a - 1
        if step < rest:
            steep = (rest * size - self.a * step * lam) / (rest - step)
            return soft.maximum(steep).minimum(size)
        # Concave between lam and the knee: soft and size tie where size / lam is a mean of step and a + 1.
        mean = (step + self.a + 1) / 2 if step <= self.a + 1 else math.sqrt(step * (self.a + 1))
        return soft.where(size <= mean * lam, size)
