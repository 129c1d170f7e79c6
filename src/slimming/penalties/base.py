"""What a penalty is: value, subgradient and proximal operator of a function of the size |gamma|."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, ClassVar

from slimming.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


def within(low: float, high: float, default: float) -> float:
    """A dataclass field for a parameter that lies in the open interval (low, high)."""
    return field(default=default, metadata={"interval": (low, high)})


@dataclass(frozen=True)
class Penalty(ABC):
    """An even penalty lam p(|gamma|), p(0) = 0, non-decreasing in |gamma|, with its parameters as fields.

    gamma is a float32 or float64 tensor of any shape; results have its shape, dtype and device, and NaN stays
    NaN. lam >= 0 is the strength, step >= 0 the step size of a proximal method. InputError for a parameter
    outside its interval.
    """

    name: ClassVar[str]

    def __post_init__(self) -> None:
        for parameter in fields(self):
            number, (low, high) = getattr(self, parameter.name), parameter.metadata["interval"]
            if isinstance(number, bool) or not isinstance(number, int | float) or not low < number < high:
                raise InputError(f"{self.name}: {parameter.name} must lie in ({low:g}, {high:g}), got {number!r}")

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        """Names of the parameters beside lam."""
        return tuple(parameter.name for parameter in fields(cls))

    @property
    def slug(self) -> str:
        """The name with the parameters' values, for paths and tables: "l1", "lp-0.5", "mcp-5000"."""
        return "-".join([self.name, *(f"{getattr(self, parameter):g}" for parameter in self.parameters())])

    def knee(self, lam: float) -> float:
        """The |gamma| from which on the penalty is constant and pulls no more; inf where there is none."""
        return math.inf

    def value(self, gamma: Tensor, lam: float) -> Tensor:
        """lam p(|gamma|), elementwise; the penalty of a network is the sum."""
        return self._value(gamma.abs(), lam)

    def subgradient(self, gamma: Tensor, lam: float) -> Tensor:
        """A limiting subgradient of lam p(|gamma|), elementwise: the derivative, 0 at 0; finite throughout.

        lp's is bounded near 0, see FLOOR.
        """
        return gamma.sign() * self._slope(gamma.abs(), lam)

    def prox(self, gamma: Tensor, lam: float, step: float) -> Tensor:
        """argmin_x (x - gamma)^2 / 2 + step lam p(|x|), the global one; of two, the one nearer to 0.

        Computed in float64, because the formulas cancel, and rounded to gamma's dtype.
        """
        return (gamma.sign() * self._prox(gamma.double().abs(), lam, step)).to(gamma.dtype)

    @abstractmethod
    def _value(self, size: Tensor, lam: float) -> Tensor:
        """lam p(size) for size >= 0."""

    @abstractmethod
    def _slope(self, size: Tensor, lam: float) -> Tensor:
        """lam p'(size) for size > 0, and any finite value at 0."""

    @abstractmethod
    def _prox(self, size: Tensor, lam: float, step: float) -> Tensor:
        """The proximal operator for size >= 0, in float64."""
