"""What removed channels were to their readers: constants, which become biases, or stand where a site spreads."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from slimming.networks.base import FILL, Network
from slimming.networks.cuts import gone_from


def fills(net: Network, kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """{buffer: constants (channels that there once were,)} of the sites that spread: their shifts, exact at borders."""
    found = {}
    for site in net.sites:
        if site.spread:
            norm = net.get_submodule(site.norm)
            gone = gone_from(norm, kept[site.norm])
            found[f"{site.norm}.{FILL}"] = norm.fill.index_copy(0, norm.kept[gone], norm.bias[gone])
    return found


def biases(net: Network, kept: Mapping[str, Tensor], image: tuple[int, int, int]) -> dict[str, Tensor]:
    """{reader: its bias, (outputs,)} with the constants of the channels that go, where any goes.

    A channel is constant when its scale is zero: what its reader then reads, after the activation, is its constant.
    Where the activation is not known, it is seen in a forward pass, rounded as that rounds.
    """
    copied, seen = copy.deepcopy(net).eval(), {}
    gone = {site.norm: gone_from(net.get_submodule(site.norm), kept[site.norm]) for site in net.sites}
    for site in net.sites:
        copied.get_submodule(site.norm).weight.data[gone[site.norm]] = 0
        for reader in site.columns:
            copied.get_submodule(reader.path).register_forward_hook(
                lambda _, inputs, __, name=reader.path: seen.update({name: inputs[0]})
            )
    copied(next(net.parameters()).new_zeros(1, *image))
    constants: dict[str, Tensor] = {}
    for site in net.sites:
        channels = gone[site.norm].nonzero()
        for reader in site.columns if len(channels) else ():
            inputs = seen[reader.path]
            columns = (reader.offset + channels * reader.repeat + torch.arange(reader.repeat)).flatten()
            read = constants.setdefault(reader.path, inputs.new_zeros(inputs.shape[1]))
            if net.activation:
                read[columns] = net.activation(net.get_submodule(site.norm).bias)[channels.flatten()]
            else:
                read[columns] = inputs[0].flatten(1)[columns, 0] if inputs.dim() > 2 else inputs[0][columns]
    made = {}
    for path, read in constants.items():
        shape = seen[path].shape
        outputs = copied.get_submodule(path)(read.view(1, -1, *[1] * (len(shape) - 2)).expand(shape))
        made[path] = outputs.transpose(0, 1).flatten(1).mean(1)
    return made
