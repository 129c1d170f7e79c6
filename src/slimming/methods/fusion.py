"""Dynamic-coded filter fusion (Lin et al., arXiv 2107.06916): a compact network, trained as mixtures out of a wide one.

A layer of O filters that is to have m keeps them all in a bank B and computes with P B. Before every epoch, with D the
distances between the filters (Euclidean) and T the inverse temperature:

    code        P_j = softmax(-T D_j), one distribution over all filters for each filter j
    importance  I_j = sum_k KL(P_j | P_k) / O; the m filters whose codes differ most from all others' are kept

Gradients reach the whole bank. The compact network is the fused weights, exactly, and needs no fine-tuning. T grows
from T_START to T_END, where every filter is its own code.

    dcff   schedule "described": T grows by the same factor every epoch; importances are finite, as logarithms of P
                                 are taken before P is rounded
           schedule "authors":   T = A / (1 + exp(-e)) + T_START - A / 2 in epoch e, as in the authors' code: 4 622 in
                                 epoch 1; importances that are not finite, as ln 0 is not, stay those of before
           schedule "narrow":    the same widths as a plain network from scratch, the baseline

With the sigmoid no choice of its steepness is slow: T passes 10 within a thousandth of its way, where codes are sharp.
All layers keep the same share of their filters, the largest with which the budget is met. Where channels are gathered
for one reader alone no filters are theirs: the reader's kernels of each channel are mixed in the same way instead.

Other than the authors: widths are not set by hand, and the accuracy is the last epoch's, not the best.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slimming.errors import unknown
from slimming.methods.base import Method

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

    from slimming.methods.base import Setting, Step
    from slimming.networks.base import Network
    from slimming.networks.forms.bank import Bank
    from slimming.pruning import Budget, Plan

SCHEDULES = ("described", "authors", "narrow")
T_START, T_END = 1.0, 10_000.0  # of the authors' code
EPSILON = 1e-7  # of the authors' code, beside P in a logarithm
STEPS = 4096  # in which the share of the filters that goes is looked for


@dataclass(frozen=True, kw_only=True)
class Fusion(Method):
    """A plain network of the run's is what the fused one stands beside; it lends it no weights."""

    counts = "macs"
    budgets = ("parameters", "macs")
    forms = ("bank",)
    trainings = 1.0

    schedule: str

    @property
    def finds(self) -> tuple[str, ...]:
        return () if self.schedule == "narrow" else ("codes",)

    def training(self) -> Method:
        return Method()

    def plan(self, net: Network, ratio: float, setting: Setting) -> Plan:
        import torch

        from slimming.networks import forms
        from slimming.pruning import Plan

        plan = Plan.whole(net, ratio)
        if ratio == 0:
            return plan
        widths = _widths(net, ratio, setting.budget)
        fused = self.schedule != "narrow"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setting.seed)
            trained = (_banked if fused else _narrow)(net, widths)
        if fused:
            trained.register_buffer("own", torch.zeros(len(trained.spec["forms"]), setting.epochs))
        method = Fusing(authors=self.schedule == "authors", epochs=setting.epochs) if fused else Method()
        setting.train(trained, method, setting.epochs, f"{ratio:g}")
        if fused:
            shares = zip(trained.spec["forms"], trained.own.tolist(), strict=True)
            plan.found = {
                "codes": {path: [[e, round(share, 6)] for e, share in enumerate(row)] for path, row in shares}
            }
            del trained.own
        plan.network = forms.contracted(trained)
        plan.update({site: torch.arange(width) for site, width in widths.items()})
        return plan


@dataclass(frozen=True, kw_only=True)
class Fusing(Method):
    """The training of a network with banks; `own` of the network gets the weight of filters in their own codes."""

    authors: bool
    epochs: int

    def prepare(self, step: Step) -> None:
        for name, _, bank, _ in _codes(step):
            step.state[name] = bank.new_zeros(len(bank))

    def on_epoch(self, step: Step) -> None:
        import torch

        sharpness = (sigmoid if self.authors else geometric)(step.epoch, self.epochs)
        own: dict[str, list[float]] = {}
        for name, path, filters, code in _codes(step):
            every = codes(filters, sharpness)
            scores = importance(every, self.authors)
            if torch.isfinite(scores).all():
                step.state[name].copy_(scores)
            kept = _best(step.state[name], len(code))
            code.copy_(every.exp()[kept])
            own.setdefault(path, []).append(code[torch.arange(len(kept)), kept].mean().item())
            _gather(step.net, path, name, kept)
        step.net.own[:, step.epoch] = torch.tensor([sum(of) / len(of) for of in own.values()])


def geometric(epoch: int, epochs: int) -> float:
    """T in an epoch, from 0: from T_START to T_END by the same factor every epoch."""
    return T_START * (T_END / T_START) ** (epoch / (epochs - 1)) if epochs > 1 else T_END


def sigmoid(epoch: int, epochs: int) -> float:
    """T in an epoch, from 0, in the authors' code."""
    import math

    height = 2 * (T_END - T_START) * (1 + math.exp(-epochs)) / (1 - math.exp(-epochs))
    return height / (1 + math.exp(-epoch)) + T_START - height / 2


