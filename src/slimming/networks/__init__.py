"""The networks that are pruned. A family is one module here and one line in FAMILIES; torch loads when one is built.

net = build("vgg19", num_classes=10, width=1.0, in_channels=3)
prunable(net)        # {site: BatchNorm2d}, in the order of the forward pass
from_spec(net.spec)  # the same architecture with fresh weights, pruned or not
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from slimming.errors import InputError, unknown

if TYPE_CHECKING:
    from torch import nn

    from slimming.networks.base import Network

# family -> the depths it exists in: VGG by table, DenseNet 3n + 4, pre-activation bottleneck ResNet 9n + 2
FAMILIES: Mapping[str, Sequence[int]] = {
    "vgg": (11, 13, 16, 19),
    "densenet": range(7, 1000, 3),
    "resnet": range(11, 2000, 9),
}


def parse(name: str) -> tuple[str, int]:
    """Family and depth of a network's name: "vgg19" -> ("vgg", 19). InputError if there is no such network."""
    match = re.fullmatch(r"([a-z]+)(\d+)", str(name))
    if match is None or match[1] not in FAMILIES:
        raise unknown("network", name, ["vgg19", "densenet40", "resnet164"])
    family, depth = match[1], int(match[2])
    if depth not in FAMILIES[family]:
        near = sorted(FAMILIES[family], key=lambda known: (abs(known - depth), known))[:2]
        names = " or ".join(f"{family}{depth}" for depth in sorted(near))
        raise InputError(f"unknown network {name!r}: {family} has no depth {depth}; did you mean {names}?")
    return family, depth


def build(name: str, num_classes: int = 10, width: float = 1.0, in_channels: int = 3, **options: int) -> Network:
    """A dense network, initialised from torch's global generator as in the paper's code (networks.base.initialise).

    `width` multiplies every channel count (at least 1 remains). `options`: `growth` for DenseNet (default 12).
    """
    spec = {"name": name, "num_classes": num_classes, "width": width, "in_channels": in_channels}
    return from_spec(spec | {"options": options, "channels": {}})


def from_spec(spec: Mapping) -> Network:
    """The network that `spec` (JSON-able, `Network.spec`) describes, freshly initialised.

    `spec["channels"]` gives the channels of the sites that do not have their full count, `spec["biases"]` (absent for
    none) the convolutions that have a bias, `spec["forms"]` (absent for none) those that have another form.
    """
    family, depth = parse(spec["name"])
    module = importlib.import_module(f"slimming.networks.{family}")
    arguments = {key: spec[key] for key in ("num_classes", "width", "in_channels", "channels")}
    try:
        net = module.build(depth, **arguments, **spec["options"])
    except TypeError as error:
        raise InputError(f"network {spec['name']}: wrong options {dict(spec['options'])} ({error})") from error
    net.add_biases(spec.get("biases", ()))
    net.spec = {**spec, "options": dict(spec["options"]), "channels": dict(spec["channels"])}
    if "forms" in spec:
        from slimming.networks import forms

        forms.prepare(net, spec["forms"])
    return net


def prunable(net: Network) -> dict[str, nn.BatchNorm2d]:
    """{site: its BatchNorm2d} in the order of the forward pass; the site's name is the module's path."""
    return {site.norm: net.get_submodule(site.norm) for site in net.sites}
