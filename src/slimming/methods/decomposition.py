"""Decomposition: every convolution is written as small ones (networks.forms), after an ordinary training.

The baseline of methods that train towards low ranks. Ranks follow from the budget by one rule for all layers: every
layer keeps the same share of what it costs, with ranks in proportion to those that it has at most.

    decompose   format "svd", "tucker" or "tt"

The first convolution and the classifier stay plain, and so does a layer that no rank makes cheaper. A 1x1 convolution
is a matrix: its decomposition is "svd" in every format.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from slimming.errors import InputError, unknown
from slimming.methods.base import Method

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from slimming.methods.base import Setting
    from slimming.networks.base import Network
    from slimming.pruning import Budget, Plan

FORMATS = ("tt", "tucker", "svd")
SCALES = 64  # of a layer's largest ranks, evenly spaced


class Option(NamedTuple):
    """A way to write a layer, and what the layer costs then; `form` is None for the plain one."""

    cost: int
    form: dict | None


@dataclass(frozen=True, kw_only=True)
class Decomposition(Method):
    """Plain training, then convolutions in the form `format`."""

    counts = "macs"
    budgets = ("parameters", "macs")
    forms = ("svd", "tucker", "tt")

    format: str

    def training(self) -> Method:
        return Method()

    def plan(self, net: Network, ratio: float, setting: Setting) -> Plan:
        from slimming.pruning import Plan

        plan = Plan.whole(net, ratio)
        plan.forms = chosen(self.slug, net.spec, self.format, ratio, setting.budget)
        return plan


def chosen(slug: str, spec: Mapping, format: str, ratio: float, budget: Budget) -> dict[str, dict]:
    """{convolution: form} of the network with `spec` that leave at most the share 1 - ratio of what is counted.

    Every layer has the dearest option that costs at most the share c of the plain layer, or its cheapest; c is the
    largest with which the budget is met. What is spare then raises layers by one option, from the first on. InputError
    where the cheapest options of all layers leave too much.
    """
    from slimming.measuring import cost

    options = _options(spec, format, budget)
    whole = cost.of_spec(spec, budget.of, budget.image)
    rest = whole - sum(layer[-1].cost for layer in options.values())  # what stays as it is

    def at(share: float) -> dict[str, Option]:
        return {
            path: next((option for option in reversed(layer) if option.cost <= share * layer[-1].cost), layer[0])
            for path, layer in options.items()
        }

    def left(share: float) -> int:
        return rest + sum(option.cost for option in at(share).values())

    allowed = (1 - ratio) * whole
    if left(0) > allowed:
        dearest = max(options, key=lambda path: options[path][0].cost)
        raise InputError(
            f"{slug}: no ranks leave {1 - ratio:g} of the {budget.of}: with rank 1, {dearest} and all others leave "
            f"{left(0) / whole:.3f}; the ratio can be {1 - left(0) / whole:.3f} at most"
        )
    shares = sorted({option.cost / layer[-1].cost for layer in options.values() for option in layer})
    found = at(max((share for share in shares if left(share) <= allowed), default=0.0))
    spare = allowed - rest - sum(option.cost for option in found.values())
    for path, option in found.items():
        dearer = [other for other in options[path] if option.cost < other.cost <= option.cost + spare]
        if dearer:
            found[path] = dearer[0]
            spare -= dearer[0].cost - option.cost
    return {path: option.form for path, option in found.items() if option.form}


def _options(spec: Mapping, format: str, budget: Budget) -> dict[str, list[Option]]:
    """{convolution: its options, the cheapest first, the plain one last}, at SCALES of its ranks.

    The first convolution has none, nor has one that no form can say.
    """
    import torch

    from slimming import networks
    from slimming.networks import forms

    with torch.device("meta"):
        net = networks.from_spec(spec)
    _, *layers = ((path, module) for path, module in net.named_modules() if isinstance(module, torch.nn.Conv2d))
    paths = [path for path, layer in layers if forms.writable(layer)]
    images = _inputs(net, paths, budget)
    known: dict[tuple, list[Option]] = {}
    found = {}
    for path, image in images.items():
        plain = net.get_submodule(path)
        kind = (plain.in_channels, plain.out_channels, plain.kernel_size, plain.stride, image)
        if kind not in known:
            dense = _cost(plain, image, budget)
            written = {}
            for settings in _settings("svd" if plain.kernel_size == (1, 1) else format, plain):
                parameters = dict(settings)
                with torch.device("meta"):
                    form = forms.registry()[parameters.pop("form")](plain, **parameters)
                written.setdefault(_cost(form, image, budget), settings)
            cheaper = [Option(cost, settings) for cost, settings in sorted(written.items()) if cost < dense]
            known[kind] = [*cheaper, Option(dense, None)]
        found[path] = known[kind]
    return found


def _settings(format: str, plain: nn.Conv2d) -> Iterator[dict]:
    """The form at each scale of the largest ranks that the layer has in it."""
    import math

    from slimming.networks.forms import tt

    inputs, outputs, taps = plain.in_channels, plain.out_channels, math.prod(plain.kernel_size)
    sizes = (*tt.factors(outputs), taps, *tt.factors(inputs))
    full = tt.clipped([outputs * inputs * taps] * 4, sizes)
    for scale in range(SCALES, 0, -1):

        def share(rank: int, scale: int = scale) -> int:
            return max(1, rank * scale // SCALES)

        if format == "svd":
            yield {"form": "svd", "rank": share(min(outputs, inputs * taps))}
        elif format == "tucker":
            yield {"form": "tucker", "inputs": share(inputs), "outputs": share(outputs)}
        else:
            yield {"form": "tt", "ranks": [*tt.clipped([*map(share, full)], sizes)]}


def _inputs(net: Network, paths: Sequence[str], budget: Budget) -> dict[str, tuple[int, int, int] | None]:
    """{convolution: (C, H, W) of what it reads}; None where images do not count."""
    import torch

    if budget.of == "parameters":
        return dict.fromkeys(paths)
    seen = {}
    for path in paths:
        net.get_submodule(path).register_forward_pre_hook(
            lambda _, inputs, path=path: seen.update({path: tuple(inputs[0].shape[1:])})
        )
    with torch.no_grad():
        net.eval()(torch.zeros(1, *budget.image, device="meta"))
    return {path: seen[path] for path in paths}


def _cost(layer: nn.Module, image: tuple[int, int, int] | None, budget: Budget) -> int:
    from slimming.measuring import cost

    if budget.of == "macs":
        return cost.macs(layer, image)
    return sum(parameter.numel() for parameter in layer.parameters() if parameter.dim() > 1)


def check_format(slug: str, format: str) -> None:
    """InputError for a format that there is not."""
    if format not in FORMATS:
        raise unknown(f"format of {slug}", format, FORMATS)


def _decompose(*, format: str = "tt") -> Decomposition:
    check_format("decompose", format)
    return Decomposition(slug=f"decompose-{format}", format=format)


METHODS = {"decompose": _decompose}
