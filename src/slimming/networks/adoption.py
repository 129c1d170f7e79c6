"""Somebody's network as one of ours: `adopt` finds its sites, and proves them on a copy.

net = adopt(torchvision.models.resnet18(), torch.zeros(2, 3, 64, 64))
net.model        # the module that was given, whose BatchNorms are net.sites
net.refused      # {BatchNorm: why none of its channels can go}
"""

from __future__ import annotations

import ast
import copy
import functools
import hashlib
import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from slimming import foreign
from slimming.errors import InputError, unknown
from slimming.networks import forms
from slimming.networks.adopted import Adopted, described
from slimming.networks.tracing import Found, find_sites

PREFIX = "model."
SELECTIONS = ("own", "coupled")
DIFFERS = "pruned, the network computes something else: its code may depend on the number of channels"
TOLERANCE = 1e-8  # of what a pruned and a masked network may differ by in float64, relative to the largest output
BUILDERS: dict[str, Callable[[], nn.Module]] = {}  # of networks that this process adopted, by architecture
FACTORIES: dict[str, Callable[..., nn.Module]] = {}  # by the name that a user gave (foreign)


def adopt(
    model: nn.Module,
    example: Tensor,
    factory: Callable[[], nn.Module] | None = None,
    selection: str = "own",
    name: str | None = None,
) -> Adopted:
    """A network of a copy of `model`, which must take images like `example`, (N, C, H, W), N at least 2.

    factory: builds the model anew, with fresh weights; default: copies of `model`, reset. name: in messages and
    records; default: the class's. selection: "own", each BatchNorm loses channels by itself; "coupled", those that are
    added to one another lose the same, by the mean of their scores, so that the sum becomes narrower.

    The copy is pruned at random and compared with its masked self, in evaluation and in training mode, in float64.
    A site that differs spreads; one that differs still is refused. InputError for a model that cannot be traced, or
    has no site.
    """
    model = copy.deepcopy(model)
    outputs = _outputs(model, example)
    if selection not in SELECTIONS:
        raise unknown("selection", selection, SELECTIONS)
    spec = {
        "name": name or type(model).__name__,
        "adopted": _architecture(model),
        "selection": selection,
        "image": list(example.shape[1:]),
        "in_channels": example.shape[1],
        "num_classes": outputs,
        "channels": {},
    }
    differ: set[str] = set()
    for opaque in (False, True):  # what differs may only not be cut behind the BatchNorm
        found = find_sites(model, example, selection == "coupled", differ)
        spec |= _said(found)
        differ = {*_differing(Adopted(copy.deepcopy(model), spec), example)}
        if not differ or opaque:
            break
        differ = {norm.removeprefix(PREFIX) for norm in differ}
    spec["sites"] = [site for site in spec["sites"] if site.get("leader", site["norm"]) not in differ]
    spec["refused"] |= dict.fromkeys(differ, DIFFERS)
    if not spec["sites"]:
        reasons = "; ".join(f"{norm} {why}" for norm, why in spec["refused"].items()) or "it has no BatchNorm2d"
        raise InputError(f"{spec['name']}: nothing to prune: {reasons}")
    BUILDERS[spec["adopted"]] = factory or _reset(model)
    return Adopted(model, spec)


def build(
    name: str,
    classes: int,
    image: tuple[int, int, int],
    selection: str = "own",
    state_dict: str | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> Adopted:
    """The network that the function `name` builds, for so many classes and images (C, H, W).

    The function is called with `arguments`, and with num_classes and in_channels where it takes them. state_dict: a
    safetensors file of weights to start from. InputError where function, weights and images do not fit together.
    """
    function = allow(name)
    taken = inspect.signature(function).parameters
    named = {"num_classes": classes} if "num_classes" in taken or _takes_any(taken) else {}
    named |= {"in_channels": image[0]} if "in_channels" in taken else {}
    named |= arguments or {}
    factory = functools.partial(function, **named)
    try:
        model = factory()
    except TypeError as error:
        raise InputError(f"{name}: {error}; mend its arguments in the study") from error
    if state_dict:
        _load(model, state_dict)
    net = adopt(model, torch.zeros(2, *image), factory, selection, name)
    if net.spec["num_classes"] != classes:
        raise InputError(f"{name} tells {net.spec['num_classes']} classes apart, the data set has {classes}")
    net.spec["arguments"] = named
    return net


def allow(name: str) -> Callable[..., nn.Module]:
    """The function `name` (foreign), which may build checkpoints' networks from now on."""
    if name not in FACTORIES:
        FACTORIES[name] = foreign.get(name)
    return FACTORIES[name]


def _takes_any(parameters: Mapping[str, inspect.Parameter]) -> bool:
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())


def _load(model: nn.Module, path: str) -> None:
    try:
        model.load_state_dict(safetensors.torch.load_file(path))
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(
            f"{path}: no safetensors file ({error}); make one of a .pth with `slimming convert`"
        ) from error
    except RuntimeError as error:
        said = " ".join(str(error).split())[:300]
        raise InputError(f"{path}: not the weights of {type(model).__name__}: {said}") from error


def from_spec(spec: Mapping, factory: Callable[..., nn.Module] | None = None) -> Adopted:
    """The adopted network that `spec` describes, with fresh weights: built by `factory`, or as this process knows it.

    Nothing is traced: a spec has the sites. InputError for a network that nothing here can build, and where a factory
    builds another one.
    """
    factory = factory or FACTORIES.get(spec["name"])
    build = functools.partial(factory, **spec.get("arguments", {})) if factory else BUILDERS.get(spec["adopted"])
    if build is None:
        raise InputError(
            f"{spec['name']} is an adopted network, which only its own code can build: name its factory "
            "(checkpoints.load(path, factory), or --build)"
        )
    model = build()
    if _architecture(model) != spec["adopted"]:
        raise InputError(f"{spec['name']} builds another network today than when this one was adopted")
    net = Adopted(model, spec)
    forms.prepare(net, spec.get("forms", {}))
    return net


