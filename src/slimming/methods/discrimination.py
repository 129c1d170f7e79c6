"""Discrimination-aware pruning of channels (Zhuang et al., NeurIPS 2018) and of kernels (Liu et al., TPAMI 2021).

What reaches a layer is chosen so that the layer computes what it did, and that classes can be told apart behind it,
layer after layer (methods.parts.selection). For that, heads are trained on together with the network
(methods.parts.headed).

    dcp         channels; every layer keeps the same share of them
    dcp-adapt   channels; a layer has enough when the loss falls by at most `epsilon` of what it was without any. The
                method decides how large a network is, and answers so at every ratio
    dkp         the part `channels` of what is to go goes as channels, as dcp removes them, the rest as kernels of those
                that are left; every layer keeps the same share. The network becomes sparse, not smaller: zeros count as
                gone, and dense hardware gains nothing by them
    dkp-adapt   channels and kernels, both until the loss no longer falls

    discrimination, reconstruction   weights of the two losses, 1 and 1 as in the paper; 0 leaves one of them
    selection   "gradient", or "random" with the same optimisation

Other than the authors' code: units are added in groups, not one at a time; the training images are a sample of IMAGES,
as theirs of ImageNet; all sites are pruned, the classifier's and those of shared tensors too. For kernels there is no
code of the authors; how units are grouped is as for channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slimming.errors import InputError, unknown
from slimming.methods.base import Method

if TYPE_CHECKING:
    from torch import Tensor

    from slimming.methods.base import Setting
    from slimming.methods.parts.selection import Selection
    from slimming.networks.base import Network
    from slimming.pruning import Budget, Plan

HEADS = 2  # the authors: 2 for VGG and ResNet-18, 3 for ResNet-50 and 56
SHARE = 0.25  # of the run's epochs, in which heads are trained: the authors' 100 of 400
IMAGES = 10_000
SELECTIONS = ("gradient", "random")


@dataclass(frozen=True, kw_only=True)
class Discrimination(Method):
    """Channels; `epsilon` is None where the budget says how many."""

    discrimination: float
    reconstruction: float
    selection: str
    epsilon: float | None

    passes = 40.0
    trainings = SHARE

    def training(self) -> Method:
        return Method()

    def plan(self, net: Network, ratio: float, setting: Setting) -> Plan:
        from slimming import pruning

        plan = pruning.Plan.whole(net, ratio)
        if ratio == 0 and self.epsilon is None:
            return plan
        selection = self.start(net, setting)
        self.choose_channels(plan, selection, setting, f"{ratio:g}", self.widths(net, ratio, setting.budget))
        return _finished(plan, selection)

    def widths(self, net: Network, ratio: float, budget: Budget) -> dict[str, int]:
        """{site: channels wanted}; empty where the method decides."""
        return {} if self.epsilon is not None else _widths(net, ratio, budget)

    def start(self, net: Network, setting: Setting) -> Selection:
        """A selection in the network that has been trained on with heads."""
        import copy

        import torch

        from slimming.methods.parts.headed import Headed, HeadedTraining
        from slimming.methods.parts.selection import Selection

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setting.seed)
            headed = Headed(copy.deepcopy(net), HEADS, setting.budget.image)
        setting.train(headed, HeadedTraining(), max(1, round(SHARE * setting.epochs)), "heads")
        # A training leaves another memory layout than its stored result, and other layouts have other bits.
        headed.to(memory_format=torch.contiguous_format)
        return Selection(
            headed,
            _sample(setting),
            setting.seed,
            discrimination=self.discrimination,
            reconstruction=self.reconstruction,
            random=self.selection == "random",
            epsilon=self.epsilon or 0.0,
        )

    def choose_channels(
        self, plan: Plan, selection: Selection, setting: Setting, name: str, widths: dict[str, int]
    ) -> None:
        """Channels of every site, into the plan; layers' weights without the others, into the plan and the network."""
        for site in selection.headed.net.sites:
            wanted = widths.get(site.norm)
            found = setting.remember(
                f"{self.slug}-{name if widths else 'adapted'}-{site.norm}",
                lambda site=site, wanted=wanted: selection.select(site, wanted),
            )
            selection.keep(site, found["weight"])
            plan[site.norm] = found["kept"][0].nonzero().flatten()
            plan.weights[f"{site.consumer}.weight"] = found["weight"]
            print(f"{self.slug}: {site.norm} keeps {len(plan[site.norm])} of {plan.channels[site.norm]}", flush=True)


