"""The l1 norm: Tibshirani 1996, J. R. Stat. Soc. B; on scaling factors, Liu et al. 2017."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from slimming.penalties.base import Penalty

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class L1(Penalty):
    """p(x) = x (Tibshirani; on scaling factors, Liu et al. 2017). Proximal operator: soft thresholding."""

    name: ClassVar[str] = "l1"

    def _value(self, size: Tensor, lam: float) -> Tensor:
        return lam * size

    def _slope(self, size: Tensor, lam: float) -> Tensor:
        return lam + 0 * size  # not lam alone: NaN stays, here and in the shape

    def _prox(self, size: Tensor, lam: float, step: float) -> Tensor:
        return (size - step * lam).clamp(min=0)
