"""Surgery: the state dict of a network, indexed, in a fresh and smaller one."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from slimming import networks
from slimming.errors import InputError, unknown
from slimming.networks import forms as written
from slimming.networks.base import FILL, Network
from slimming.networks.cuts import cuts, gone_from
from slimming.pruning import compensation


@torch.no_grad()
def apply(net: Network, plan: Mapping[str, Tensor], compensate: tuple[int, int, int] | None = None) -> Network:
    """A smaller network that computes what `net` computes with the removed channels' scale and shift at zero.

    The convolution that feeds a removed channel loses its output, the one that reads it loses its input; where the
    channel's source is shared, a gather before the BatchNorm leaves it out for this reader alone. A branch left
    without channels is dropped and its constant folded (exact in evaluation mode).

    A `Plan` may also replace weights before, and write convolutions in other forms after; forms that the network has
    are contracted for the cut and written again, with as much rank as is left. Or it is the compressed network itself.

    compensate: for images of this shape (C, H, W), what `net` computes with the removed channels' scale alone at
    zero. Such a channel is the constant ReLU(shift); what its reader makes of it, averaged over positions, becomes the
    reader's bias. Exact in evaluation mode but where a 3x3 convolution pads with zeros and its border differs.

    Raises InputError for an unknown site, indices outside it, a site that may not be empty, and an empty site
    where constants are, or were, folded into biases.
    """
    if getattr(plan, "network", None) is not None:
        return copy.deepcopy(plan.network).train(net.training)
    forms = net.spec.get("forms", {}) | getattr(plan, "forms", {})
    net = _replaced(written.contracted(net) if "forms" in net.spec else net, getattr(plan, "weights", {}))
    sites = {site.norm: site for site in net.sites}
    sizes = {name: norm.num_features for name, norm in networks.prunable(net).items()}
    for name, index in plan.items():
        if name not in sites:
            raise unknown("site", name, sites)
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < sizes[name]:
            raise InputError(f"{name} has {sizes[name]} channels, the plan keeps indices up to {int(index.max())}")
        if len(index) == 0 and not sites[name].droppable:
            raise InputError(
                f"{name} would keep no channel and the output no longer depend on the input; "
                "lower the ratio or keep min_channels=1"
            )
        if len(index) == 0 and (compensate or net.spec.get("biases")):
            raise InputError(f"{name} would keep no channel, which a compensated network needs; keep min_channels=1")
    kept = {name: plan.get(name, torch.arange(size)) for name, size in sizes.items()}
    for leader, members in net.groups().items():
        for name in members:
            if not torch.equal(kept[name], kept[leader]):
                raise InputError(
                    f"{name} and {leader} are added, and must keep the same channels; see pruning.expanded"
                )
    first = next(net.parameters())
    device = first.device
    kept = {name: index.to(device) for name, index in kept.items()}

    channels = net.spec["channels"] | {name: len(index) for name, index in kept.items()}
    spec = net.spec | {"channels": channels}
    source = net.state_dict() | net.constants(kept)
    if compensate:
        biases = compensation.biases(net, kept, compensate)
        source |= {f"{consumer}.bias": bias for consumer, bias in biases.items()} | compensation.fills(net, kept)
        spec["biases"] = sorted({*biases, *net.spec.get("biases", ())})
    small = networks.from_spec(spec).to(device, first.dtype)
    rows, columns = cuts(net, kept)
    for name, site in sites.items():
        if site.select:
            indices = f"{site.select}.indices"
            source[indices] = source.get(indices, torch.arange(sizes[name], device=device))[kept[name]]
    state = {}
    for name in small.state_dict():
        module, _, leaf = name.rpartition(".")
        tensor = source[name]
        if module in rows and tensor.dim() and leaf != FILL:
            tensor = tensor.index_select(0, rows[module])
        if module in columns and leaf == "weight":
            tensor = tensor.index_select(1, columns[module])
        state[name] = tensor
    small.load_state_dict(state)
    if forms:
        present = dict(small.named_modules())
        written.write(small, {path: form for path, form in forms.items() if path in present})
    return small.train(net.training)


def _replaced(net: Network, weights: Mapping[str, Tensor]) -> Network:
    """`net`, or a copy of it whose parameters have these values. InputError for an unknown one, or another shape."""
    if not weights:
        return net
    copied = copy.deepcopy(net)
    parameters = dict(copied.named_parameters())
    for name, value in weights.items():
        if name not in parameters:
            raise unknown("parameter", name, parameters)
        if parameters[name].shape != value.shape:
            raise InputError(f"{name} is {tuple(parameters[name].shape)}, the plan has {tuple(value.shape)}")
        parameters[name].data.copy_(value)
    return copied


@torch.no_grad()
def masked(net: Network, plan: Mapping[str, Tensor], keep_shift: bool = False) -> Network:
    """A copy of `net`, of its size, with the scale and shift of every channel the plan removes at zero.

    keep_shift: the scale alone.
    """
    copied = copy.deepcopy(net)
    for name, norm in networks.prunable(copied).items():
        if name in plan:
            gone = gone_from(norm, plan[name])
            norm.weight[gone] = 0
            if not keep_shift:
                norm.bias[gone] = 0
    return copied
