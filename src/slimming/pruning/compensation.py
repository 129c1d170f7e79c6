"""What removed channels were to their readers: constants, which become biases."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from slimming.networks.base import Network
from slimming.pruning.cuts import gone_from


def biases(net: Network, kept: Mapping[str, Tensor], image: tuple[int, int, int]) -> dict[str, Tensor]:
    """{consumer: its bias, (outputs,)} with the constants ReLU(shift) of the channels that go, where any goes."""
    seen = {}
    copied = copy.deepcopy(net).eval()
    for site in copied.sites:
        copied.get_submodule(site.consumer).register_forward_hook(
            lambda _, inputs, __, name=site.consumer: seen.update({name: inputs[0].shape})
        )
    copied(next(net.parameters()).new_zeros(1, *image))
    made = {}
    for site in net.sites:
        norm, consumer = net.get_submodule(site.norm), copied.get_submodule(site.consumer)
        gone = gone_from(norm, kept[site.norm])
        if gone.any():
            constants = torch.where(gone, torch.relu(norm.bias), 0).view(1, -1, *[1] * (len(seen[site.consumer]) - 2))
            outputs = consumer(constants.expand(seen[site.consumer]))
            made[site.consumer] = outputs.transpose(0, 1).flatten(1).mean(1)
    return made
