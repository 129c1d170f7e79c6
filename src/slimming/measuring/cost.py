"""What a network costs: parameters, multiply-accumulates and channels, to the unit."""

from __future__ import annotations

import copy
import functools
import math

import torch
from torch import Tensor, nn

from slimming import networks
from slimming.networks.base import Network


def count(net: Network, image: tuple[int, int, int]) -> dict:
    """Parameters, MACs of convolutions and linear layers for one `image` (C, H, W), and prunable channels.

    `nonzero` counts the parameters that are not zero, `macs_nonzero` the multiply-accumulates with weights that are
    not. Zeros make a network sparse; on dense hardware it is neither smaller nor faster.
    """
    by_layer = layers(net, image)
    return {
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "nonzero": sum(int(parameter.count_nonzero()) for parameter in net.parameters()),
        "macs": sum(by_layer.values()),
        "macs_nonzero": sum(_nonzero(net.get_submodule(path).weight, count) for path, count in by_layer.items()),
        "channels": sum(norm.num_features for norm in networks.prunable(net).values()),
    }


def macs(net: nn.Module, image: tuple[int, int, int]) -> int:
    """Multiply-accumulates of all convolutions and linear layers for one `image` (C, H, W), biases not counted.

    Every weight is used once at each output position. It is half of what torch.utils.flop_counter counts, without
    importing torch's compiler, which would take a short job a second.
    """
    return sum(layers(net, image).values())


def layers(net: nn.Module, image: tuple[int, int, int]) -> dict[str, int]:
    """{path: multiply-accumulates} of every convolution and linear layer of `net`, as `macs` counts them."""
    counts: dict[str, int] = {}

    def add(layer: nn.Module, _: tuple, output: Tensor, path: str) -> None:
        counts[path] = layer.weight.numel() * math.prod(output.shape[2:])

    copied = copy.deepcopy(net).cpu().eval()
    for path, layer in copied.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(functools.partial(add, path=path))
    with torch.no_grad():
        copied(torch.zeros(1, *image))
    return counts


def _nonzero(weight: Tensor, macs: int) -> int:
    return macs // weight.numel() * int(weight.count_nonzero())
