"""The interface of a method: what it may do to a run, and nothing more. Every hook has a default.

    train       prepare, then at every step: before_step, [loss], add_gradient, after_step; at the end: finish
    prune       scores, removals, sparsify
    finetune    finetuning

A method is frozen settings; what it must remember between steps it keeps in `step.state`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from slimming.networks.base import Network


@dataclass
class Part:
    """Some of a network's parameters as one vector (n,), float32, and their gradient (n,); change both in place."""

    values: Tensor
    gradient: Tensor


@dataclass
class Step:
    """One step of a training as a method sees it. Tensors are the training's own.

    net         the network in training; its parameters are views of the parts (in bfloat16 convolutions have copies)
    gamma       scaling factors of all prunable channels, in the order of networks.prunable
    shift       shifts of the same channels, in the same order
    weights     weights of all convolutions and linear layers
    state       tensors that the method keeps between steps; saved with the training, and resumed
    generator   for random numbers: seeded from (seed, epoch, step) before every step
    number      of the step, from 0, of `steps` in the whole training
    lr, momentum, weight_decay   of the update w <- w - lr v, v <- momentum v + gradient + weight_decay w
    """

    net: Network
    gamma: Part
    shift: Part
    weights: Part
    momentum: float
    weight_decay: float
    steps: int
    generator: torch.Generator
    number: int = 0
    lr: float = 0.0
    state: dict[str, Tensor] = field(default_factory=dict)

    @property
    def progress(self) -> float:
        """The share of the training that is done, in [0, 1)."""
        return self.number / self.steps


@dataclass(frozen=True, kw_only=True)
class Method:
    """Plain training; channels are scored by their scaling factors' magnitude |gamma|.

    `slug` names the method with its parameters in paths, tables and figures: "none", "lp-0.5", "mcp-5000".
    """

    slug: str = "none"

    def cautions(self, gamma: float) -> list[str]:
        """One line for each reason why the method cannot act from initial scaling factors of size `gamma`."""
        return []

    def prepare(self, step: Step) -> None:
        """Before the first step: change initial values, put tensors into `step.state`."""

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

    def removals(self, net: Network, ratio: float) -> int | None:
        """How many channels go when `ratio` is asked for; None: that share of all."""
        return None

    def sparsify(self, net: Network, ratio: float) -> Network:
        """The network whose channels are then removed: for a method that zeroes weights, a copy with those at zero."""
        return net

    def finetuning(self) -> Method:
        """The method that trains the compressed network again."""
        return Method()


def _none() -> Method:
    return Method()


METHODS = {"none": _none}
