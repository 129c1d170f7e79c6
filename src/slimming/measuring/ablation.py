"""What a network loses without one of its channels: unit ablation (Zhou et al. 2018, arXiv 1806.02891).

A channel of a site is set to zero, at all positions, where the site's consumer reads it. What comes before does not
change, so that it is computed once, and several channels share a pass.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from slimming.networks.base import Network, Site

AT_ONCE = 2048  # images in a pass, of all channels together


class Ablation(NamedTuple):
    """Of the channels of a site.

    hits          images that are told right without the channel, by class, (channels, classes) int64
    losses        mean cross-entropy without the channel, (channels,)
    activations   mean of what the consumer reads, by class, (channels, classes) float64
    """

    hits: Tensor
    losses: Tensor
    activations: Tensor


@torch.no_grad()
def ablate(
    net: Network, images: Tensor, labels: Tensor, progress: Callable[[int], None] = lambda done: None
) -> dict[str, Ablation]:
    """{site: ablation} of all sites of `net`, in evaluation mode, on images (N, C, H, W) normalised and labels (N,).

    progress: told how many channels were done, again and again.
    """
    mode, tails = net.training, _tails(net.eval(), images[:1])
    classes = net.spec["num_classes"]
    found = {}
    x = images.contiguous(memory_format=torch.channels_last)  # faster, whatever layout the weights have
    parts = [*net.parts(), _mean]
    for place, part in enumerate([*parts, None]):
        rest = [*parts[place:], net.classifier]
        for site in tails.get(place, ()):
            read = _read(net, site, rest, x)
            hits, losses = [], []
            at_once = max(1, AT_ONCE // len(x))
            for channels in torch.arange(read.shape[1]).split(at_once):
                logits = _without(net, site, rest, x, channels)
                right = (logits.argmax(2) == labels).long()
                hits.append(right.new_zeros(len(channels), classes).index_add_(1, labels, right))
                copies = labels.expand(len(channels), -1)
                losses.append(nn.functional.cross_entropy(logits.flatten(0, 1), copies.flatten(), reduction="none"))
                progress(len(channels))
            means = read.double() if read.dim() == 2 else read.double().mean((2, 3))
            counts = torch.bincount(labels, minlength=classes)
            sums = means.new_zeros(classes, means.shape[1]).index_add_(0, labels, means)
            found[site.norm] = Ablation(
                torch.cat(hits),
                torch.cat([loss.view(-1, len(labels)).mean(1) for loss in losses]),
                (sums / counts.clamp(min=1)[:, None]).T,
            )
        if part is not None:
            x = part(x)
    net.train(mode)
    return {site.norm: found[site.norm] for site in net.sites}


def _mean(x: Tensor) -> Tensor:
    return x.mean((2, 3), dtype=torch.float32)


def _tails(net: Network, image: Tensor) -> dict[int, list[Site]]:
    """{place of the part in which a site's consumer computes: sites}; the classifier comes after the mean of maps."""
    at, found = [0], {}

    def seen(module: nn.Module, inputs: tuple, site: Site) -> None:
        found.setdefault(at[0], []).append(site)

    hooks = [
        net.get_submodule(site.consumer).register_forward_pre_hook(functools.partial(seen, site=site))
        for site in net.sites
    ]
    for at[0], part in enumerate([*net.parts(), _mean, net.classifier]):
        image = part(image)
    for hook in hooks:
        hook.remove()
    return found


def _run(net: Network, site: Site, rest: list, x: Tensor, hook: Callable) -> Tensor:
    handle = net.get_submodule(site.consumer).register_forward_pre_hook(hook)
    for part in rest:
        x = part(x)
    handle.remove()
    return x


def _read(net: Network, site: Site, rest: list, x: Tensor) -> Tensor:
    """What the consumer reads."""
    read = []
    _run(net, site, rest, x, lambda module, inputs: read.append(inputs[0].clone()))
    return read[0]


def _without(net: Network, site: Site, rest: list, x: Tensor, channels: Tensor) -> Tensor:
    """Logits (channels, N, classes) of what is left of the way from `x`, without each of the channels."""

    def zero(module: nn.Module, inputs: tuple) -> Tensor:
        copies = inputs[0].unflatten(0, (len(channels), -1)).clone()
        for copy, channel in zip(copies, channels.tolist(), strict=True):
            copy[:, channel] = 0
        return copies.flatten(0, 1)

    return _run(net, site, rest, x.repeat(len(channels), *[1] * (x.dim() - 1)), zero).unflatten(0, (len(channels), -1))
