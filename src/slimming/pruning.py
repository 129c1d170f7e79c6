"""From scores to a smaller network: one global ranking, a plan of kept channels, and surgery.

    plan = plan(scores, ratio=0.7)   # {site: kept indices}
    small = apply(net, plan)         # a new, smaller module; `net` is left as it was

A pruned network is a smaller network, never a mask. `masked` exists to check that: it computes what the dense network
would with the pruned channels' scale and shift at zero.
"""

from __future__ import annotations

import bisect
import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from slimming import networks
from slimming.errors import InputError, unknown
from slimming.networks.base import Network


class Plan(dict[str, Tensor]):
    """{site: kept indices, ascending int64}, with what the ranking was asked and what it did.

    ratio     share of channels asked to be removed
    channels  {site: channels before}
    floored   sites where `min_channels` kept channels that the ranking had removed
    """

    def __init__(self, kept: Mapping[str, Tensor], ratio: float, channels: dict[str, int], floored: tuple[str, ...]):
        super().__init__(kept)
        self.ratio, self.channels, self.floored = ratio, channels, floored

    @property
    def ratio_reached(self) -> float:
        """Share of channels truly removed."""
        return 1 - sum(map(len, self.values())) / sum(self.channels.values())


def plan(
    scores: Mapping[str, Tensor],
    ratio: float,
    min_channels: int = 1,
    threshold: str = "exact",
    removals: int | None = None,
) -> Plan:
    """Which channels stay when the share `ratio` with the lowest scores goes, ranked over all sites at once.

    scores: {site: (channels,) tensor}, higher is more important. ratio: in [0, 1).
    removals: how many channels the threshold "exact" removes; default round(ratio * channels).
    min_channels: a site keeps at least its best `min_channels` channels; 0 allows a site to become empty.
    threshold: "exact" removes that count exactly, ties by site, then index. "reference" is the authors'
    rule: keep what is strictly above the sorted scores' entry int(channels * ratio), which removes at least one more.

    Raises InputError for a ratio outside [0, 1), no sites, or scores that are not finite.
    """
    if not 0 <= ratio < 1:
        raise InputError(f"pruning ratio {ratio} is outside [0, 1)")
    if not scores:
        raise InputError("nothing to prune: no scores")
    for site, score in scores.items():
        if not torch.isfinite(score).all():
            raise InputError(f"scores of {site} are not finite; the training diverged, lower the learning rate")
    channels = {site: len(score) for site, score in scores.items()}
    flat = torch.cat([score.detach().float().cpu() for score in scores.values()])
    order = torch.sort(flat, stable=True).indices
    if threshold == "exact":
        keep = torch.ones(len(flat), dtype=torch.bool)
        keep[order[: round(ratio * len(flat)) if removals is None else removals]] = False
    elif threshold == "reference":
        keep = flat > flat[order[int(len(flat) * ratio)]]
    else:
        raise unknown("threshold", threshold, ["exact", "reference"])

    kept, floored = {}, []
    for (site, score), stay in zip(scores.items(), keep.split(list(channels.values())), strict=True):
        floor = min(min_channels, len(score))
        if stay.sum() < floor:
            stay = torch.zeros_like(stay)
            stay[torch.sort(score.detach().float().cpu(), descending=True, stable=True).indices[:floor]] = True
            floored.append(site)
        kept[site] = stay.nonzero().flatten()
    return Plan(kept, ratio, channels, tuple(floored))


def removals_for_parameters(net: Network, scores: Mapping[str, Tensor], ratio: float) -> int:
    """The smallest number of channels whose removal takes at least the share `ratio` of the parameters of `net`.

    Removing more never leaves more. Where no removal takes so much, because every site keeps a channel, all channels.
    """
    whole = sum(parameter.numel() for parameter in net.parameters())
    return bisect.bisect_left(
        range(sum(map(len, scores.values()))),
        True,
        key=lambda removals: _parameters_left(net, plan(scores, 0, removals=removals)) <= (1 - ratio) * whole,
    )


def _parameters_left(net: Network, kept: Mapping[str, Tensor]) -> int:
    """Parameters of the network that `apply` makes where no site is left empty, without making it."""
    rows, columns = _cuts(net, kept)
    count = 0
    for name, parameter in net.named_parameters():
        module, _, leaf = name.rpartition(".")
        shape = [*parameter.shape]
        if module in rows:
            shape[0] = len(rows[module])
        if module in columns and leaf == "weight":
            shape[1] = len(columns[module])
        count += math.prod(shape)
    return count


