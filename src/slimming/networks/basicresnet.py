"""ResNet of He et al. (2016) for CIFAR: three stages of basic blocks, ReLU after the addition, depth 6n + 2.

Not the ResNet of the family `resnet`, whose blocks are bottlenecks with ReLU before the convolutions (He et al., 2016,
"Identity mappings in deep residual networks"). Pruned inside each block, as the literature does: the residual stream
keeps its width, so the BatchNorms that write to it are no sites.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from slimming.networks.base import Network, Site, conv, initialise, scaled, shift
from slimming.networks.kernels import norm_relu

DEPTHS = range(8, 2000, 6)
OPTIONS = {"shortcut": ["A", "B"]}
SIZES = {20: (269_722, 40_551_040), 110: (1_727_962, 252_887_680)}
PLANES = (16, 32, 64)


class Padding(nn.Module):
    """Shortcut A: every `stride`-th pixel, and channels of zeros up to `outputs`. (N, C, H, W) -> (N, outputs, ...)."""

    def __init__(self, outputs: int, stride: int):
        super().__init__()
        self.outputs, self.stride = outputs, stride

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.outputs - x.shape[1]))


class Block(nn.Module):
    """relu(shortcut(x) + norm2(conv2(relu(norm1(conv1(x)))))), 3x3 convolutions, the first with the stride.

    Without channels between the convolutions the branch no longer depends on the input: one `constant` a channel.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, kept: int, shortcut: str):
        super().__init__()
        self.shortcut = nn.Identity()
        if stride > 1 or inputs != outputs:
            projection = nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
            self.shortcut = projection if shortcut == "B" else Padding(outputs, stride)
        self.empty = not kept
        if self.empty:
            self.constant = nn.Parameter(torch.zeros(outputs))
        else:
            self.conv1 = conv(inputs, kept, 3, stride)
            self.norm1 = nn.BatchNorm2d(kept)
            self.conv2 = conv(kept, outputs, 3)
            self.norm2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.shortcut(x)
        if self.empty:
            return torch.relu(shortcut + self.constant[:, None, None].to(shortcut.dtype))
        return torch.relu(shortcut + self.norm2(self.conv2(norm_relu(self.norm1, self.conv1(x)))))


class BasicResNet(Network):
    def __init__(
        self,
        blocks: int,
        planes: list[int],
        in_channels: int,
        num_classes: int,
        channels: Mapping[str, int],
        shortcut: str,
    ):
        super().__init__()
        width = planes[0]
        self.stem = conv(in_channels, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.blocks = nn.ModuleDict()
        sites = []
        for stage, plane in enumerate(planes, 1):
            for index in range(1, blocks + 1):
                path = f"blocks.stage{stage}_{index}"
                kept = channels.get(f"{path}.norm1", plane)
                block = Block(width, plane, 2 if stage > 1 and index == 1 else 1, kept, shortcut)
                self.blocks[f"stage{stage}_{index}"] = block
                if kept:
                    sites.append(Site(f"{path}.norm1", f"{path}.conv2", f"{path}.conv1", droppable=True))
                width = plane
        self.classifier = nn.Linear(width, num_classes)
        self.sites = tuple(sites)
        initialise(self)

    def parts(self) -> list[Callable[[Tensor], Tensor]]:
        return [lambda x: norm_relu(self.norm, self.stem(x)), *self.blocks.values()]

    @torch.no_grad()
    def constants(self, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        return {
            f"blocks.{name}.constant": shift(block.norm2)
            for name, block in self.blocks.items()
            if not block.empty and len(kept[f"blocks.{name}.norm1"]) == 0
        }


def build(
    depth: int,
    num_classes: int,
    width: float,
    in_channels: int,
    channels: Mapping[str, int],
    shortcut: str = "A",
) -> BasicResNet:
    planes = [scaled(plane, width) for plane in PLANES]
    return BasicResNet((depth - 2) // 6, planes, in_channels, num_classes, channels, shortcut)
