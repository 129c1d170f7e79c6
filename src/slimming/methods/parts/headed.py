"""A network with auxiliary classifiers on its way (Zhuang et al., NeurIPS 2018), and its training.

A head is BatchNorm, ReLU, the mean over positions and a linear layer. Heads stand behind parts (Network.parts), evenly
spaced, for methods that ask how well classes can be told apart there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from slimming.methods.base import Method, Step
from slimming.networks.base import Network

LEAST, MOST = 0.01, 1.0  # of a head's weight in the training: the first as in the authors' code, the second ours
TINY = 1e-12  # a loss that is nothing


class Head(nn.Module):
    """(N, C, H, W) -> (N, classes) logits, float32."""

    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.linear = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(torch.relu(self.norm(x)).mean((2, 3), dtype=torch.float32))


class Headed(Network):
    """`net` with `count` heads, fewer where it has too few parts; `image` is (C, H, W).

    places   {part: its head}
    guesses  logits of the heads and of the network itself, of the last forward pass in training
    """

    def __init__(self, net: Network, count: int, image: tuple[int, int, int]):
        super().__init__()
        self.net, self.spec = net, net.spec
        names = ("norm", "reader", "producer", "select")
        paths = [{name: getattr(site, name) and f"net.{getattr(site, name)}" for name in names} for site in net.sites]
        self.sites = tuple(dataclasses.replace(site, **path) for site, path in zip(net.sites, paths, strict=True))
        widths = _widths(net, image)
        places = {round(number * len(widths) / (count + 1)) - 1 for number in range(1, count + 1)}
        behind = [place for place in sorted(places) if 0 <= place < len(widths) - 1]
        self.heads = nn.ModuleList(Head(widths[place], net.spec["num_classes"]) for place in behind)
        self.places = dict(zip(behind, self.heads, strict=True))
        self.guesses: list[Tensor] = []

    def parts(self) -> list[Callable[[Tensor], Tensor]]:
        return self.net.parts()

    def forward(self, x: Tensor) -> Tensor:
        guesses = []
        for place, part in enumerate(self.parts()):
            x = part(x)
            if self.training and place in self.places:
                guesses.append(self.places[place](x))
        logits = self.net.classifier(x.mean((2, 3), dtype=torch.float32))
        self.guesses = [*guesses, logits]
        return logits


class HeadedTraining(Method):
    """Plain training of a `Headed` network, whose heads' losses L_k count as (L_k / L)^2, L its own, within bounds.

    Without the upper one the training of a network that has learnt its images by heart, L nearly 0, diverges at once.
    """

    def loss(self, step: Step) -> Tensor | float:
        *heads, own = (functional.cross_entropy(guess, step.labels) for guess in step.net.guesses)
        return sum(loss * min(MOST, max(LEAST, (loss.item() / max(own.item(), TINY)) ** 2)) for loss in heads)


@torch.no_grad()
def _widths(net: Network, image: tuple[int, int, int]) -> list[int]:
    """Channels behind every part."""
    mode, found = net.training, []
    x = next(net.parameters()).new_zeros(1, *image)
    net.eval()
    for part in net.parts():
        x = part(x)
        found.append(x.shape[1])
    net.train(mode)
    return found