def _cuts(net: Network, kept: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Indices kept in the first dimension of a module's tensors and in the second of its weight, by module."""
    rows, columns = {}, {}
    for site in net.sites:
        rows[site.norm] = columns[site.consumer] = kept[site.norm]
        if site.producer:
            rows[site.producer] = kept[site.norm]
    return rows, columns


@torch.no_grad()
def apply(net: Network, plan: Mapping[str, Tensor], compensate: tuple[int, int, int] | None = None) -> Network:
    """A smaller network that computes what `net` computes with the removed channels' scale and shift at zero.

    The convolution that feeds a removed channel loses its output, the one that reads it loses its input; where the
    channel's source is shared, a gather before the BatchNorm leaves it out for this reader alone. A branch left
    without channels is dropped and its constant folded (exact in evaluation mode).

    compensate: for images of this shape (C, H, W), what `net` computes with the removed channels' scale alone at
    zero. Such a channel is the constant ReLU(shift); what its reader makes of it, averaged over positions, becomes the
    reader's bias. Exact in evaluation mode but where a 3x3 convolution pads with zeros and its border differs.

    Raises InputError for an unknown site, indices outside it, a site that may not be empty, and an empty site
    where constants are, or were, folded into biases.
    """
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
    device = next(net.parameters()).device
    kept = {name: index.to(device) for name, index in kept.items()}

    channels = net.spec["channels"] | {name: len(index) for name, index in kept.items()}
    spec = net.spec | {"channels": channels}
    source = net.state_dict() | net.constants(kept)
    if compensate:
        biases = _biases(net, kept, compensate)
        source |= {f"{consumer}.bias": bias for consumer, bias in biases.items()}
        spec["biases"] = sorted({*biases, *net.spec.get("biases", ())})
    small = networks.from_spec(spec).to(device)
    rows, columns = _cuts(net, kept)
    for name, site in sites.items():
        if site.select:
            indices = f"{site.select}.indices"
            source[indices] = source.get(indices, torch.arange(sizes[name], device=device))[kept[name]]
    state = {}
    for name in small.state_dict():
        module, _, leaf = name.rpartition(".")
        tensor = source[name]
        if module in rows and tensor.dim():
            tensor = tensor.index_select(0, rows[module])
        if module in columns and leaf == "weight":
            tensor = tensor.index_select(1, columns[module])
        state[name] = tensor
    small.load_state_dict(state)
    return small.train(net.training)


def _biases(net: Network, kept: Mapping[str, Tensor], image: tuple[int, int, int]) -> dict[str, Tensor]:
    """{consumer: its bias, (outputs,)} with the constants ReLU(shift) of the channels that go, where any goes."""
    seen = {}
    copied = copy.deepcopy(net).eval()
    for site in copied.sites:
        copied.get_submodule(site.consumer).register_forward_hook(
            lambda _, inputs, __, name=site.consumer: seen.update({name: inputs[0].shape})
        )
    copied(next(net.parameters()).new_zeros(1, *image))
    biases = {}
    for site in net.sites:
        norm, consumer = net.get_submodule(site.norm), copied.get_submodule(site.consumer)
        gone = _gone(norm, kept[site.norm])
        if gone.any():
            constants = torch.where(gone, torch.relu(norm.bias), 0).view(1, -1, *[1] * (len(seen[site.consumer]) - 2))
            outputs = consumer(constants.expand(seen[site.consumer]))
            biases[site.consumer] = outputs.transpose(0, 1).flatten(1).mean(1)
    return biases


def _gone(norm: nn.BatchNorm2d, kept: Tensor) -> Tensor:
    """Which channels are not among the indices `kept`, (channels,) bool."""
    gone = torch.ones(norm.num_features, dtype=torch.bool, device=kept.device)
    gone[kept] = False
    return gone


@torch.no_grad()
def masked(net: Network, plan: Mapping[str, Tensor], keep_shift: bool = False) -> Network:
    """A copy of `net`, of its size, with the scale and shift of every channel the plan removes at zero.

    keep_shift: the scale alone.
    """
    copied = copy.deepcopy(net)
    for name, norm in networks.prunable(copied).items():
        if name in plan:
            gone = _gone(norm, plan[name])
            norm.weight[gone] = 0
            if not keep_shift:
                norm.bias[gone] = 0
    return copied
