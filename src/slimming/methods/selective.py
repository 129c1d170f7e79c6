"""Selective weight decay (Tessier et al., 2022): what would be pruned now decays ever faster, until nothing is lost.

With w the parameters that pruning to the target would remove now, the objective gains mu a(t) |w|^2 / 2, mu the weight
decay and a(t) = a_min (a_max / a_min)^t, t in [0, 1) the progress of the training. The choice is made again and again,
so a parameter that grows can come back.

    swd             channels: scaling factors and shifts of the share `target` of all channels
    swd-parameters  channels: as many as leave at most the share 1 - target of the parameters
    swd-weights     single weights of convolutions and linear layers; the network becomes sparse, not smaller
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slimming.errors import InputError
from slimming.methods.base import Method

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from slimming.methods.base import Setting, Step
    from slimming.networks.base import Network
    from slimming.pruning import Budget, Plan

CHOOSE_EVERY = 25  # steps; between them the ranking hardly moves, and a choice costs more than a step's arithmetic


@dataclass(frozen=True, kw_only=True)
class Selective(Method):
    """Channels; `target` is the share of channels to remove."""

    target: float
    a_min: float
    a_max: float

    def prepare(self, step: Step) -> None:
        import torch

        step.state["chosen"] = torch.zeros_like(self._values(step), dtype=torch.bool)

    def before_step(self, step: Step) -> None:
        if step.number % CHOOSE_EVERY == 0:
            step.state["chosen"].copy_(self._choose(step))

    def add_gradient(self, step: Step) -> None:
        strength = step.weight_decay * self.a_min * (self.a_max / self.a_min) ** step.progress
        decay = min(strength, 1 / step.lr)  # a step is never longer than the parameter
        for part in self._parts(step):
            part.gradient.addcmul_(part.values, step.state["chosen"], value=decay)

    def _parts(self, step: Step) -> list:
        return [step.gamma, step.shift]

    def _values(self, step: Step) -> Tensor:
        return self._parts(step)[0].values

    def _choose(self, step: Step) -> Tensor:
        """Which of the part's entries pruning to the target would remove now, (n,) bool."""
        import torch

        plan = self.plan(step.net, self.target)
        chosen = [torch.ones(count, dtype=torch.bool) for count in plan.channels.values()]
        for gone, kept in zip(chosen, plan.values(), strict=True):
            gone[kept] = False
        return torch.cat(chosen)


@dataclass(frozen=True, kw_only=True)
class SelectiveParameters(Selective):
    """Channels; `target` and every ratio are shares of the network's parameters."""

    counts = "parameters"


@dataclass(frozen=True, kw_only=True)
class SelectiveWeights(Selective):
    """Single weights of convolutions and linear layers; `target`, and a ratio without a budget, are shares of these.

    A budget of parameters or macs is met by zeros, which count as gone; dense hardware gains nothing by them.
    """

    counts = "weights"
    budgets = ("parameters", "macs")

    def _parts(self, step: Step) -> list:
        return [step.weights]

    def _choose(self, step: Step) -> Tensor:
        return _smallest(step.weights.values, self.target)

    def plan(self, net: Network, ratio: float, setting: Setting | None = None) -> Plan:
        import torch

        from slimming import pruning

        plan = pruning.Plan.whole(net, ratio)
        weights = {name: value.detach() for name, value in net.named_parameters() if value.dim() > 1}
        flat = torch.cat([weight.flatten() for weight in weights.values()])
        zero = _smallest(flat, ratio)
        if setting and setting.budget.of != self.counts:
            whole, each = _uses(net, weights, setting.budget)
            order = torch.sort(flat.abs(), stable=True).indices
            gone = torch.searchsorted(each[order].cumsum(0), ratio * whole)
            zero = torch.zeros_like(zero)
            zero[order[: int(gone) + 1 if ratio else 0]] = True
        parts = zero.split([weight.numel() for weight in weights.values()])
        for (name, weight), gone in zip(weights.items(), parts, strict=True):
            plan.weights[name] = weight.masked_fill(gone.view_as(weight), 0)
        return plan

    def finetuning(self) -> Method:
        return KeepZeros()


@dataclass(frozen=True, kw_only=True)
class KeepZeros(Method):
    """Plain training in which weights that are 0 stay 0."""

    def prepare(self, step: Step) -> None:
        step.state["alive"] = step.weights.values != 0

    def after_step(self, step: Step) -> None:
        step.weights.values.mul_(step.state["alive"])


def _smallest(values: Tensor, share: float) -> Tensor:
    """Which of `values` (n,) are the round(share n) smallest in magnitude, ties by index, (n,) bool."""
    count = round(share * len(values))
    size = values.abs()
    threshold = size.kthvalue(count).values if count else -1.0
    chosen = size < threshold
    tied = (size == threshold).nonzero().flatten()
    chosen[tied[: count - int(chosen.sum())]] = True
    return chosen


def _uses(net: Network, weights: Mapping[str, Tensor], budget: Budget) -> tuple[int, Tensor]:
    """Parameters or multiply-accumulates of `net`, and what each of its `weights` has of them, (n,) float64."""
    import torch

    from slimming.measuring import cost

    if budget.of == "parameters":
        whole, uses = sum(value.numel() for value in net.parameters()), dict.fromkeys(weights, 1)
    else:
        macs = cost.layers(net, budget.image)
        whole = sum(macs.values())
        uses = {name: macs[name.removesuffix(".weight")] // weight.numel() for name, weight in weights.items()}
    return whole, torch.cat([torch.full((w.numel(),), uses[name], dtype=torch.float64) for name, w in weights.items()])


def _checked(kind: type[Selective], slug: str, target: float, a_min: float, a_max: float) -> Selective:
    if not 0 < target < 1:
        raise InputError(f"{slug}: target must lie in (0, 1), got {target!r}")
    if not 0 < a_min <= a_max:
        raise InputError(f"{slug}: 0 < a_min <= a_max is needed, got {a_min!r} and {a_max!r}")
    return kind(slug=f"{slug}-{target:g}", target=target, a_min=a_min, a_max=a_max)


def _swd(*, target: float = 0.5, a_min: float = 0.1, a_max: float = 1e5) -> Selective:
    return _checked(Selective, "swd", target, a_min, a_max)


def _swd_parameters(*, target: float = 0.5, a_min: float = 0.1, a_max: float = 1e5) -> Selective:
    return _checked(SelectiveParameters, "swd-parameters", target, a_min, a_max)


def _swd_weights(*, target: float = 0.5, a_min: float = 0.1, a_max: float = 1e5) -> Selective:
    return _checked(SelectiveWeights, "swd-weights", target, a_min, a_max)


METHODS = {"swd": _swd, "swd-parameters": _swd_parameters, "swd-weights": _swd_weights}
