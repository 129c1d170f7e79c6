"""Where a removed channel is found in a network's tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from slimming.networks.base import Network


def cuts(net: Network, kept: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Indices kept in the first dimension of a module's tensors and in the second of its weight, by module.

    In a form, inputs are cut in its first convolution, outputs in its last, and in its bias.
    """
    rows, columns = {}, {}
    for site in net.sites:
        index = kept[site.norm]
        rows[site.norm] = columns[_part(net, site.consumer, 0)] = index
        if site.producer:
            rows[site.producer] = rows[_part(net, site.producer, -1)] = index
    return rows, columns


def _part(net: Network, path: str, which: int) -> str:
    """The path of a form's first or last convolution; of any other module, its own."""
    parts = [name for name, _ in net.get_submodule(path).named_children()]
    return f"{path}.{parts[which]}" if parts else path


def gone_from(norm: nn.BatchNorm2d, kept: Tensor) -> Tensor:
    """Which channels are not among the indices `kept`, (channels,) bool."""
    gone = torch.ones(norm.num_features, dtype=torch.bool, device=kept.device)
    gone[kept] = False
    return gone
