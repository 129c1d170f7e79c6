"""VGG for small images: 3x3 convolutions with BatchNorm in five stages, max-pooling between them, one linear layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from slimming.networks.base import Network, Site, conv, initialise, scaled
from slimming.networks.kernels import norm_relu

WIDTHS = (64, 128, 256, 512, 512)
DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # convolutions by stage
SIZES = {
    11: (9_228_362, 152_769_536),
    13: (9_413_066, 228_267_008),
    16: (14_724_042, 313_201_664),
    19: (20_035_018, 398_136_320),
}


class Layer(nn.Module):
    """Convolution, BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = conv(inputs, outputs, 3)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return norm_relu(self.norm, self.conv(x))


class VGG(Network):
    def __init__(self, stages: list[list[int]], in_channels: int, num_classes: int):
        super().__init__()
        inputs, layers, norms = in_channels, [], []
        for stage in stages:
            if layers:
                # ceil_mode lets images under 16 pixels pass; at even sizes it changes nothing.
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
            for outputs in stage:
                norms.append(f"features.{len(layers)}.norm")
                layers.append(Layer(inputs, outputs))
                inputs = outputs
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, num_classes)
        convs = [norm.replace("norm", "conv") for norm in norms]
        self.sites = tuple(
            Site(norm, consumer, producer)
            for norm, producer, consumer in zip(norms, convs, [*convs[1:], "classifier"], strict=True)
        )
        initialise(self, linear_std=0.01)

    def parts(self) -> list[Callable[[Tensor], Tensor]]:
        return [*self.features]


def build(depth: int, num_classes: int, width: float, in_channels: int, channels: Mapping[str, int]) -> VGG:
    stages, place = [], 0
    for count, dense in zip(DEPTHS[depth], WIDTHS, strict=True):
        names = [f"features.{place + layer}.norm" for layer in range(count)]
        stages.append([channels.get(name, scaled(dense, width)) for name in names])
        place += count + 1  # the pooling after the stage takes a place too
    return VGG(stages, in_channels, num_classes)
