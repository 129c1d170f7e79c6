"""Collaborative compression (Li, Lin et al., CVPR 2021): channels and ranks of a layer go together, in one ranking.

A unit is an input channel of a convolution or a singular value of its weight W as a matrix (O, I k^2). With G the mean
gradient of the loss over the training images, a weight W' in the place of W loses J = |G * (W' - W)|^2.

    1. curve    a layer's units, by the loss of each alone, go one after another; ln(J / J_max) over the share c of the
                layer's cost that is gone is fitted by ln p1 + p2 c, weighted by sqrt(J / J_max)
    2. rates    equal marginal loss: p1 p2 exp(p2 c) = x in every layer, c in [0, MOST], x such that the budget is met
    3. steps    the hundredth of a layer's units with the lowest J + GAMMA E goes, E the loss expected once as many of
                the others have gone as the layer's rate asks for; then all are scored anew
    4. surgery  channels by sites, so that producers lose them too; a layer that has lost ranks becomes two convolutions

    cc            both kinds of unit
    cc-channels   channels alone
    cc-rank       ranks alone

The first convolution and the classifier stay. A convolution that reads no site, as the first of a basic block, has
ranks alone. Other than the authors' code: a rank is at most min(O, I k^2), not min(O, I k); producers are thinned; the
budget is met by what surgery leaves, within a unit, not by every layer for itself; x is found by bracketing; E is exact
for units drawn at random whose changes add up, where the code has another average.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from slimming.errors import InputError
from slimming.methods.base import Method

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from slimming.methods.base import Setting
    from slimming.methods.parts.units import Layer, State
    from slimming.networks.base import Network
    from slimming.pruning import Budget, Plan

MOST = 0.95  # of the paper: the largest rate of a layer
TINY = 1e-10  # of the paper: what is added to a loss before its logarithm is taken
BATCH = 200  # images whose gradients are summed at once
HALVINGS = 12  # of the interval in which the target of the rates is looked for


@dataclass(frozen=True, kw_only=True)
class Collaborative(Method):
    """`kinds` says whether channels and whether ranks may go."""

    counts = "macs"
    budgets = ("parameters", "macs")
    forms = ("svd",)
    passes = 1.0
    finds = ("sensitivity",)

    kinds: tuple[bool, bool]

    def training(self) -> Method:
        return Method()

    def plan(self, net: Network, ratio: float, setting: Setting) -> Plan:
        from slimming.pruning import Plan

        plan = Plan.whole(net, ratio)
        if ratio == 0:
            return plan
        gradients = setting.remember("gradients", lambda: _gradients(net, setting))
        layers = _layers(net, gradients, setting.budget, self.kinds)
        curves = [_curve(layer) for layer in layers]
        rates, states = _Rates(self.slug, net, layers, curves, setting.budget).choose(ratio)
        for layer, state in zip(layers, states, strict=True):
            if layer.site:
                plan[layer.site] = state.channels.nonzero().flatten()
            rank = layer.rank(state)
            if rank:
                name = f"{layer.path}.weight"
                plan.weights[name] = layer.approximation(state).view_as(net.get_parameter(name)).float()
                plan.forms[layer.path] = {"form": "svd", "rank": rank}
        plan.found = _found(layers, curves, rates, states)
        return plan


class Curve(NamedTuple):
    """A layer's sensitivity: shares of its cost that are gone, J / J_max there, and the fit p1 exp(p2 c)."""

    shares: list[float]
    losses: list[float]
    p1: float
    p2: float


def _gradients(net: Network, setting: Setting) -> dict[str, Tensor]:
    """{convolution: mean gradient of the cross-entropy over the training images, in evaluation mode}."""
    import copy

    import torch

    from slimming.networks.kernels import Conv2d

    copied = copy.deepcopy(net).eval()
    weights = {path: layer.weight for path, layer in copied.named_modules() if isinstance(layer, Conv2d)}
    sums = {path: torch.zeros_like(weight, dtype=torch.float64) for path, weight in weights.items()}
    for images, labels in setting.images(BATCH):
        loss = torch.nn.functional.cross_entropy(copied(images), labels, reduction="sum")
        for total, gradient in zip(sums.values(), torch.autograd.grad(loss, [*weights.values()]), strict=True):
            total += gradient
    return {path: total / len(setting.labels) for path, total in sums.items()}


def _layers(net: Network, gradients: dict[str, Tensor], budget: Budget, kinds: tuple[bool, bool]) -> list[Layer]:
    """The convolutions that can lose units of these kinds: all but the first, which reads the image."""
    from slimming.measuring import cost
    from slimming.methods.parts.units import Layer

    readers = {site.consumer: site.norm for site in net.sites}
    macs = cost.layers(net, budget.image)
    found = []
    _, *paths = (path for path, _ in net.named_modules() if path in gradients)  # what is remembered has another order
    for path in paths:
        gradient = gradients[path]
        weight, site = net.get_parameter(f"{path}.weight"), readers.get(path)
        uses = macs[path] // weight.numel() if budget.of == "macs" else 1
        may = (kinds[0] and site is not None, kinds[1])
        if any(may):
            found.append(Layer(path, site, weight, gradient, uses, may))
    return found


def _curve(layer: Layer) -> Curve:
    import numpy as np

    whole = layer.whole()
    scores, state = layer.scores(whole), whole
    dense = layer.cost(whole)
    shares, losses = [], []
    while layer.left_to_go(state):
        state = layer.step(state, scores)
        shares.append(1 - layer.cost(state) / dense)
        losses.append(layer.loss(state) / layer.worst if layer.worst else 0.0)
    if len(shares) < 2 or not any(losses):
        return Curve(shares, losses, 1.0, TINY)
    x, y = np.array(shares), np.array(losses)
    # polyfit squares its weights: the fourth root is the square root of the paper.
    p2, log_p1 = np.polyfit(x, np.log(y + TINY), 1, w=y**0.25) if np.ptp(x) > 0 else (TINY, 0.0)
    return Curve(shares, losses, float(np.exp(log_p1)), max(float(p2), TINY))


