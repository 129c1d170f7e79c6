"""What a prunable network is made of: sites, the gather before a shared BatchNorm, and the paper's initialisation.

Not for surgery: pruning removes channels from any network that declares its sites.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from slimming.errors import InputError
from slimming.networks.kernels import Conv2d

FILL = "fill"  # the buffer of a BatchNorm that spreads: what stands where the removed channels were


class Reader(NamedTuple):
    """A layer that reads channels: channel c is its input columns offset + repeat c to offset + repeat (c + 1) - 1."""

    path: str
    offset: int = 0
    repeat: int = 1


@dataclass(frozen=True)
class Site:
    """One BatchNorm2d whose channels can be removed; all fields are module paths within the network.

    Either a `producer` convolution alone feeds the BatchNorm and loses its outputs, or the BatchNorm reads a
    tensor that others read too and a `select` gathers the kept channels for this consumer alone.

    The networks here have one `consumer` for every site. A network of somebody else's may have `readers` in its
    place, or none and a `spread`, which puts constants where the removed channels were; more layers whose outputs go
    (`tied`: depthwise convolutions, BatchNorms before them, gates); and a `gather` at the BatchNorm itself. Sites with
    one `leader` (a BatchNorm, the first of them) are added to one another, and keep the same channels.
    """

    norm: str
    reader: str | None = None  # the consumer, where there is one
    producer: str | None = None
    select: str | None = None
    droppable: bool = False  # a branch around this site may be dropped when no channel is left
    readers: tuple[Reader, ...] = ()
    tied: tuple[str, ...] = ()
    gather: bool = False
    spread: bool = False
    leader: str | None = None

    @property
    def rows(self) -> tuple[str, ...]:
        """The layers that lose an output for every channel that goes."""
        return (self.producer, *self.tied) if self.producer else self.tied

    @property
    def columns(self) -> tuple[Reader, ...]:
        """The layers that lose inputs."""
        return (Reader(self.reader),) if self.reader else self.readers

    @property
    def consumer(self) -> str:
        """The one layer that reads these channels and nothing else. InputError if there is none."""
        if self.reader is None:
            raise InputError(
                f"no layer reads {self.norm} and nothing else, which what was asked for needs; choose a method that "
                "scores channels (a penalty, random, vcp), or one of this project's own networks"
            )
        return self.reader


class Network(nn.Module, ABC):
    """A network that knows its prunable sites, the spec that rebuilds it, and what a method learned beside weights.

    It ends with the mean of its feature maps over positions, and one linear layer.
    """

    classifier: nn.Linear
    sites: tuple[Site, ...]
    spec: dict
    learned: dict[str, Tensor]
    activation: Callable[[Tensor], Tensor] | None = staticmethod(torch.relu)  # behind every BatchNorm; None: not known

    def __init__(self) -> None:
        super().__init__()
        self.learned = {}

    @abstractmethod
    def parts(self) -> list[Callable[[Tensor], Tensor]]:
        """What images go through, one after another, on their way to the feature maps."""

    def feature_maps(self, x: Tensor) -> Tensor:
        """What the classifier averages, after the last ReLU: (N, in_channels, H, W) images -> (N, C, H', W')."""
        for part in self.parts():
            x = part(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) images, H and W at least 8 -> (N, num_classes) logits, of the classifier's type."""
        maps = self.feature_maps(x)
        means = maps.mean((2, 3), dtype=torch.promote_types(maps.dtype, torch.float32))
        return self.classifier(means.to(next(self.classifier.parameters()).dtype))

    def groups(self) -> dict[str, list[str]]:
        """{BatchNorm: those that keep the same channels as it does, itself among them}, of the first of each."""
        groups: dict[str, list[str]] = {}
        for site in self.sites:
            groups.setdefault(site.leader or site.norm, []).append(site.norm)
        return groups

    def add_biases(self, paths: Iterable[str]) -> None:
        """Give the convolutions at `paths` a bias of zeros; linear layers have one."""
        for path in paths:
            layer = self.get_submodule(path)
            if layer.bias is None:
                layer.bias = nn.Parameter(layer.weight.new_zeros(len(layer.weight)))

    def constants(self, kept: dict[str, Tensor]) -> dict[str, Tensor]:
        """Parameters, by name in the smaller network, that replace branches left without channels.

        `kept` maps each site to its kept indices. The value is that of evaluation mode with the removed
        channels' scale and shift at zero.
        """
        return {}


class Select(nn.Module):
    """Gathers channels: (N, C, H, W) -> (N, kept, H, W). The indices are data, not a parameter."""

    indices: Tensor

    def __init__(self, kept: int):
        super().__init__()
        self.register_buffer("indices", torch.zeros(kept, dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        return x.index_select(1, self.indices)


def select(kept: int, channels: int) -> nn.Module:
    """The gather of `kept` out of `channels`; nothing to do when all are kept."""
    return nn.Identity() if kept == channels else Select(kept)


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A bias-free convolution that keeps the image's size at stride 1."""
    return Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


def shift(norm: nn.BatchNorm2d) -> Tensor:
    """A BatchNorm's output for the input 0 in evaluation mode: beta - gamma mu / sqrt(var + eps), (C,)."""
    return norm.bias - norm.weight * norm.running_mean * torch.rsqrt(norm.running_var + norm.eps)


def initialise(net: nn.Module, linear_std: float | None = None) -> None:
    """The paper's code: convolutions N(0, 2 / (k^2 C_out)), scaling factors 0.5, shifts 0.

    `linear_std`: standard deviation of a normal for linear layers, biases 0 (VGG: 0.01); None is torch's default.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = math.prod(module.kernel_size) * module.out_channels
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 0.5)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear) and linear_std is not None:
            nn.init.normal_(module.weight, 0.0, linear_std)
            nn.init.zeros_(module.bias)


def scaled(channels: int, width: float) -> int:
    """`channels` times `width`, rounded, at least one."""
    return max(1, round(channels * width))
