"""The networks that are pruned. A family is one module here, found by itself; torch loads when a network is built.

net = build("vgg19", num_classes=10, width=1.0, in_channels=3)
adopt(model, torch.zeros(2, 3, 32, 32))    # somebody's own classifier (networks.adoption)
prunable(net)        # {site: BatchNorm2d}, in the order of the forward pass
from_spec(net.spec)  # the same architecture with fresh weights, pruned or not
"""

from __future__ import annotations

import ast
import functools
import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from slimming.errors import InputError, unknown

if TYPE_CHECKING:
    from torch import Tensor, nn

    from slimming.networks.adopted import Adopted
    from slimming.networks.base import Network

NAMED = ("vgg19", "densenet40", "resnet164")  # examples for who mistypes a name


class Family(NamedTuple):
    """What a family's module says of itself in literal constants.

    depths    DEPTHS: those it exists in
    options   OPTIONS: {option: its default, a positive number of channels; or a list of choices, the default first}
    sizes     SIZES: {depth: parameters and MACs} at width 1, by default options, for 32x32x3 images and ten classes, of
              so many depths that the others follow by a polynomial in the depth
    """

    depths: Sequence[int]
    options: Mapping[str, int | list[str]]
    sizes: Mapping[int, tuple[int, int]]


@functools.cache
def families() -> Mapping[str, Family]:
    """{name: family} of the modules beside this one that say DEPTHS: their text is read, as running it loads torch."""
    found = {}
    for file in sorted(Path(__file__).parent.glob("*.py")):
        said = {
            node.targets[0].id: node.value
            for node in ast.parse(file.read_bytes()).body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        if "DEPTHS" in said:
            options, sizes = (ast.literal_eval(said[name]) if name in said else {} for name in ("OPTIONS", "SIZES"))
            found[file.stem] = Family(_sequence(said["DEPTHS"]), options, sizes)
    return found


def _sequence(node: ast.expr) -> Sequence[int]:
    """The value of `range(...)` or of a literal."""
    return range(*map(ast.literal_eval, node.args)) if isinstance(node, ast.Call) else [*ast.literal_eval(node)]


def parse(name: str) -> tuple[str, int]:
    """Family and depth of a network's name: "vgg19" -> ("vgg", 19). InputError if there is no such network."""
    match = re.fullmatch(r"([a-z_]+)(\d+)", str(name))
    if match is None or match[1] not in families():
        raise unknown(
            "network", name, [*NAMED, *(f"{family}{known.depths[0]}" for family, known in families().items())]
        )
    family, depth = match[1], int(match[2])
    depths = families()[family].depths
    if depth not in depths:
        near = sorted(depths, key=lambda known: (abs(known - depth), known))[:2]
        names = " or ".join(f"{family}{depth}" for depth in sorted(near))
        raise InputError(f"unknown network {name!r}: {family} has no depth {depth}; did you mean {names}?")
    return family, depth


def is_foreign(name: str) -> bool:
    """Whether a network's name is that of a function of somebody else's: "package.models:resnet18", "nets.py:small"."""
    return ":" in str(name)


def check(name: str, options: Mapping[str, Any]) -> None:
    """InputError for a network that there is not, an option that it does not take, and a value that the option has not.

    True is no number of channels. Of somebody else's network nothing is known before it is built.
    """
    if is_foreign(name):
        if not re.fullmatch(r"([\w.]+|[^:]+\.py):[A-Za-z_]\w*", name):
            raise InputError(f"network {name!r} is no function: write package.module:function, or file.py:function")
        return
    family, _ = parse(name)
    known = families()[family].options
    for option, value in options.items():
        if option not in known:
            raise unknown(f"option of {family} networks", option, known)
        choices = known[option]
        if isinstance(choices, list):
            if value not in choices:
                raise unknown(f"{option} of {name}", value, choices)
        elif type(value) is not int or value < 1:
            raise InputError(f"{option} of {name} is a number of channels, 1 or more, not {value!r}")


def build(name: str, num_classes: int = 10, width: float = 1.0, in_channels: int = 3, **options: int | str) -> Network:
    """A dense network, initialised from torch's global generator as in the paper's code (networks.base.initialise).

    `width` multiplies every channel count (at least 1 remains). `options` are the family's: `growth` of DenseNet
    (default 12), `shortcut` of basicresnet ("A" or "B").
    """
    spec = {"name": name, "num_classes": num_classes, "width": width, "in_channels": in_channels}
    return from_spec(spec | {"options": options, "channels": {}})


def made(architecture: Mapping[str, Any], classes: int, image: tuple[int, int, int]) -> Network:
    """The dense network of a run, for so many classes and images (C, H, W)."""
    if is_foreign(architecture["name"]):
        return _adoption().build(classes=classes, image=image, **architecture)
    return build(num_classes=classes, in_channels=image[0], **architecture)


def from_spec(spec: Mapping, factory: Callable[..., nn.Module] | None = None) -> Network:
    """The network that `spec` (JSON-able, `Network.spec`) describes, freshly initialised.

    `spec["channels"]` gives the channels of the sites that do not have their full count, `spec["biases"]` (absent for
    none) the convolutions that have a bias, `spec["forms"]` (absent for none) those that have another form. `factory`
    builds an adopted network that this process has not adopted itself.
    """
    if "adopted" in spec:
        return _adoption().from_spec(spec, factory)
    check(spec["name"], spec["options"])
    family, depth = parse(spec["name"])
    module = importlib.import_module(f"slimming.networks.{family}")
    arguments = {key: spec[key] for key in ("num_classes", "width", "in_channels", "channels")}
    net = module.build(depth, **arguments, **spec["options"])
    net.add_biases(spec.get("biases", ()))
    net.spec = {**spec, "options": dict(spec["options"]), "channels": dict(spec["channels"])}
    if "forms" in spec:
        from slimming.networks import forms

        forms.prepare(net, spec["forms"])
    return net


def adopt(model: nn.Module, example: Tensor, **options: Any) -> Adopted:
    """Somebody's own classifier as a network: networks.adoption.adopt, which has the `options`."""
    return _adoption().adopt(model, example, **options)


def allow(name: str) -> None:
    """Let checkpoints of adopted networks be built by the function `name`; of our own, nothing is to be allowed."""
    if is_foreign(name):
        _adoption().allow(name)


def _adoption() -> ModuleType:
    """By name, as families are: no other network's numbers depend on it."""
    return importlib.import_module("slimming.networks.adoption")


def whole(spec: Mapping) -> dict:
    """The spec of the dense network, of plain layers without biases, that the network with `spec` was once."""
    return {key: value for key, value in spec.items() if key not in ("biases", "forms")} | {"channels": {}}


def prunable(net: Network) -> dict[str, nn.BatchNorm2d]:
    """{site: its BatchNorm2d} in the order of the forward pass; the site's name is the module's path."""
    return {site.norm: net.get_submodule(site.norm) for site in net.sites}
