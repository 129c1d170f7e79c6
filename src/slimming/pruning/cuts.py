"""Where a removed channel is found in a network's tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from slimming.networks.base import Network


def cuts(net: Network, kept: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Indices kept in the first dimension of a module's tensors and in the second of its weight, by module."""
    rows, columns = {}, {}
    for site in net.sites:
        index = kept[site.norm]
        rows[site.norm] = columns[site.consumer] = index
        if site.producer:
            rows[site.producer] = index
    return rows, columns


def gone_from(norm: nn.BatchNorm2d, kept: Tensor) -> Tensor:
    """Which channels are not among the indices `kept`, (channels,) bool."""
    gone = torch.ones(norm.num_features, dtype=torch.bool, device=kept.device)
    gone[kept] = False
    return gone
