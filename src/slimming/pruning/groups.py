"""Sites that must keep the same channels, because their outputs are added (networks.base.Site.leader), as one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from slimming.networks.base import Network
from slimming.pruning.ranking import Plan


def merged(net: Network, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """{leader: (channels,) the mean of its sites' scores}; a site by itself leads itself."""
    return {
        leader: torch.stack([scores[site] for site in sites]).mean(0) if len(sites) > 1 else scores[leader]
        for leader, sites in net.groups().items()
        if leader in scores
    }


def expanded(net: Network, plan: Plan) -> Plan:
    """A plan of leaders, as one of all sites."""
    leaders = {site.norm: site.leader or site.norm for site in net.sites if (site.leader or site.norm) in plan}
    kept = {site: plan[leader] for site, leader in leaders.items()}
    channels = {site: plan.channels[leader] for site, leader in leaders.items()}
    return Plan(kept, plan.ratio, channels, tuple(site for site, leader in leaders.items() if leader in plan.floored))
