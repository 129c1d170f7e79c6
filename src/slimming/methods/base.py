"""The interface of a method: what it may do to a run, and nothing more. Every hook has a default.

    train       training; of the method that it gives: network, prepare; at every epoch: on_epoch; at every step:
                before_step, [loss], add_gradient, after_step; at the end: finish
    prune       scores, plan
    finetune    finetuning

A method is frozen settings; what it must remember between steps it keeps in `step.state`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch
    from torch import Tensor

    from slimming.networks.base import Network
    from slimming.pruning import Budget, Plan


@dataclass
class Part:
    """Parameters, float32, and their gradient, of the same shape; change both in place."""

    values: Tensor
    gradient: Tensor


@dataclass
class Step:
    """One step of a training as a method sees it. Tensors are the training's own.

    net         the network in training; its parameters are views of the parts (in bfloat16 convolutions have copies)
    gamma       scaling factors of all prunable channels, in the order of networks.prunable
    shift       shifts of the same channels, in the same order
    weights     weights of all convolutions and linear layers
    layers      {name: every parameter in its own shape}, views of the parts; what is written elsewhere may be lost
    images, labels   of the batch, (B, C, H, W) normalised and (B,); None before the first
    epoch       from 0
    state       tensors that the method keeps between steps; saved with the training, and resumed
    generator   for random numbers: seeded from (seed, epoch, step) before every step
    image       (C, H, W) of every image
    number      of the step, from 0, of `steps` in the whole training
    lr, momentum, weight_decay   of the update w <- w - lr v, v <- momentum v + gradient + weight_decay w
    """

    net: Network
    gamma: Part
    shift: Part
    weights: Part
    layers: dict[str, Part]
    momentum: float
    weight_decay: float
    steps: int
    generator: torch.Generator
    image: tuple[int, int, int]
    number: int = 0
    epoch: int = 0
    lr: float = 0.0
    images: Tensor | None = None
    labels: Tensor | None = None
    state: dict[str, Tensor] = field(default_factory=dict)

    @property
    def progress(self) -> float:
        """The share of the training that is done, in [0, 1)."""
        return self.number / self.steps


@dataclass(frozen=True)
class Setting:
    """What a method may see and use while it plans. No test image is within its reach.

    images      images(batch_size): the training images once, in order, not augmented; as step.images, step.labels
    labels      of the training images, in that order, (N,) int64
    train       train(net, method, epochs, name, part=None): trains `net` in place with the run's schedule, resumably;
                on the training images with the indices `part` (n,), or on all
    remember    remember(name, compute): what compute() -> {name: tensor} gives; after a kill, what it gave before
    seed        of the run
    epochs      of the run's training
    budget      what a ratio is a share of, where the study says it

    Names are the method's own: one for each part of its work.
    """

    images: Callable[[int], Iterator[tuple[Tensor, Tensor]]]
    labels: Tensor
    train: Callable[..., None]
    remember: Callable[[str, Callable[[], dict[str, Tensor]]], dict[str, Tensor]]
    seed: int
    epochs: int
    budget: Budget


@dataclass(frozen=True, kw_only=True)
class Method:
    """Plain training; channels are scored by their scaling factors' magnitude |gamma|.

    `slug` names the method with its parameters in paths, tables and figures: "none", "lp-0.5", "mcp-5000".
    """

    slug: str = "none"
    counts: ClassVar[str] = "channels"  # what a ratio is a share of, unless the study's budget says
    budgets: ClassVar[tuple[str, ...]] = ("channels", "parameters", "macs")  # that it can be given by a study
    forms: ClassVar[tuple[str, ...]] = ()  # in which its plans write layers (networks.forms)
    passes: ClassVar[float] = 0.0  # data passes that a plan takes, about, forward and backward: what jobs ask time for
    trainings: ClassVar[float] = 0.0  # as many whole trainings more

    def modules(self) -> tuple[str, ...]:
        """The modules that say what this method does, the package's whole name included: their change is its own."""
        return (type(self).__module__, *(f"slimming.networks.forms.{form}" for form in self.forms))

    def cautions(self, gamma: float) -> list[str]:
        """One line for each reason why the method cannot act from initial scaling factors of size `gamma`."""
        return []

    def training(self) -> Method:
        """The method that trains the network which this one prunes: trained once for all that start from the same."""
        return self

    def network(self, net: Network) -> Network:
        """The network that is trained, made of a fresh one: with a bank of filters, say."""
        return net

    def prepare(self, step: Step) -> None:
        """Before the first step: change initial values, put tensors into `step.state`."""

    def on_epoch(self, step: Step) -> None:
        """Before the first step of every epoch: what is too dear for every step."""

    def before_step(self, step: Step) -> None:
        """Before the forward pass: choose, draw, set the values that the network computes with."""

    def loss(self, step: Step) -> Tensor | float:
        """A term that autograd adds to the cross-entropy. Where the gradient is known, add_gradient is faster."""
        return 0.0

    def add_gradient(self, step: Step) -> None:
        """Add the method's gradient to the parts', in place, after the loss's and before weight decay."""

    def after_step(self, step: Step) -> None:
        """After the update: change the values in place, as a proximal step does."""

    def finish(self, step: Step) -> None:
        """After the last step: leave what `scores` needs beside the weights in `step.net.learned`."""

    def scores(self, net: Network) -> dict[str, Tensor]:
        """{site: (channels,) tensor}; the channels with the lowest scores go first."""
        from slimming import networks

        return {site: norm.weight.detach().abs() for site, norm in networks.prunable(net).items()}

    def plan(self, net: Network, ratio: float, setting: Setting | None = None) -> Plan:
        """What becomes of the trained `net` at a ratio: as many channels go, lowest scores first, as the budget asks.

        A method may plan otherwise: with weights replaced, with convolutions in other forms. setting: None where
        nothing but the network counts; the ratio is a share of what the method counts then.
        """
        from slimming import pruning

        budget = setting.budget if setting else pruning.Budget(self.counts)
        return pruning.ranked(net, self.scores(net), ratio, budget)

    def finetuning(self) -> Method:
        """The method that trains the compressed network again."""
        return Method()


def _none() -> Method:
    return Method()


METHODS = {"none": _none}