@dataclass(frozen=True, kw_only=True)
class Adaptive(Discrimination):
    """Channels; a ratio is a share of nothing."""

    counts = None


@dataclass(frozen=True, kw_only=True)
class Kernels(Discrimination):
    """Kernels, inside the channels that are left when the part `channels` of the ratio has gone."""

    channels: float

    counts = "parameters"
    budgets = ("parameters", "macs")

    def plan(self, net: Network, ratio: float, setting: Setting) -> Plan:
        from slimming import pruning

        plan = pruning.Plan.whole(net, ratio)
        if ratio == 0 and self.epsilon is None:
            return plan
        selection = self.start(net, setting)
        widths = self.widths(net, self.channels * ratio, setting.budget)
        if self.channels or self.epsilon is not None:
            self.choose_channels(plan, selection, setting, f"{ratio:g}", widths)
        allowed = _kernels(selection.headed.net, plan)
        wanted = _counts(self.slug, selection.headed.net, plan, allowed, ratio, setting.budget) if widths else {}
        for site in selection.headed.net.sites:
            if site.consumer in allowed:
                name = f"{self.slug}-{f'{ratio:g}' if widths else 'adapted'}-kernels-{site.norm}"
                found = setting.remember(
                    name,
                    lambda site=site: selection.select(
                        site, wanted.get(site.consumer), kernels=True, allowed=allowed[site.consumer]
                    ),
                )
                selection.keep(site, found["weight"])
                plan.weights[f"{site.consumer}.weight"] = found["weight"]
                kept, all_ = int(found["kept"].sum()), int(allowed[site.consumer].sum())
                print(f"{self.slug}: {site.consumer} keeps {kept} of {all_} kernels", flush=True)
        return _finished(plan, selection)

    def finetuning(self) -> Method:
        from slimming.methods.selective import KeepZeros

        return KeepZeros()


@dataclass(frozen=True, kw_only=True)
class AdaptiveKernels(Kernels):
    """Kernels; a ratio is a share of nothing."""

    counts = None
    budgets = ("channels", "parameters", "macs")


def _finished(plan: Plan, selection: Selection) -> Plan:
    from slimming import pruning

    plan.network = pruning.apply(selection.headed.net, plan)
    plan.weights = {}
    return plan


def _sample(setting: Setting) -> tuple[Tensor, Tensor]:
    """At most IMAGES of the training images, drawn by the run's seed, in their order, and their labels."""
    import torch

    generator = torch.Generator().manual_seed(setting.seed)
    drawn = torch.zeros(len(setting.labels), dtype=torch.bool)
    drawn[torch.randperm(len(setting.labels), generator=generator)[:IMAGES]] = True
    images, start = [], 0
    for batch, labels in setting.images(1000):
        images.append(batch[drawn[start : start + len(labels)]])
        start += len(labels)
    return torch.cat(images), setting.labels[drawn]


