"""Units of a layer, chosen by the gradient of what they are to serve (discrimination-aware pruning).

With O the layer's output (Q numbers) in the network as it was and O' in the one that earlier layers were chosen for,

    L = reconstruction * |O' - O|^2 / (2 Q) + discrimination * (cross-entropy of the next head, or of the network)

A unit is an input channel W[:, k] or a kernel W[j, k]. A layer starts without any, W = 0. Those with the largest
|dL / dW| are added, a group at a time, with the weights that they had, and after each group all that are there are
optimised by stochastic gradient descent; BatchNorm stays as it is.
"""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from slimming import data
from slimming.methods.parts.headed import Headed
from slimming.networks.base import Network, Site

STEPS = 10  # groups in which all units of a layer would be added; each takes two passes over the sample
BATCH = 128
LR, MOMENTUM, DECAY = 0.01, 0.9, 1e-4  # of a layer's optimisation, with Nesterov's momentum


class View(NamedTuple):
    """A layer as its selection sees it, of all images of the sample.

    site      whose consumer it is
    place     the part that it stands in, or their number where it is the classifier
    head      the part behind which the next head stands; -1: the network's end
    read      what reaches that part, which the selection does not change
    before    what the layer computed in the network as it was
    """

    site: Site
    place: int
    head: int
    read: Tensor
    before: Tensor | None


