"""Which channels stay: one global ranking of scores over all sites."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from slimming import networks
from slimming.errors import InputError, unknown
from slimming.networks.base import Network


class Plan(dict[str, Tensor]):
    """What becomes of a network: {site: kept indices, ascending int64}, and what more is done.

    ratio     share asked to be removed
    channels  {site: channels before}
    floored   sites where `min_channels` kept channels that the ranking had removed
    weights   {parameter: values} that replace the network's before channels are removed
    forms     {layer: form} that it is written in afterwards (networks.forms); None: plainly again
    network   the compressed network itself, where it is not made of this one's weights; None: it is
    found     what the method found out on its way, JSON-able: it goes into the record
    """

    def __init__(
        self, kept: Mapping[str, Tensor], ratio: float, channels: dict[str, int], floored: tuple[str, ...] = ()
    ):
        super().__init__(kept)
        self.ratio, self.channels, self.floored = ratio, channels, floored
        self.weights: dict[str, Tensor] = {}
        self.forms: dict[str, dict | None] = {}
        self.network: Network | None = None
        self.found: dict[str, Any] = {}

    @classmethod
    def whole(cls, net: Network, ratio: float) -> Plan:
        """The plan that keeps every channel of `net`."""
        sizes = {site: norm.num_features for site, norm in networks.prunable(net).items()}
        return cls({site: torch.arange(size) for site, size in sizes.items()}, ratio, sizes)

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
    round_to: int = 1,
) -> Plan:
    """Which channels stay when the share `ratio` with the lowest scores goes, ranked over all sites at once.

    scores: {site: (channels,) tensor}, higher is more important. ratio: in [0, 1).
    removals: how many channels the threshold "exact" removes; default round(ratio * channels).
    min_channels: a site keeps at least its best `min_channels` channels; 0 allows a site to become empty.
    round_to: a site keeps a multiple of so many channels, or all: its best removed ones come back.
    threshold: "exact" removes that count exactly, ties by site, then index. "reference" is the authors'
    rule: keep what is strictly above the sorted scores' entry int(channels * ratio), which removes at least one more.

    Raises InputError for a ratio outside [0, 1), no sites, or scores that are not finite.
    """
    check(ratio)
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
        floor, count = min(min_channels, len(score)), int(stay.sum())
        if count < floor:
            floored.append(site)
        wanted = min(len(score), -(-max(count, floor) // round_to) * round_to)
        if wanted > count:
            stay = torch.zeros_like(stay)
            stay[torch.sort(score.detach().float().cpu(), descending=True, stable=True).indices[:wanted]] = True
        kept[site] = stay.nonzero().flatten()
    return Plan(kept, ratio, channels, tuple(floored))


def check(ratio: float) -> None:
    """InputError for a ratio outside [0, 1)."""
    if not 0 <= ratio < 1:
        raise InputError(f"pruning ratio {ratio} is outside [0, 1)")