def _widths(net: Network, ratio: float, budget: Budget) -> dict[str, int]:
    """{site: channels kept}: the same share of every site, as large as the budget allows, a channel at least."""
    import bisect

    from slimming import networks
    from slimming.measuring import cost

    full = {site: norm.num_features for site, norm in networks.prunable(net).items()}

    def at(removed: int) -> dict[str, int]:
        """With so many of all channels removed: parts of a channel go where they are largest."""
        share = 1 - removed / sum(full.values())
        kept = {site: max(1, math.floor(share * size)) for site, size in full.items()}
        spare = sum(full.values()) - removed - sum(kept.values())
        for site in sorted(full, key=lambda site: share * full[site] - kept[site], reverse=True)[: max(0, spare)]:
            kept[site] += 1
        return {site: min(full[site], -(-count // budget.round_to) * budget.round_to) for site, count in kept.items()}

    def left(removed: int) -> int:
        widths = at(removed)
        if budget.of == "channels":
            return sum(widths.values())
        return cost.of_spec(net.spec | {"channels": net.spec["channels"] | widths}, budget.of, budget.image)

    allowed = (1 - ratio) * left(0)
    if budget.of == "channels" and budget.round_to == 1:
        return at(round(ratio * left(0)))
    return at(bisect.bisect_left(range(sum(full.values())), True, key=lambda removed: left(removed) <= allowed))


def _kernels(net: Network, plan: Plan) -> dict[str, Tensor]:
    """{convolution that reads a site: kernels that its channels leave it, (O, I) bool}."""
    import torch

    producers = {site.producer: site.norm for site in net.sites if site.producer}
    found = {}
    for site in net.sites:
        weight = net.get_submodule(site.consumer).weight
        if weight.dim() > 2:
            rows, columns = (torch.zeros(size, dtype=torch.bool) for size in weight.shape[:2])
            columns[plan[site.norm]] = True
            outputs = producers.get(site.consumer)
            rows[plan[outputs] if outputs else slice(None)] = True
            found[site.consumer] = rows[:, None] & columns
    return found


def _counts(
    slug: str, net: Network, plan: Plan, allowed: dict[str, Tensor], ratio: float, budget: Budget
) -> dict[str, int]:
    """{convolution: kernels wanted}: the same share of each, so that with zeros left out the budget is met.

    Where all other layers alone are more than it, a kernel of each convolution is left: the record says what is reached.
    """
    from slimming import pruning
    from slimming.measuring import cost

    small = pruning.apply(net, plan)
    whole, now = (cost.of_spec(some.spec, budget.of, budget.image) for some in (net, small))
    macs = cost.layers(small, budget.image)
    uses = {}  # of a kernel
    for path in allowed:
        weight = small.get_submodule(path).weight
        uses[path] = (macs[path] if budget.of == "macs" else weight.numel()) // math.prod(weight.shape[:2])
    kernels = sum(int(mask.sum()) * uses[path] for path, mask in allowed.items())
    share = ((1 - ratio) * whole - (now - kernels)) / kernels
    if share <= 0:
        most = 1 - (now - kernels) / whole
        print(f"{slug}: less than {most:.3f} of the {budget.of} lies in kernels, so that {ratio:g} cannot go", flush=True)
    return {path: max(1, int(min(1.0, share) * int(mask.sum()))) for path, mask in allowed.items()}


def _checked(
    kind: type[Discrimination],
    name: str,
    parts: list[str],
    *,
    discrimination: float,
    reconstruction: float,
    selection: str,
    epsilon: float | None = None,
    **more: float,
) -> Discrimination:
    if min(discrimination, reconstruction) < 0 or not discrimination + reconstruction > 0:
        raise InputError(f"{name}: discrimination and reconstruction are weights of losses, not both 0")
    if selection not in SELECTIONS:
        raise unknown(f"selection of {name}", selection, SELECTIONS)
    if epsilon is not None and not epsilon > 0:
        raise InputError(f"{name}: epsilon must be positive, got {epsilon!r}")
    only = [word for word, value in (("reconstruction", discrimination), ("loss", reconstruction)) if not value]
    return kind(
        slug="-".join([name, *parts, *only, *(["random"] if selection == "random" else [])]),
        discrimination=discrimination,
        reconstruction=reconstruction,
        selection=selection,
        epsilon=epsilon,
        **more,
    )


def _dcp(*, discrimination: float = 1.0, reconstruction: float = 1.0, selection: str = "gradient") -> Discrimination:
    losses = {"discrimination": discrimination, "reconstruction": reconstruction}
    return _checked(Discrimination, "dcp", [], **losses, selection=selection)


def _dcp_adapt(
    *, epsilon: float = 0.01, discrimination: float = 1.0, reconstruction: float = 1.0, selection: str = "gradient"
) -> Discrimination:
    losses = {"discrimination": discrimination, "reconstruction": reconstruction}
    return _checked(Adaptive, "dcp-adapt", [f"{epsilon:g}"], **losses, selection=selection, epsilon=epsilon)


def _dkp(
    *,
    channels: float = 0.5,
    discrimination: float = 1.0,
    reconstruction: float = 1.0,
    selection: str = "gradient",
) -> Discrimination:
    if not 0 <= channels <= 1:
        raise InputError(f"dkp: channels must lie in [0, 1], got {channels!r}")
    losses = {"discrimination": discrimination, "reconstruction": reconstruction}
    return _checked(Kernels, "dkp", [f"{channels:g}"], **losses, selection=selection, channels=channels)


def _dkp_adapt(
    *, epsilon: float = 0.01, discrimination: float = 1.0, reconstruction: float = 1.0, selection: str = "gradient"
) -> Discrimination:
    losses = {"discrimination": discrimination, "reconstruction": reconstruction}
    adapt = {"epsilon": epsilon, "channels": 0.0}
    return _checked(AdaptiveKernels, "dkp-adapt", [f"{epsilon:g}"], **losses, selection=selection, **adapt)


METHODS = {"dcp": _dcp, "dcp-adapt": _dcp_adapt, "dkp": _dkp, "dkp-adapt": _dkp_adapt}
