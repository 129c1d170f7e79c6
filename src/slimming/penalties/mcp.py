"""The minimax concave penalty: Zhang 2010, Ann. Stat."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from slimming.penalties.base import Penalty, within

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class MCP(Penalty):
    """lam p(x) = lam x - x^2 / (2a) up to the knee a lam, constant beyond, a > 0 (Zhang).

    The derivative is lam near 0 and falls linearly to 0 at the knee: lam is both strength and length. The
    default a lets the knee of lam = 1e-4 reach the initial scaling factors 0.5, on which the textbook's 3
    would never act. Proximal operator: firm thresholding for step < a, hard thresholding otherwise.
    """

    name: ClassVar[str] = "mcp"
    a: float = within(0, math.inf, default=5000.0)

    def knee(self, lam: float) -> float:
        return self.a * lam

    def _value(self, size: Tensor, lam: float) -> Tensor:
        inside = size.clamp(max=self.knee(lam))
        return inside * (lam - inside / (2 * self.a))

    def _slope(self, size: Tensor, lam: float) -> Tensor:
        return (lam - size / self.a).clamp(min=0)

    def _prox(self, size: Tensor, lam: float, step: float) -> Tensor:
        if step >= self.a:  # concave up to the knee: 0 or size, whichever costs less
            return size.masked_fill(size <= math.sqrt(step * self.a) * lam, 0)
        return (self.a / (self.a - step) * (size - step * lam).clamp(min=0)).minimum(size)
