"""Channels by what the loss on training images says of them: what goes is what matters least to it.

    taylor     |mean over images of sum (dL/dA * A)|, A the channel's map where it is read: how the loss of an
               image would change without the channel, to first order (Molchanov et al., ICLR 2017)
    ablation   how much the loss grows without the channel, in truth (Zhou et al. 2018 measure accuracy; on training
               images, which are nearly all told right, the loss tells channels apart)

Training is plain. No test image is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slimming.methods.base import Method

if TYPE_CHECKING:
    from torch import Tensor

    from slimming.methods.base import Setting
    from slimming.networks.base import Network
    from slimming.pruning import Plan

BATCH = 200  # images whose gradients are taken at once
IMAGES = 1000  # training images, the first, on which channels are ablated


@dataclass(frozen=True, kw_only=True)
class Taylor(Method):
    passes = 1.0

    def training(self) -> Method:
        return Method()

    def plan(self, net: Network, ratio: float, setting: Setting) -> Plan:
        from slimming import pruning

        scores = setting.remember("scores", lambda: self.measured(net, setting))
        return pruning.ranked(net, {site.norm: scores[site.norm] for site in net.sites}, ratio, setting.budget)

    def measured(self, net: Network, setting: Setting) -> dict[str, Tensor]:
        """{site: mean over the training images of |sum over positions of dL/dA * A|, (channels,)}."""
        import copy
        import functools

        import torch
        from torch.nn import functional

        from slimming import networks

        copied = copy.deepcopy(net).eval().requires_grad_(False)
        read: dict[str, Tensor] = {}

        def keep(module: torch.nn.Module, inputs: tuple, site: str) -> None:
            read[site] = inputs[0]

        for site in copied.sites:
            hook = functools.partial(keep, site=site.norm)
            copied.get_submodule(site.consumer).register_forward_pre_hook(hook)
        sums = {
            site: torch.zeros(norm.num_features, dtype=torch.float64) for site, norm in networks.prunable(net).items()
        }
        for images, labels in setting.images(BATCH):
            logits = copied(images.clone().requires_grad_())
            loss = functional.cross_entropy(logits, labels, reduction="sum")
            gradients = torch.autograd.grad(loss, [*read.values()])
            for (site, maps), gradient in zip(read.items(), gradients, strict=True):
                product = (maps * gradient).detach().flatten(2) if maps.dim() > 2 else (maps * gradient)[..., None]
                sums[site] += product.sum(2).abs().sum(0).detach().cpu()
        return {site: total / len(setting.labels) for site, total in sums.items()}


@dataclass(frozen=True, kw_only=True)
class Ablated(Taylor):
    passes = 20.0

    def measured(self, net: Network, setting: Setting) -> dict[str, Tensor]:
        """{site: the mean loss on IMAGES training images without each channel, (channels,)}."""
        import torch

        from slimming.measuring import ablation

        kept: list[tuple[Tensor, Tensor]] = []
        for images, labels in setting.images(BATCH):
            kept.append((images, labels))
            if len(kept) * BATCH >= IMAGES:
                break
        images, labels = (torch.cat(part)[:IMAGES] for part in zip(*kept, strict=True))
        return {site: found.losses.double().cpu() for site, found in ablation.ablate(net, images, labels).items()}


def _taylor() -> Taylor:
    return Taylor(slug="taylor")


def _ablation() -> Ablated:
    return Ablated(slug="ablation")


METHODS = {"taylor": _taylor, "ablation": _ablation}