class _Rates:
    """The rates of all layers, and the states that they lead to."""

    def __init__(self, slug: str, net: Network, layers: list[Layer], curves: list[Curve], budget: Budget):
        from slimming import networks
        from slimming.measuring import cost

        self.slug, self.layers, self.curves, self.budget = slug, layers, curves, budget
        self.spec = net.spec
        self.full = {site: norm.num_features for site, norm in networks.prunable(net).items()}
        self.whole = cost.of_spec(net.spec, budget.of, budget.image)
        self.costs = [layer.cost(layer.whole()) for layer in layers]
        self.known: dict[tuple[str, float], State] = {}

    def choose(self, ratio: float) -> tuple[list[float], list[State]]:
        """Rates and states that leave at most the share 1 - ratio, as near to it as a unit allows.

        The rates' common target is bisected; InputError where the largest rates leave too much.
        """
        allowed = (1 - ratio) * self.whole
        low, high = 0.0, MOST * sum(self.costs)
        rates = self.rates(high)
        states = self.states(rates)
        least = self.left(states)
        if least > allowed:
            path = max(zip(self.costs, self.layers, strict=True), key=lambda pair: pair[0])[1].path
            raise InputError(
                f"{self.slug}: no rates leave {1 - ratio:g} of the {self.budget.of}: at their limits, {path} and all "
                f"others leave {least / self.whole:.3f}; the ratio can be {1 - least / self.whole:.3f} at most"
            )
        wider = [layer.whole() for layer in self.layers]
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            tried = self.rates(middle)
            reached = self.states(tried)
            if self.left(reached) <= allowed:
                high, rates, states = middle, tried, reached
            else:
                low, wider = middle, reached
        # What is left over goes to the layers that lose most by the last halving.
        losses = [
            layer.loss(state) - layer.loss(wide) for layer, state, wide in zip(self.layers, states, wider, strict=True)
        ]
        for place in sorted(range(len(losses)), key=losses.__getitem__, reverse=True):
            tried = [*states[:place], wider[place], *states[place + 1 :]]
            if self.left(tried) <= allowed:
                states = tried
        return rates, states

    def rates(self, target: float) -> list[float]:
        """Rates c of equal marginal loss p1 p2 exp(p2 c) = x, in [0, MOST], whose costs add up to `target`."""
        import numpy as np
        from scipy import optimize

        p1, p2 = (np.array([getattr(curve, name) for curve in self.curves]) for name in ("p1", "p2"))
        costs, start = np.array(self.costs, dtype=float), np.log(p1 * p2)

        def at(log_x: float) -> np.ndarray:
            return np.clip((log_x - start) / p2, 0, MOST)

        low, high = start.min(), (start + MOST * p2).max()
        if target >= MOST * costs.sum():
            return [MOST] * len(costs)
        return at(optimize.brentq(lambda log_x: at(log_x) @ costs - target, low, high, xtol=1e-12)).tolist()

    def states(self, rates: Sequence[float]) -> list[State]:
        return [self.state(*pair) for pair in zip(self.layers, self.costs, rates, strict=True)]

    def state(self, layer: Layer, cost: int, rate: float) -> State:
        """The multi-step heuristic: units go until the layer costs what its rate leaves."""
        if (layer.path, rate) not in self.known:
            goal, state = (1 - rate) * cost, layer.whole()
            while layer.cost(state) > goal and layer.left_to_go(state):
                state = layer.step(state, layer.scores(state, goal))
            self.known[layer.path, rate] = state
        return self.known[layer.path, rate]

    def left(self, states: Sequence[State]) -> int:
        """What surgery leaves of the network."""
        from slimming.measuring import cost

        channels, forms = self.spec["channels"] | self.full, {}
        for layer, state in zip(self.layers, states, strict=True):
            if layer.site:
                channels[layer.site] = int(state.channels.sum())
            rank = layer.rank(state)
            if rank:
                forms[layer.path] = {"form": "svd", "rank": rank}
        return cost.of_spec(self.spec | {"channels": channels, "forms": forms}, self.budget.of, self.budget.image)


def _found(layers: list[Layer], curves: list[Curve], rates: list[float], states: list[State]) -> dict[str, dict]:
    """What the record says of the layers: {item: {layer: value}}, and points of curves."""
    found: dict[str, dict] = {}
    for layer, curve, rate, state in zip(layers, curves, rates, states, strict=True):
        points = zip(curve.shares, curve.losses, strict=True)
        items = {
            "sensitivity": [[round(share, 5), float(f"{loss:.4g}")] for share, loss in points],
            "p1": float(f"{curve.p1:.6g}"),
            "p2": float(f"{curve.p2:.6g}"),
            "rate": round(rate, 5),
            "channels": int(state.channels.sum()),
            "rank": layer.rank(state) or len(layer.values),
        }
        for item, value in items.items():
            found.setdefault(item, {})[layer.path] = value
    return found


def _cc() -> Collaborative:
    return Collaborative(slug="cc", kinds=(True, True))


def _cc_channels() -> Collaborative:
    return Collaborative(slug="cc-channels", kinds=(True, False))


def _cc_rank() -> Collaborative:
    return Collaborative(slug="cc-rank", kinds=(False, True))


METHODS = {"cc": _cc, "cc-channels": _cc_channels, "cc-rank": _cc_rank}
