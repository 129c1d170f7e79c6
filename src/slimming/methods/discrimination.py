"""Discrimination-aware channel pruning (Zhuang, Tan, Zhuang, Liu, Guo, Wu, Huang and Zhu, NeurIPS 2018).

Channels that reach a layer are chosen so that the layer computes what it did, and that classes can be told apart behind
it. With heads at HEADS places (methods.headed) trained on together with the network, layer after layer:

    L = reconstruction * |O' - O|^2 / (2 Q) + discrimination * (cross-entropy of the next head, or of the network)

    start without channels, W = 0; until as many are there as the budget leaves, or L no longer falls:
        add the channels with the largest |dL / dW| of those that are not there, with the weights that they had
        optimise the weights of those that are there for a pass, BatchNorm frozen

O is the layer's output (Q numbers) in the network as it was, O' in the one where earlier layers are pruned already.

    dcp         every layer keeps the same share of its channels
    dcp-adapt   a layer has enough when L falls by at most `epsilon` of what it was without channels; the method decides
                how large a network is, and answers so at every ratio

    discrimination, reconstruction   1 and 1 as in the paper; 0 for one of the two losses alone
    selection   "gradient", or "random" with the same optimisation

Other than the authors' code: several channels are added at once, STEPS times for all of a layer's; the training images
are a sample of IMAGES, as theirs of ImageNet; every site is pruned, the classifier's and those of shared tensors too.
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
    from slimming.methods.headed import Headed
    from slimming.networks.base import Network, Site
    from slimming.pruning import Budget, Plan

HEADS = 2  # the authors: 2 for VGG and ResNet-18, 3 for ResNet-50 and 56
SHARE = 0.25  # of the run's epochs, in which heads are trained: the authors' 100 of 400
STEPS = 10  # in which all channels of a layer would be added; each takes two passes over the sample
IMAGES, BATCH = 10_000, 128
LR, MOMENTUM, DECAY = 0.01, 0.9, 1e-4  # of a layer's optimisation, with Nesterov's momentum
SELECTIONS = ("gradient", "random")


@dataclass(frozen=True, kw_only=True)
class Discrimination(Method):
    discrimination: float
    reconstruction: float
    selection: str
    epsilon: float | None  # None: as many channels as the budget leaves

    passes = 40.0
    trainings = SHARE

    def training(self) -> Method:
        return Method()

    def plan(self, net: Network, ratio: float, setting: Setting) -> Plan:
        import copy

        import torch

        from slimming import pruning
        from slimming.methods.headed import Headed, HeadedTraining

        plan = pruning.Plan.whole(net, ratio)
        if ratio == 0 and self.epsilon is None:
            return plan
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setting.seed)
            headed = Headed(copy.deepcopy(net), HEADS, setting.budget.image)
        setting.train(headed, HeadedTraining(), max(1, round(SHARE * setting.epochs)), "heads")
        # A training leaves another memory layout than its stored result, and other layouts have other bits.
        headed.to(memory_format=torch.contiguous_format)
        whole = headed.net.eval()
        wanted = {} if self.epsilon is not None else _widths(whole, ratio, setting.budget)
        selection = _Selection(self, headed, _sample(setting), setting.seed)
        for site in whole.sites:
            channels = whole.get_submodule(site.norm).num_features
            name = f"{self.slug}-{ratio:g}-{site.norm}" if wanted else f"{self.slug}-{site.norm}"
            found = setting.remember(name, lambda site=site: selection.select(site, wanted.get(site.norm)))
            selection.keep(site, found["weight"])
            plan[site.norm] = found["kept"]
            plan.weights[f"{site.consumer}.weight"] = found["weight"]
            print(f"{self.slug}: {site.norm} keeps {len(plan[site.norm])} of {channels} channels", flush=True)
        small = pruning.apply(whole, plan)
        plan.network, plan.weights = small, {}
        return plan


@dataclass(frozen=True, kw_only=True)
class Adaptive(Discrimination):
    """The method decides how large a network is; a ratio is a share of nothing."""

    counts = None


class _Selection:
    """Layers' channels, chosen one layer after another on a sample of training images (N, C, H, W) with labels."""

    def __init__(self, method: Discrimination, headed: Headed, sample: tuple[Tensor, Tensor], seed: int):
        import copy

        self.method, self.seed = method, seed
        self.images, self.labels = sample
        self.headed = headed.eval()
        self.before = copy.deepcopy(headed.net).eval()  # what the layers computed
        for parameter in [*self.headed.parameters(), *self.before.parameters()]:
            parameter.requires_grad_(False)

    def keep(self, site: Site, weight: Tensor) -> None:
        """Give the layer that reads `site` its weight for the layers behind it."""
        self.headed.net.get_submodule(site.consumer).weight.data.copy_(weight)

    def select(self, site: Site, wanted: int | None) -> dict[str, Tensor]:
        """The channels kept, ascending, and the weight of the layer that reads them, zero at the others."""
        import torch

        weight = self.headed.net.get_submodule(site.consumer).weight
        there = weight.detach().clone()
        channels, last = there.shape[1], self._behind(site)
        chosen = torch.zeros(channels, dtype=torch.bool)
        generator = torch.Generator().manual_seed(self._seed(site.norm))
        drawn = torch.randperm(channels, generator=generator).float()
        velocity = torch.zeros_like(there)
        weight.data.zero_()
        weight.requires_grad_(True)
        loss, gradient = self._gradient(site, weight, last)
        first = loss
        while count := min(math.ceil(channels / STEPS), (wanted or channels) - int(chosen.sum())):
            before = chosen.clone(), weight.detach().clone()
            scores = drawn if self.method.selection == "random" else gradient.transpose(0, 1).flatten(1).norm(dim=1)
            added = torch.sort(scores.masked_fill(chosen, -1), descending=True, stable=True).indices[:count]
            chosen[added] = True
            weight.data[:, added] = there[:, added]
            self._optimise(site, weight, chosen, velocity, last, generator)
            if chosen.sum() == wanted:
                break
            following, gradient = self._gradient(site, weight, last)
            enough = loss - following <= (self.method.epsilon or 0) * first
            if wanted is None and enough and (site.droppable or before[0].any()):
                chosen = before[0]
                weight.data.copy_(before[1])
                break
            loss = following
        weight.requires_grad_(False)
        result = weight.detach().clone()
        weight.data.copy_(there)
        return {"kept": chosen.nonzero().flatten(), "weight": result}

    def _gradient(self, site: Site, weight: Tensor, last: int) -> tuple[float, Tensor]:
        """Mean loss over the sample, and its gradient."""
        import torch

        total, mean = 0.0, torch.zeros_like(weight)
        for start in range(0, len(self.labels), BATCH):
            part = torch.arange(start, min(start + BATCH, len(self.labels)))
            share = len(part) / len(self.labels)
            loss = self._loss(site, part, last)
            (gradient,) = torch.autograd.grad(loss, [weight])
            total, mean = total + share * loss.item(), mean.add_(gradient, alpha=share)
        return total, mean

    def _optimise(
        self, site: Site, weight: Tensor, chosen: Tensor, velocity: Tensor, last: int, generator: object
    ) -> None:
        """A pass of stochastic gradient descent over the sample, of the weights of channels that are there."""
        import torch

        mask = chosen.view(1, -1, *[1] * (weight.dim() - 2)).to(weight)
        for part in torch.randperm(len(self.labels), generator=generator).split(BATCH):
            (gradient,) = torch.autograd.grad(self._loss(site, part, last), [weight])
            gradient = (gradient + DECAY * weight.detach()) * mask
            velocity.mul_(MOMENTUM).add_(gradient)
            weight.data.sub_(LR * (gradient + MOMENTUM * velocity) * mask)

    def _loss(self, site: Site, part: Tensor, last: int) -> Tensor:
        import torch
        from torch.nn import functional

        images, labels = self.images[part], self.labels[part]
        with torch.no_grad():
            theirs, _ = self._output(self.before, site, images, last)
        ours, x = self._output(self.headed.net, site, images, last)
        loss = self.method.reconstruction * (ours - theirs).square().mean() / 2
        if self.method.discrimination:
            guess = self.headed.places[last](x) if last >= 0 else self.headed.net.classifier(_averaged(x))
            loss = loss + self.method.discrimination * functional.cross_entropy(guess, labels)
        return loss

    def _output(self, net: Network, site: Site, images: Tensor, last: int) -> tuple[Tensor, Tensor]:
        """What the layer that reads `site` computes, and the part `last`, or all parts, behind it."""
        seen: list[Tensor] = []
        hook = net.get_submodule(site.consumer).register_forward_hook(lambda _, __, output: seen.append(output))
        x = images
        try:
            for place, part in enumerate(net.parts()):
                x = part(x)
                if place == last:
                    break
            if not seen:  # the layer is the classifier
                net.classifier(_averaged(x))
        finally:
            hook.remove()
        return seen[0], x

    def _behind(self, site: Site) -> int:
        """The part behind which the next head stands after the layer that reads `site`; -1: the network's end."""
        import torch

        reached: list[int] = []
        place = 0
        hook = self.headed.net.get_submodule(site.consumer).register_forward_pre_hook(lambda *_: reached.append(place))
        x = self.images[:1]
        with torch.no_grad():
            for place, part in enumerate(self.headed.parts()):  # noqa: B007 (the hook reads it)
                x = part(x)
        hook.remove()
        if not reached:  # the classifier
            return -1
        return next((head for head in self.headed.places if head >= reached[0]), -1)

    def _seed(self, name: str) -> int:
        from slimming import data

        return data.stream_seed(f"dcp {name}", self.seed)


