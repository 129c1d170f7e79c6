"""Sparsity penalties on scaling factors: value, subgradient and proximal operator, elementwise.

A penalty lam p(|gamma|) pulls the scaling factor gamma of an unimportant channel towards 0. This module
knows the formulas and the domains of their parameters; how they act on a network is not its matter.

    >>> import torch
    >>> from slimming import penalties
    >>> tl1 = penalties.get("tl1", a=1.0)
    >>> tl1.slug
    'tl1-1'
    >>> tl1.subgradient(torch.tensor([-1.0, 0.0, 1.0]), lam=2.0)
    tensor([-1.,  0.,  1.])
    >>> tl1.prox(torch.tensor([-3.0, 0.5, 3.0]), lam=2.0, step=0.5)
    tensor([-2.8662,  0.0000,  2.8662])

A new penalty is one class here, with three functions of the size x = |gamma| >= 0, and its place in
PENALTIES. Only methods of tensors are called: importing the module does not import torch.

Sources, named below by their authors:

    Tibshirani 1996, J. R. Stat. Soc. B            l1
    Fan and Li 2001, J. Am. Stat. Assoc.           SCAD
    Zhang 2010, Ann. Stat.                         MCP
    Xu et al. 2012, IEEE Trans. Neural Netw.       lp with p = 1/2
    Chen, Shen and Suter 2016, IET Signal Proc.    lp
    Zhang and Xin 2017, Commun. Math. Sci.         TL1
    Bui et al. 2021, IEEE Access                   all of these on scaling factors, in the scale used here
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, ClassVar

from slimming.errors import InputError, unknown

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


def _within(low: float, high: float, default: float) -> float:
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


@dataclass(frozen=True)
class Lp(Penalty):
    """p(x) = x^p, 0 < p < 1; p'(x) = p x^(p-1), in the subgradient held at its value in FLOOR for smaller x.

    The proximal operator jumps (Chen, Shen and Suter): with t = step lam it is 0 up to the size at which the
    minima at 0 and at [2 t (1-p)]^(1/(2-p)) tie, and never takes a value between these. Half thresholding for
    p = 1/2 (Xu et al.); Newton's method for all other p, 2/3 with its long closed form among them.
    """

    name: ClassVar[str] = "lp"
    p: float = _within(0, 1, default=0.5)

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


@dataclass(frozen=True)
class TL1(Penalty):
    """p(x) = (a+1) x / (a+x), a > 0; p'(x) = a (a+1) / (a+x)^2. Tends to l1 for large a, to l0 for small.

    The proximal operator is the greatest root of a cubic, in trigonometric form (Zhang and Xin): continuous
    for 2 step lam (a+1) <= a^2, with a jump otherwise.
    """

    name: ClassVar[str] = "tl1"
    a: float = _within(0, math.inf, default=1.0)

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


@dataclass(frozen=True)
class MCP(Penalty):
    """lam p(x) = lam x - x^2 / (2a) up to the knee a lam, constant beyond, a > 0 (Zhang).

    The derivative is lam near 0 and falls linearly to 0 at the knee: lam is both strength and length. The
    default a lets the knee of lam = 1e-4 reach the initial scaling factors 0.5, on which the textbook's 3
    would never act. Proximal operator: firm thresholding for step < a, hard thresholding otherwise.
    """

    name: ClassVar[str] = "mcp"
    a: float = _within(0, math.inf, default=5000.0)

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


@dataclass(frozen=True)
class SCAD(Penalty):
    """lam p(x) = lam x - max(x - lam, 0)^2 / (2 (a-1)) up to the knee a lam, constant beyond, a > 2.

    The derivative is lam up to x = lam and falls linearly to 0 at the knee (Fan and Li); the default a is
    MCP's. The proximal operator is continuous and piecewise linear for step < a - 1, and otherwise jumps
    from soft thresholding to the identity.
    """

    name: ClassVar[str] = "scad"
    a: float = _within(2, math.inf, default=5000.0)

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


PENALTIES: dict[str, type[Penalty]] = {penalty.name: penalty for penalty in (Zero, L1, Lp, TL1, MCP, SCAD)}


def get(name: str, /, **parameters: float) -> Penalty:
    """The penalty `name`; parameters left out take their defaults.

    InputError for an unknown penalty, a parameter it does not have, or a value outside its interval.
    """
    if name not in PENALTIES:
        raise unknown("penalty", name, PENALTIES)
    known = PENALTIES[name].parameters()
    for parameter in parameters:
        if not known:
            raise InputError(f"{name}: takes no parameters, got {parameter!r}")
        if parameter not in known:
            raise unknown(f"parameter of {name}", parameter, known)
    return PENALTIES[name](**parameters)