def _said(found: Found) -> dict[str, Any]:
    """What was found of a model, in the spec of the network around it."""
    sites = (
        replace(
            site,
            norm=PREFIX + site.norm,
            reader=site.reader and PREFIX + site.reader,
            producer=site.producer and PREFIX + site.producer,
            readers=tuple(reader._replace(path=PREFIX + reader.path) for reader in site.readers),
            tied=tuple(PREFIX + path for path in site.tied),
            leader=site.leader and PREFIX + site.leader,
        )
        for site in found.sites
    )
    tied = {PREFIX + norm: PREFIX + other for norm, other in found.tied.items()}
    refused = {PREFIX + norm: why for norm, why in found.refused.items()}
    return {"sites": described(sites), "tied": tied, "refused": refused}


def _outputs(model: nn.Module, example: Tensor) -> int:
    """The number of classes. InputError for a model that gives no logits, (N, classes)."""
    if example.dim() != 4 or len(example) < 2:
        raise InputError(
            f"the example has the shape {tuple(example.shape)}; at least two images (N, C, H, W) are needed"
        )
    try:
        with torch.no_grad():
            logits = copy.deepcopy(model).eval()(example)
    except (RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise InputError(f"{type(model).__name__} takes no images {tuple(example.shape[1:])}: {said}") from error
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        raise InputError(f"{type(model).__name__} is no classifier: it gives no tensor (N, classes)")
    return logits.shape[1]


def _architecture(model: nn.Module) -> str:
    """A digest of what a model computes: its modules, their plain attributes and code, the shapes of its tensors."""
    modules = [(path, *_behaviour(module)) for path, module in model.named_modules()]
    shapes = [(name, tuple(value.shape)) for name, value in model.state_dict().items()]
    return hashlib.sha256(repr((modules, shapes)).encode()).hexdigest()[:16]


def _behaviour(module: nn.Module) -> tuple:
    """Class, attributes (numbers, strings, functions by name) and source: two networks may differ in one of them."""
    attributes = {name: _plain(value) for name, value in vars(module).items() if name != "training"}
    known = {name: value for name, value in attributes.items() if value is not None}
    return type(module).__qualname__, sorted(known.items()), [_source(kind) for kind in type(module).__mro__]


def _plain(value: object) -> object:
    """None for what has no value that another process would find again."""
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if getattr(value, "__name__", "") == "<lambda>":  # of many one name
        code = value.__code__
        return [code.co_code.hex(), *code.co_names, *map(_plain, code.co_consts)]
    return getattr(value, "__qualname__", None)


@functools.cache
def _source(kind: type) -> list[str]:
    """What the methods say of a class that is not torch's own, whatever their layout and comments."""
    if kind.__module__.startswith(("torch.", "builtins", "abc")):
        return []
    methods = [value for value in vars(kind).values() if inspect.isfunction(value)]
    try:
        return [ast.dump(ast.parse(textwrap.dedent(inspect.getsource(method)))) for method in methods]
    except (OSError, SyntaxError):  # of a class that was typed in, or a method that is no statement
        return []


def _reset(model: nn.Module) -> Callable[[], nn.Module]:
    pristine = copy.deepcopy(model)

    def build() -> nn.Module:
        made = copy.deepcopy(pristine)
        for module in made.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        return made

    return build


def _differing(net: Adopted, example: Tensor) -> list[str]:
    """The sites that, pruned, make another network than masked."""
    net, example = net.double(), example.double()

    def among(norms: list[str]) -> list[str]:
        if _equal(net, norms, example):
            return []
        half = len(norms) // 2
        return among(norms[:half]) + among(norms[half:]) if half else norms

    norms = [site.norm for site in net.sites if site.leader in (None, site.norm)]
    differ = among(norms)
    if differ and not _equal(net, [norm for norm in norms if norm not in differ], example):
        raise InputError(f"{net.spec['name']}: its sites can be pruned apart, but not together; its code says why")
    return differ


@torch.no_grad()
def _equal(net: Adopted, norms: Iterable[str], example: Tensor) -> bool:
    """Whether `net` without half the channels of `norms`, drawn at random, is `net` with these masked."""
    generator = torch.Generator().manual_seed(0)
    small, masked = copy.deepcopy(net), copy.deepcopy(net)
    plan = {}
    for path, members in net.groups().items():
        if path in norms:
            drawn = torch.randperm(net.get_submodule(path).num_features, generator=generator)
            half = -(-len(drawn) // 2)
            plan |= dict.fromkeys(members, drawn[:half].sort().values)
            for norm in map(masked.get_submodule, members):
                norm.weight[drawn[half:]] = norm.bias[drawn[half:]] = 0
    try:
        small.keep(plan)
        for training in (False, True):
            one, other = (_outputs_of(each.train(training), example) for each in (small, masked))
            if (one - other).abs().max() > TOLERANCE * (1 + other.abs().max()):
                return False
    except (RuntimeError, ValueError, IndexError):  # shapes that do not meet
        return False
    return True


def _outputs_of(net: nn.Module, example: Tensor) -> Tensor:
    """With the same random numbers at every call, but without dropout, which draws others after thinning."""
    for module in net.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return net(example)
