"""What a network costs: parameters, multiply-accumulates and channels, to the unit."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from slimming import networks
from slimming.networks.base import Network
from slimming.networks.forms import Form


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


def of_spec(spec: Mapping[str, Any], count: str, image: tuple[int, int, int] | None) -> int:
    """The "parameters" or "macs" of the network that `spec` describes, which is not made for it.

    image: (C, H, W), for "macs".
    """
    with torch.device("meta"):
        net = networks.from_spec(spec)
    return macs(net, image) if count == "macs" else sum(parameter.numel() for parameter in net.parameters())


def layers(net: nn.Module, image: tuple[int, int, int]) -> dict[str, int]:
    """{path: multiply-accumulates} of every convolution and linear layer of `net`, as `macs` counts them.

    `net` may lie on the device "meta", where nothing is computed.
    """
    counts: dict[str, int] = {}

    def add(layer: nn.Module, _: tuple, output: Tensor, path: str) -> None:
        counts[path] = layer.weight.numel() * output.numel() // output.shape[1]

    copied = copy.deepcopy(net).eval()
    for path, layer in copied.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) or (isinstance(layer, Form) and hasattr(layer, "weight")):
            layer.register_forward_hook(functools.partial(add, path=path))
    with torch.no_grad():
        copied(torch.zeros(1, *image, device=next(net.parameters()).device))
    return counts


def readers(net: Network) -> dict[str, dict]:
    """{site: how the layer that reads it is written}: form and ranks (None if plain), kernels, and those not zero.

    A kernel is what the layer's dense weight has for one input and one output. A branch that is gone has no site; of
    several layers the first counts, and where none is known there are no kernels.
    """
    found = {}
    for site in net.sites:
        layer = net.get_submodule(site.columns[0].path) if site.columns else None
        if layer is None:
            found[site.norm] = {"form": None, "rank": None, "kernels": 0, "kernels_nonzero": 0}
            continue
        form = layer.name if isinstance(layer, Form) else None
        kernels = layer.dense() if form else layer.weight
        alive = kernels.flatten(2).ne(0).any(2) if kernels.dim() > 2 else kernels.ne(0)
        ranks = layer.settings.values() if form else ()
        found[site.norm] = {
            "form": form,
            "rank": " x ".join(map(str, _flat(ranks))) or None,
            "kernels": alive.numel(),
            "kernels_nonzero": int(alive.sum()),
        }
    return found


def _flat(ranks: Iterable[int | list[int]]) -> Iterator[int]:
    for rank in ranks:
        yield from rank if isinstance(rank, list) else [rank]


def _nonzero(weight: Tensor, macs: int) -> int:
    return macs // weight.numel() * int(weight.count_nonzero())
