"""Network slimming: train with a sparsity penalty on the scaling factors (Liu et al., 2017; Bui et al., 2021).

The objective is CE(W, gamma, beta) + sum_c lam p(|gamma_c|). A penalty acts through its subgradient, or, as
"proximal-<penalty>", through its proximal operator, which makes exact zeros.
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
    from slimming.methods.base import Setting, Step
    from slimming.networks.base import Network
    from slimming.penalties import Penalty
    from slimming.pruning import Plan

PROXIMAL = "proximal-"


@dataclass(frozen=True, kw_only=True)
class Penalised(Method):
    """Subgradient descent on a penalty of strength `lam`."""

    penalty: Penalty
    lam: float

    def modules(self) -> tuple[str, ...]:
        return *super().modules(), type(self.penalty).__module__

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


@dataclass(frozen=True, kw_only=True)
class Proximal(Penalised):
    """Proximal gradient descent: after every update gamma <- prox of t lam p, t = lr / (1 - momentum).

    A constant force moves a parameter by t a step once momentum has gathered; the proximal step is not gathered, so
    with this t a lam is as strong as in Penalised. Factors that the data do not hold up become 0 and stay there.
    The ratio 0 removes exactly those: pruning at the threshold 0.
    """

    def add_gradient(self, step: Step) -> None:
        """The penalty acts after the update alone."""

    def after_step(self, step: Step) -> None:
        gamma = step.gamma.values
        gamma.copy_(self.penalty.prox(gamma, self.lam, step.lr / (1 - step.momentum)))

    def plan(self, net: Network, ratio: float, setting: Setting | None = None) -> Plan:
        if ratio > 0:
            return super().plan(net, ratio, setting)
        from slimming import pruning

        scores = pruning.merged(net, self.scores(net))
        zeros = sum(int((score == 0).sum()) for score in scores.values())
        return pruning.expanded(net, pruning.plan(scores, ratio, removals=zeros))


def _make(kind: type[Penalised], name: str, *, lam: float = 1e-4, **parameters: float) -> Penalised:
    prefix = PROXIMAL if kind is Proximal else ""
    known = ("lam", *penalties.registry()[name].parameters())
    for parameter in parameters:
        if parameter not in known:
            raise unknown(f"parameter of {prefix}{name}", parameter, known)
    penalty = penalties.get(name, **parameters)
    if isinstance(lam, bool) or not isinstance(lam, int | float) or not 0 <= lam < math.inf:
        raise InputError(f"{prefix}{name}: lam must lie in [0, inf), got {lam!r}")
    return kind(slug=prefix + penalty.slug, penalty=penalty, lam=lam)


_NAMES = [name for name in penalties.registry() if name != "none"]
METHODS = {name: functools.partial(_make, Penalised, name) for name in _NAMES}
METHODS |= {PROXIMAL + name: functools.partial(_make, Proximal, name) for name in _NAMES}
