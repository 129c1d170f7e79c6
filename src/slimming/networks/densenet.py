"""DenseNet without bottleneck or compression: three blocks of layers that each append `growth` features.

Every BatchNorm reads the concatenation that later layers read too, so each selects its own channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from slimming.networks.base import Network, Site, conv, initialise, scaled, select
from slimming.networks.kernels import norm_relu

DEPTHS = range(7, 1000, 3)
OPTIONS = {"growth": 12}
SIZES = {10: (45_178, 15_050_688), 40: (1_059_298, 282_917_328), 100: (7_083_538, 1_816_743_408)}


class Layer(nn.Module):
    """Select, BatchNorm, ReLU, convolution: a dense layer (3x3) appends, a transition (1x1) halves the image."""

    def __init__(self, inputs: int, kept: int, outputs: int, kernel: int):
        super().__init__()
        self.outputs, self.dense = outputs, kernel == 3
        if kept:
            self.select = select(kept, inputs)
            self.norm = nn.BatchNorm2d(kept)
            self.conv = conv(kept, outputs, kernel)
        else:
            self.conv = None  # without inputs the features are zero, in the dense network too

    def forward(self, x: Tensor) -> Tensor:
        if self.conv is None:
            features = x.new_zeros(x.shape[0], self.outputs, *x.shape[2:])
        else:
            features = self.conv(norm_relu(self.norm, self.select(x)))
        return torch.cat([x, features], 1) if self.dense else nn.functional.avg_pool2d(features, 2, ceil_mode=True)


class DenseNet(Network):
    def __init__(self, layers: int, growth: int, in_channels: int, num_classes: int, channels: Mapping[str, int]):
        super().__init__()
        self.stem = conv(in_channels, 2 * growth, 3)
        self.layers = nn.ModuleDict()
        width, sites = 2 * growth, []
        for block in (1, 2, 3):
            for index in range(1, layers + 1):
                site = self._add(f"block{block}_{index}", width, growth, 3, channels)
                sites.append(site)
                width += growth
            if block < 3:
                sites.append(self._add(f"transition{block}", width, width, 1, channels))
        kept = channels.get("norm", width)
        self.select = select(kept, width)
        self.norm = nn.BatchNorm2d(kept)
        self.classifier = nn.Linear(kept, num_classes)
        sites.append(Site("norm", "classifier", select="select"))
        self.sites = tuple(site for site in sites if channels.get(site.norm) != 0)
        initialise(self)

    def _add(self, name: str, inputs: int, outputs: int, kernel: int, channels: Mapping[str, int]) -> Site:
        path = f"layers.{name}"
        self.layers[name] = Layer(inputs, channels.get(f"{path}.norm", inputs), outputs, kernel)
        return Site(f"{path}.norm", f"{path}.conv", select=f"{path}.select", droppable=kernel == 3)

    def parts(self) -> list[Callable[[Tensor], Tensor]]:
        return [self.stem, *self.layers.values(), lambda x: norm_relu(self.norm, self.select(x))]


def build(
    depth: int,
    num_classes: int,
    width: float,
    in_channels: int,
    channels: Mapping[str, int],
    growth: int = 12,
) -> DenseNet:
    return DenseNet((depth - 4) // 3, scaled(growth, width), in_channels, num_classes, channels)
