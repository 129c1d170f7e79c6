"""No penalty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from slimming.penalties.base import Penalty

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Zero(Penalty):
    """No penalty: p(x) = 0, and the proximal operator is the identity."""

    name: ClassVar[str] = "none"

    def _value(self, size: Tensor, lam: float) -> Tensor:
        return 0 * size

    def _slope(self, size: Tensor, lam: float) -> Tensor:
        return 0 * size

    def _prox(self, size: Tensor, lam: float, step: float) -> Tensor:
        return size
