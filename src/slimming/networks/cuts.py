"""Where a removed channel is found in a network's tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from slimming.networks.base import Network


def cuts(net: Network, kept: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Indices kept in the first dimension of a module's tensors and in the second of its weight, by module."""
    rows, gone = {}, {}
    for site in net.sites:
        index = kept[site.norm]
        rows |= dict.fromkeys((site.norm, *site.rows), index)
        removed = gone_from(net.get_submodule(site.norm), index).nonzero()
        for reader in site.columns:
            places = reader.offset + removed * reader.repeat + torch.arange(reader.repeat, device=index.device)
            gone.setdefault(reader.path, []).append(places.flatten())
    columns = {}
    for path, places in gone.items():
        stays = torch.ones(net.get_submodule(path).weight.shape[1], dtype=torch.bool, device=places[0].device)
        stays[torch.cat(places)] = False
        columns[path] = stays.nonzero().flatten()
    return rows, columns


def gone_from(norm: nn.BatchNorm2d, kept: Tensor) -> Tensor:
    """Which channels are not among the indices `kept`, (channels,) bool."""
    gone = torch.ones(norm.num_features, dtype=torch.bool, device=kept.device)
    gone[kept] = False
    return gone
