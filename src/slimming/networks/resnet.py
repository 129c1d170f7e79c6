"""Pre-activation bottleneck ResNet: three stages of blocks, BatchNorm-ReLU-convolution three times around a shortcut.

A block's first BatchNorm reads the residual stream, which keeps its width; it selects its own channels. The other
two BatchNorms are fed by one convolution each, which is thinned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from slimming.networks.base import Network, Site, conv, initialise, scaled, select, shift
from slimming.networks.kernels import norm_relu

DEPTHS = range(11, 2000, 9)
SIZES = {11: (126_746, 20_367_872), 164: (1_703_258, 247_646_720)}
PLANES, EXPANSION = (16, 32, 64), 4


class Block(nn.Module):
    """shortcut(x) + conv3(act3(conv2(act2(conv1(act1(x)))))), act = ReLU of BatchNorm.

    `kept` counts the channels of the three BatchNorms. With none left in one of them the part before it no longer
    depends on the input and is folded:

        third   the branch is zero and vanishes
        second  the branch is one `constant` a channel
        first   the second activation is one `constant` a channel; the 3x3 after it sees the border, so it stays
    """

    def __init__(self, inputs: int, planes: int, stride: int, kept: tuple[int, int, int]):
        super().__init__()
        outputs = planes * EXPANSION
        self.shortcut = nn.Identity() if inputs == outputs and stride == 1 else conv(inputs, outputs, 1, stride)
        first, second, third = kept
        self.empty = 3 if not third else 2 if not second else 1 if not first else 0
        if self.empty == 0:
            self.select = select(first, inputs)
            self.norm1 = nn.BatchNorm2d(first)
            self.conv1 = conv(first, second, 1)
            self.norm2 = nn.BatchNorm2d(second)
        if self.empty in (0, 1):
            self.conv2 = conv(second, third, 3, stride)
            self.norm3 = nn.BatchNorm2d(third)
            self.conv3 = conv(third, outputs, 1)
        if self.empty in (1, 2):
            self.constant = nn.Parameter(torch.zeros(second if self.empty == 1 else outputs))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.shortcut(x)
        if self.empty == 3:
            return shortcut
        if self.empty == 2:
            return shortcut + self.constant[:, None, None].to(shortcut.dtype)
        if self.empty == 1:
            h = self.constant[:, None, None].expand(1, -1, *x.shape[2:])
        else:
            h = self.conv1(norm_relu(self.norm1, self.select(x)))
            h = norm_relu(self.norm2, h)
        return self.conv3(norm_relu(self.norm3, self.conv2(h))) + shortcut

    def sites(self, path: str) -> list[Site]:
        def site(index: int) -> Site:
            feed = {"select": f"{path}.select"} if index == 1 else {"producer": f"{path}.conv{index - 1}"}
            return Site(f"{path}.norm{index}", f"{path}.conv{index}", **feed, droppable=True)

        return [site(index) for index in {0: (1, 2, 3), 1: (3,)}.get(self.empty, ())]

    def constant_for(self, second: Tensor, third: Tensor) -> Tensor | None:
        """What replaces the branch when the first BatchNorm (if `second` is not empty) or the second one is empty."""
        if len(third) == 0:
            return None
        if len(second):
            return torch.relu(shift(self.norm2))[second]
        return self.conv3.weight[:, third, 0, 0] @ torch.relu(shift(self.norm3))[third]


class ResNet(Network):
    def __init__(self, blocks: int, planes: list[int], in_channels: int, num_classes: int, channels: Mapping[str, int]):
        super().__init__()
        width = planes[0]
        self.stem = conv(in_channels, width, 3)
        self.blocks = nn.ModuleDict()
        sites = []
        for stage, plane in enumerate(planes, 1):
            for index in range(1, blocks + 1):
                name = f"stage{stage}_{index}"
                dense = (width, plane, plane)
                kept = tuple(channels.get(f"blocks.{name}.norm{i}", full) for i, full in enumerate(dense, 1))
                block = Block(width, plane, 2 if stage > 1 and index == 1 else 1, kept)
                self.blocks[name] = block
                sites += block.sites(f"blocks.{name}")
                width = plane * EXPANSION
        kept = channels.get("norm", width)
        self.select = select(kept, width)
        self.norm = nn.BatchNorm2d(kept)
        self.classifier = nn.Linear(kept, num_classes)
        self.sites = (*sites, Site("norm", "classifier", select="select"))
        initialise(self)

    def parts(self) -> list[Callable[[Tensor], Tensor]]:
        return [self.stem, *self.blocks.values(), lambda x: norm_relu(self.norm, self.select(x))]

    @torch.no_grad()
    def constants(self, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        folded = {}
        for name, block in self.blocks.items():
            first, second, third = (kept.get(f"blocks.{name}.norm{i}") for i in (1, 2, 3))
            if block.empty == 0 and min(len(first), len(second)) == 0:
                folded[f"blocks.{name}.constant"] = block.constant_for(second, third)
        return {name: value for name, value in folded.items() if value is not None}


def build(depth: int, num_classes: int, width: float, in_channels: int, channels: Mapping[str, int]) -> ResNet:
    planes = [scaled(plane, width) for plane in PLANES]
    return ResNet((depth - 2) // 9, planes, in_channels, num_classes, channels)