def codes(filters: Tensor, sharpness: float) -> Tensor:
    """Logarithms of every filter's code, ln softmax(-T D): (n, weights) -> (n, n) float64."""
    filters = filters.double()
    squares = filters.square().sum(1)
    distances = (squares[:, None] + squares - 2 * filters @ filters.T).clamp(min=0).sqrt()
    return (-sharpness * distances.fill_diagonal_(0)).log_softmax(1)


def importance(logarithms: Tensor, authors: bool) -> Tensor:
    """The mean over all k of KL(P_j | P_k), of ln P: (n, n) -> (n,).

    authors: P in float32, and ln(P_j / (P_k + EPSILON)), which is not finite where P_j is zero.
    """
    if authors:
        p = logarithms.float().exp()
        return (p * p.log()).sum(1) - (p @ (p + EPSILON).log().T).mean(1)
    p = logarithms.exp()
    return (p * logarithms).sum(1) - (p @ logarithms.T).mean(1)


def _best(scores: Tensor, count: int) -> Tensor:
    """Indices of the `count` highest scores, ascending; of equal ones the first."""
    return scores.sort(descending=True, stable=True).indices[:count].sort().values


def _codes(step: Step) -> Iterator[tuple[str, str, Tensor, Tensor]]:
    """Name, layer, filters (n, weights) and code (m, n), to be written, of every side of a layer that is mixed."""
    for path, settings in step.net.spec["forms"].items():
        bank: Bank = step.net.get_submodule(path)
        values = step.layers[f"{path}.bank"].values
        if "outputs" in settings:
            yield f"outputs.{path}", path, values.flatten(1), bank.rows
        if "inputs" in settings:
            yield f"inputs.{path}", path, values.transpose(0, 1).flatten(1), bank.columns


def _gather(net: Network, path: str, name: str, kept: Tensor) -> None:
    """Let the gather before a layer whose inputs are mixed take the channels that are kept."""
    if name.startswith("inputs."):
        site = next(site for site in net.sites if site.consumer == path)
        net.get_submodule(site.select).indices.copy_(kept)


def _widths(net: Network, ratio: float, budget: Budget) -> dict[str, int]:
    """{site: channels} of the network in which every site keeps round(O (1 - c)), at least one.

    c is the smallest share, in STEPS, at which the share `ratio` of the budget is gone; 1 where none is enough.
    """
    import bisect

    from slimming import networks
    from slimming.measuring import cost

    full = {site: norm.num_features for site, norm in networks.prunable(net).items()}

    def at(step: int) -> dict[str, int]:
        left = {site: max(1, round(size * (1 - step / STEPS))) for site, size in full.items()}
        return {site: min(full[site], -(-width // budget.round_to) * budget.round_to) for site, width in left.items()}

    def enough(step: int) -> bool:
        return cost.of_spec(net.spec | {"channels": at(step)}, budget.of, budget.image) <= allowed

    allowed = (1 - ratio) * cost.of_spec(net.spec, budget.of, budget.image)
    return at(bisect.bisect_left(range(STEPS), True, key=enough))


def _banked(net: Network, widths: Mapping[str, int]) -> Network:
    """The fresh network of these widths, whose banks are the layers of the fresh network of full width."""
    import torch

    from slimming import networks

    dense = networks.from_spec(networks.whole(net.spec))
    forms: dict[str, dict] = {}
    for site in net.sites:
        full = net.get_submodule(site.norm).num_features
        if widths[site.norm] < full:
            path, side = (site.consumer, "inputs") if site.select else (site.producer, "outputs")
            forms.setdefault(path, {"form": "bank"})[side] = full
    made = networks.from_spec(net.spec | {"channels": dict(widths), "forms": forms})
    for path in forms:
        bank = made.get_submodule(path).bank
        weight = dense.get_submodule(path).weight.detach()
        weight = weight if weight.dim() > 2 else weight[..., None, None]
        with torch.no_grad():
            bank.copy_(weight[: bank.shape[0], : bank.shape[1]])
    return made


def _narrow(net: Network, widths: Mapping[str, int]) -> Network:
    """The fresh network of these widths; what is gathered for one reader alone is drawn at random."""
    import torch

    from slimming import networks

    made = networks.from_spec(net.spec | {"channels": dict(widths)})
    for site in net.sites:
        full = net.get_submodule(site.norm).num_features
        if site.select and widths[site.norm] < full:
            drawn = torch.randperm(full)[: widths[site.norm]].sort().values
            made.get_submodule(site.select).indices.copy_(drawn)
    return made


def _dcff(*, schedule: str = "described") -> Fusion:
    if schedule not in SCHEDULES:
        raise unknown("schedule of dcff", schedule, SCHEDULES)
    return Fusion(slug="dcff" if schedule == SCHEDULES[0] else f"dcff-{schedule}", schedule=schedule)


METHODS = {"dcff": _dcff}
