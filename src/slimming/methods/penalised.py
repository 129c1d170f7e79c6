"""Network slimming: train with a sparsity penalty on the scaling factors (Liu et al., 2017; Bui et al., 2021).

The objective is CE(W, gamma, beta) + sum_c lam p(|gamma_c|); the penalty acts through its subgradient.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slimming import penalties
from slimming.errors import InputError, unknown
from slimming.methods.base import Method

if TYPE_CHECKING:
    from slimming.methods.base import Step
    from slimming.penalties import Penalty


@dataclass(frozen=True, kw_only=True)
class Penalised(Method):
    """Subgradient descent on a penalty of strength `lam`."""

    penalty: Penalty
    lam: float

    def cautions(self, gamma: float) -> list[str]:
        knee = self.penalty.knee(self.lam)
        if knee >= gamma:
            return []
        return [
            f"{self.slug} with lam={self.lam:g} cannot act: its knee {knee:g} lies below the initial scaling "
            f"factors {gamma:g}, beyond it the subgradient is 0; choose a larger parameter or lam"
        ]

    def add_gradient(self, step: Step) -> None:
        step.gamma.gradient.add_(self.penalty.subgradient(step.gamma.values, self.lam))


def _make(name: str, *, lam: float = 1e-4, **parameters: float) -> Penalised:
    known = ("lam", *penalties.PENALTIES[name].parameters())
    for parameter in parameters:
        if parameter not in known:
            raise unknown(f"parameter of {name}", parameter, known)
    penalty = penalties.get(name, **parameters)
    if isinstance(lam, bool) or not isinstance(lam, int | float) or not 0 <= lam < math.inf:
        raise InputError(f"{name}: lam must lie in [0, inf), got {lam!r}")
    return Penalised(slug=penalty.slug, penalty=penalty, lam=lam)


METHODS = {name: functools.partial(_make, name) for name in penalties.PENALTIES if name != "none"}