def _averaged(x: Tensor) -> Tensor:
    import torch

    return x.mean((2, 3), dtype=torch.float32)


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


def _checked(slug: str, discrimination: float, reconstruction: float, selection: str, epsilon: float | None) -> Method:
    if min(discrimination, reconstruction) < 0 or not discrimination + reconstruction > 0:
        raise InputError(f"{slug}: discrimination and reconstruction are weights of losses, not both 0")
    if selection not in SELECTIONS:
        raise unknown(f"selection of {slug}", selection, SELECTIONS)
    parts = [slug]
    if epsilon is not None:
        parts.append(f"{epsilon:g}")
    if not discrimination:
        parts.append("reconstruction")
    if not reconstruction:
        parts.append("loss")
    if selection == "random":
        parts.append("random")
    kind = Discrimination if epsilon is None else Adaptive
    return kind(
        slug="-".join(parts),
        discrimination=discrimination,
        reconstruction=reconstruction,
        selection=selection,
        epsilon=epsilon,
    )


def _dcp(*, discrimination: float = 1.0, reconstruction: float = 1.0, selection: str = "gradient") -> Method:
    return _checked("dcp", discrimination, reconstruction, selection, None)


def _dcp_adapt(
    *, epsilon: float = 0.01, discrimination: float = 1.0, reconstruction: float = 1.0, selection: str = "gradient"
) -> Method:
    if not epsilon > 0:
        raise InputError(f"dcp-adapt: epsilon must be positive, got {epsilon!r}")
    return _checked("dcp-adapt", discrimination, reconstruction, selection, epsilon)


METHODS = {"dcp": _dcp, "dcp-adapt": _dcp_adapt}
