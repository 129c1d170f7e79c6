"""Transformed l1: Zhang and Xin 2017, Commun. Math. Sci."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from slimming.penalties.base import Penalty, within

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TL1(Penalty):
    """p(x) = (a+1) x / (a+x), a > 0; p'(x) = a (a+1) / (a+x)^2. Tends to l1 for large a, to l0 for small.

    The proximal operator is the greatest root of a cubic, in trigonometric form (Zhang and Xin): continuous
    for 2 step lam (a+1) <= a^2, with a jump otherwise.
    """

    name: ClassVar[str] = "tl1"
    a: float = within(0, math.inf, default=1.0)

    def _value(self, size: Tensor, lam: float) -> Tensor:
        return lam * (self.a + 1) * (size / (self.a + size))

    def _slope(self, size: Tensor, lam: float) -> Tensor:
        # Two quotients, because a square overflows float32.
        return lam * (self.a / (self.a + size)) * ((self.a + 1) / (self.a + size))

    def _prox(self, size: Tensor, lam: float, step: float) -> Tensor:
        a, t = self.a, step * lam
        # Below a / 2 this is no jump: there the root grows from 0, and 0 is best where it is negative.
        jump = math.sqrt(2 * t * (a + 1)) - a / 2
        # Zhang and Xin write 2/3 (a+w) cos(phi/3) - 2a/3 + w/3 for w = size, with cos(phi) = 1 - 2 sine^2,
        # which cancels for large a. With half the angle it is w less what the penalty takes, to all digits.
        reach = a + size
        sine = (27 / 4 * (t / reach) * (a / reach) * ((a + 1) / reach)).sqrt().clamp(max=1)
        kept = size - 4 / 3 * reach * (sine.arcsin() / 3).sin().square()
        return kept.clamp(min=0).masked_fill(size <= jump, 0)