class Selection:
    """Layers' channels, chosen one layer after another on a sample of training images (N, C, H, W) with labels."""

    def __init__(
        self,
        headed: Headed,
        sample: tuple[Tensor, Tensor],
        seed: int,
        discrimination: float = 1.0,
        reconstruction: float = 1.0,
        random: bool = False,
        epsilon: float = 0.0,
    ):
        self.images, self.labels = sample
        self.seed, self.discrimination, self.reconstruction = seed, discrimination, reconstruction
        self.random, self.epsilon = random, epsilon
        self.headed = headed.eval()
        self.before = copy.deepcopy(headed.net).eval()  # what the layers computed
        for parameter in [*self.headed.parameters(), *self.before.parameters()]:
            parameter.requires_grad_(False)

    def keep(self, site: Site, weight: Tensor) -> None:
        """Give the layer that reads `site` its weight for the layers behind it."""
        self.headed.net.get_submodule(site.consumer).weight.data.copy_(weight)

    def select(
        self, site: Site, wanted: int | None, kernels: bool = False, allowed: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Which input channels (1, I), or kernels (O, I), are kept of the layer that reads `site`, and its weight then.

        wanted: how many; None: until the loss no longer falls. allowed: those that may be, in that shape; None: all.
        """
        weight = self.headed.net.get_submodule(site.consumer).weight
        there = weight.detach().clone()
        shape = (len(there) if kernels else 1, there.shape[1])
        chosen = torch.zeros(shape, dtype=torch.bool)
        allowed = torch.ones_like(chosen) if allowed is None else allowed
        units = int(allowed.sum())
        generator = torch.Generator().manual_seed(data.stream_seed(f"{kernels} {site.norm}", self.seed))
        drawn = torch.randperm(chosen.numel(), generator=generator).view(shape).float()
        velocity, view = torch.zeros_like(there), self._view(site)
        weight.data.zero_()
        weight.requires_grad_(True)
        loss, gradient = self._gradient(view, weight)
        first = loss
        wanted, most = (units, self.epsilon * first) if wanted is None else (wanted, -math.inf)
        while count := min(math.ceil(units / STEPS), wanted - int(chosen.sum())):
            before = chosen.clone(), weight.detach().clone()
            scores = drawn if self.random else _norms(gradient, kernels)
            scores = scores.masked_fill(chosen | ~allowed, -1).flatten()
            added = torch.zeros_like(chosen)
            added.view(-1)[torch.sort(scores, descending=True, stable=True).indices[:count]] = True
            chosen |= added
            weight.data.add_(there * _mask(added, there))
            self._optimise(view, weight, _mask(chosen, there), velocity, generator)
            if most == -math.inf and int(chosen.sum()) == wanted:
                break
            following, gradient = self._gradient(view, weight)
            if loss - following <= most and (site.droppable or before[0].any()):
                chosen = before[0]
                weight.data.copy_(before[1])
                break
            loss = following
        weight.requires_grad_(False)
        result = weight.detach().clone()
        weight.data.copy_(there)
        return {"kept": chosen, "weight": result}

    def _gradient(self, view: View, weight: Tensor) -> tuple[float, Tensor]:
        """Mean loss over the sample, and its gradient."""
        total, mean = 0.0, torch.zeros_like(weight)
        for start in range(0, len(self.labels), BATCH):
            part = torch.arange(start, min(start + BATCH, len(self.labels)))
            share = len(part) / len(self.labels)
            loss = self._loss(view, part)
            (gradient,) = torch.autograd.grad(loss, [weight])
            total, mean = total + share * loss.item(), mean.add_(gradient, alpha=share)
        return total, mean

    def _optimise(self, view: View, weight: Tensor, mask: Tensor, velocity: Tensor, generator: torch.Generator) -> None:
        """A pass of stochastic gradient descent over the sample, of the weights that are there."""
        for part in torch.randperm(len(self.labels), generator=generator).split(BATCH):
            (gradient,) = torch.autograd.grad(self._loss(view, part), [weight])
            gradient = (gradient + DECAY * weight.detach()) * mask
            velocity.mul_(MOMENTUM).add_(gradient)
            weight.data.sub_(LR * (gradient + MOMENTUM * velocity) * mask)

    def _loss(self, view: View, part: Tensor) -> Tensor:
        ours, x = self._output(self.headed.net, view, view.read[part])
        loss = ours.new_zeros(())
        if self.reconstruction:
            loss = self.reconstruction * (ours - view.before[part]).square().mean() / 2
        if self.discrimination:
            guess = self.headed.places[view.head](x) if view.head >= 0 else self.headed.net.classifier(_averaged(x))
            loss = loss + self.discrimination * functional.cross_entropy(guess, self.labels[part])
        return loss

    @torch.no_grad()
    def _view(self, site: Site) -> View:
        place = self._place(site)
        head = next((head for head in self.headed.places if head >= place), -1)
        view = View(site, place, head, self._reaching(self.headed.net, place), None)
        if not self.reconstruction:
            return view
        reached = self._reaching(self.before, place).split(BATCH)
        return view._replace(before=torch.cat([self._output(self.before, view, part)[0] for part in reached]))

    def _reaching(self, net: Network, place: int) -> Tensor:
        """What reaches the part `place` of `net`."""
        found = []
        for x in self.images.split(BATCH):
            for part in net.parts()[:place]:
                x = part(x)
            found.append(x)
        return torch.cat(found)

    def _output(self, net: Network, view: View, x: Tensor) -> tuple[Tensor, Tensor]:
        """Of what reaches the layer's part: what the layer computes, and what the part before the next head does."""
        seen: list[Tensor] = []
        hook = net.get_submodule(view.site.consumer).register_forward_hook(lambda _, __, output: seen.append(output))
        try:
            parts = net.parts()
            for part in parts[view.place : view.head + 1 if view.head >= 0 else len(parts)]:
                x = part(x)
            if not seen:  # the layer is the classifier
                net.classifier(_averaged(x))
        finally:
            hook.remove()
        return seen[0], x

    def _place(self, site: Site) -> int:
        """The part that the layer that reads `site` stands in, or their number where it is the classifier."""
        reached: list[int] = []
        place = 0
        hook = self.headed.net.get_submodule(site.consumer).register_forward_pre_hook(lambda *_: reached.append(place))
        x, parts = self.images[:1], self.headed.parts()
        for place, part in enumerate(parts):  # noqa: B007 (the hook reads it)
            x = part(x)
        hook.remove()
        return reached[0] if reached else len(parts)


def _norms(gradient: Tensor, kernels: bool) -> Tensor:
    """The norm of each unit's gradient: (1, I) of channels, (O, I) of kernels."""
    of_kernels = gradient.reshape(*gradient.shape[:2], -1).norm(dim=2)
    return of_kernels if kernels else of_kernels.norm(dim=0, keepdim=True)


def _mask(units: Tensor, weight: Tensor) -> Tensor:
    """Units as ones among zeros, to be multiplied with the weight."""
    return units.to(weight).view(*units.shape, *[1] * (weight.dim() - 2))


def _averaged(x: Tensor) -> Tensor:
    return x.mean((2, 3), dtype=torch.float32)
