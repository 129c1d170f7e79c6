"""Neural architecture transformers, NAT and NAT++ (Guo et al., NeurIPS 2019, and its sequel): cheaper operations.

A network is a chain of operations, its convolutions but the first. Each may become another that costs no more, where
shapes allow and the output still depends on the image (`transitions`):

    nat     convolution -> skip, null
    nat++   convolution -> smaller kernel, separable, dilated separable, pooling, skip, null

    1. supernet     all operations of a layer side by side, trained with one drawn at random at every step, on the first
                    part of the training images
    2. policy       a graph convolution over embeddings of operations, with a softmax over the valid transitions of each
                    (methods.parts.policy), trained by REINFORCE: the reward is the gain in accuracy over the network
                    that keeps all, under the weights of the supernet, on a batch of the other part
    3. derivation   the best of SAMPLES draws on that part; of equal ones the cheapest
    4. training     the derived network from scratch, as long as the run's

    selection   "policy"
                "random": as many draws of random valid transitions, made until the network costs no more multiply-
                accumulates than the policy's, and chosen in the same way
                "none": every layer stays, so that the original stands beside the others in the same tables

The method decides how large a network is, and answers so at every ratio.

Other than the authors: the operations are those of a trained network's architecture, one a layer, instead of cells with
two; pooling is of means, as a maximum contracts to no weight; supernet and policy are trained one after the other,
not epoch by epoch in turns, so that the rewards are those of finished weights; BatchNorm takes the statistics of the
batch for rewards, as those of shared layers belong to no network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from slimming.errors import unknown
from slimming.methods.base import Method

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import nn

    from slimming.methods.base import Setting, Step
    from slimming.networks.base import Network
    from slimming.pruning import Plan

OPERATIONS = ("convolution", "smaller kernel", "separable", "dilated separable", "pooling", "skip", "null")
KNOWN = {"nat": ("skip", "null"), "nat++": OPERATIONS[1:]}
SELECTIONS = ("policy", "random", "none")
SHARE = 0.6  # of the training images for the supernet's weights; the authors' 40 % are for the policy
UPDATES = 20  # of the policy, for every epoch of the run
SAMPLES = 10  # of the authors: draws of which the best is kept


class Layer(NamedTuple):
    """A convolution and what may become of it: {operation: form}, itself first."""

    path: str
    options: dict[str, dict | None]


@dataclass(frozen=True, kw_only=True)
class Transformation(Method):
    counts = None
    forms = ("null", "pooling", "separable", "smaller")
    passes = 10.0
    trainings = 2.0
    finds = ("operations",)

    operations: tuple[str, ...]
    selection: str

    def training(self) -> Method:
        return Method()

    def plan(self, net: Network, ratio: float, setting: Setting) -> Plan:
        import torch

        from slimming import networks
        from slimming.pruning import Plan

        plan = Plan.whole(net, ratio)
        layers = transitions(net, self.operations)
        chosen = setting.remember("chosen", lambda: {"chosen": torch.tensor(self._chosen(net, layers, setting))})
        choice = chosen["chosen"].tolist()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setting.seed)
            plan.network = networks.from_spec(_spec(net, layers, choice))
        setting.train(plan.network, Method(), setting.epochs, "derived")
        taken = {layer.path: OPERATIONS.index(name) for layer, name in zip(layers, _names(layers, choice), strict=True)}
        plan.found = {"operations": taken}
        return plan

    def _chosen(self, net: Network, layers: Sequence[Layer], setting: Setting) -> list[int]:
        """Which of its options every layer takes."""
        import torch

        from slimming.methods.parts import policy, supernet

        if self.selection == "none":
            return [0] * len(layers)
        generator = torch.Generator().manual_seed(setting.seed)
        order = torch.randperm(len(setting.labels), generator=generator)
        weights, rewards = order.split([int(SHARE * len(order)), len(order) - int(SHARE * len(order))])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setting.seed)
            shared = supernet.Supernet(net.spec, {layer.path: [*layer.options.values()] for layer in layers})
        setting.train(shared, Wandering(), setting.epochs, "supernet", weights.sort().values)
        judge = supernet.Judge(shared, setting.images, rewards)

        def best(drawn: list[list[int]]) -> list[int]:
            return max(drawn, key=lambda choice: (judge.accuracy(choice), -_macs(net, layers, choice, setting)))

        kinds = [[OPERATIONS.index(name) for name in layer.options] for layer in layers]
        learnt = policy.learn(kinds, len(OPERATIONS), judge.gain, generator, UPDATES * setting.epochs)
        found = best([policy.draw(learnt, generator) for _ in range(SAMPLES)])
        if self.selection == "policy":
            return found
        most = _macs(net, layers, found, setting)
        return best([_random(net, layers, most, setting, generator) for _ in range(SAMPLES)])


class Wandering(Method):
    """The training of a supernet: every layer takes one of its options at random, anew at every step."""

    def before_step(self, step: Step) -> None:
        import torch

        choices = step.net.choices()
        shares = torch.rand(len(choices), generator=step.generator, device=step.generator.device).tolist()
        step.net.take([int(share * len(choice.options)) for share, choice in zip(shares, choices, strict=True)])


def transitions(net: Network, operations: Sequence[str]) -> list[Layer]:
    """The convolutions of `net`, all but the first, each with those of the operations that are valid for it.

    Valid is what has the layer's shapes and fewer weights, and null where the output still depends on the image though
    all layers before, for which it is valid, are null.
    """
    import torch

    from slimming import networks
    from slimming.networks.kernels import Conv2d

    plain = networks.from_spec(net.spec)
    _, *paths = (path for path, module in plain.named_modules() if isinstance(module, Conv2d))
    layers = []
    for path in paths:
        options = {name: _form(name, plain.get_submodule(path)) for name in operations if name != "null"}
        valid = {name: form for name, form in options.items() if form and _lighter(plain, path, form)}
        layers.append(Layer(path, {"convolution": None} | valid))
    if "null" not in operations:
        return layers
    nulls: dict[str, dict] = {}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        images = torch.randn(2, net.spec["in_channels"], 16, 16)
        for layer in layers:
            some = nulls | {layer.path: {"form": "null"}}
            first, second = networks.from_spec(plain.spec | {"forms": some}).eval()(images)
            if not torch.equal(first, second):
                nulls = some
                layer.options["null"] = {"form": "null"}
    return layers


def _form(operation: str, plain: nn.Conv2d) -> dict | None:
    """How an operation is written in the place of a convolution; None where shapes do not allow it."""
    kernel, same = plain.kernel_size[0], plain.in_channels == plain.out_channels
    forms = {
        "smaller kernel": {"form": "smaller", "size": kernel - 2} if kernel > 2 else None,
        "separable": {"form": "separable", "dilation": 1} if kernel > 1 else None,
        "dilated separable": {"form": "separable", "dilation": 2} if kernel > 1 else None,
        "pooling": {"form": "pooling", "size": kernel} if kernel > 1 and same else None,
        "skip": {"form": "pooling", "size": 1} if same and plain.stride == (1, 1) else None,
    }
    return forms[operation]


def _lighter(net: Network, path: str, form: dict) -> bool:
    """Whether a form has fewer weights than the convolution at `path`: both are used at every position."""
    import torch

    from slimming.networks import forms

    settings = dict(form)
    plain = net.get_submodule(path)
    with torch.device("meta"):
        made = forms.registry()[settings.pop("form")](plain, **settings)
    return sum(parameter.numel() for parameter in made.parameters()) < plain.weight.numel()


def _names(layers: Sequence[Layer], choice: Sequence[int]) -> list[str]:
    return [[*layer.options][option] for layer, option in zip(layers, choice, strict=True)]


def _spec(net: Network, layers: Sequence[Layer], choice: Sequence[int]) -> dict:
    """The spec of the network whose layers take these options."""
    names = _names(layers, choice)
    forms = {layer.path: layer.options[name] for layer, name in zip(layers, names, strict=True)}
    written = {path: form for path, form in forms.items() if form}
    return net.spec | ({"forms": written} if written else {})


def _macs(net: Network, layers: Sequence[Layer], choice: Sequence[int], setting: Setting) -> int:
    from slimming.measuring import cost

    return cost.of_spec(_spec(net, layers, choice), "macs", setting.budget.image)


def _random(
    net: Network, layers: Sequence[Layer], most: int, setting: Setting, generator: torch.Generator
) -> list[int]:
    """Random valid transitions, one layer after another in random order, until no more than `most` MACs are left."""
    import torch

    choice = [0] * len(layers)
    for place in torch.randperm(len(layers), generator=generator).tolist():
        if _macs(net, layers, choice, setting) <= most:
            break
        others = len(layers[place].options) - 1
        if others:
            choice[place] = 1 + int(torch.randint(others, (), generator=generator))
    return choice


def _transformer(name: str, selection: str) -> Transformation:
    if selection not in SELECTIONS:
        raise unknown(f"selection of {name}", selection, SELECTIONS)
    slug = name if selection == SELECTIONS[0] else f"{name}-{selection}"
    return Transformation(slug=slug, operations=KNOWN[name], selection=selection)


def _nat(*, selection: str = "policy") -> Transformation:
    return _transformer("nat", selection)


def _nat_plus(*, selection: str = "policy") -> Transformation:
    return _transformer("nat++", selection)


METHODS = {"nat": _nat, "nat++": _nat_plus}
