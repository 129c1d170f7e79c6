"""The units of a convolution, its input channels and its ranks, and what losing them costs (collaborative compression).

W' is the weight W (O, I k^2) without the units that are gone: columns of channels are zero, terms of ranks left out.
With G the gradient at W, its loss is J = |G * (W' - W)|^2.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

GAMMA, STEP = 0.9, 0.01  # of the paper: the weight of what is expected, the share of a layer's units that go in a step


class State(NamedTuple):
    """Which units of a layer are there: channels (I,) bool, ranks (min(O, I k^2),) bool."""

    channels: Tensor
    ranks: Tensor


class Layer:
    """A convolution, its gradient, and its units.

    path, site   of the convolution, and of the site whose channels it reads
    uses         how often each of its weights counts: at every position, or once
    kinds        which units may go: of channels, of ranks
    worst        J of a layer of zeros
    """

    def __init__(self, path: str, site: str | None, weight: Tensor, gradient: Tensor, uses: int, kinds: tuple):
        self.path, self.site, self.uses, self.kinds = path, site, uses, kinds
        self.outputs, self.inputs, self.taps = *weight.shape[:2], math.prod(weight.shape[2:])
        self.weight = weight.detach().cpu().double().flatten(1)
        self.left, self.values, self.right = torch.linalg.svd(self.weight, full_matrices=False)
        self.squares = gradient.cpu().double().flatten(1).square()
        self.worst = (self.squares * self.weight.square()).sum().item()
        if kinds[1]:
            self.turned, self.crossed = self.left.T @ (self.squares * self.weight), self.left.T.square() @ self.squares

    def whole(self) -> State:
        return State(*(torch.ones(size, dtype=torch.bool) for size in (self.inputs, len(self.values))))

    def cost(self, state: State) -> int:
        """What the layer counts for, in the cheaper of its two ways to be written."""
        return self.uses * min(self._plain(state), self._factored(state))

    def rank(self, state: State) -> int | None:
        """The rank in which the layer is cheaper; None: it is cheaper as one convolution."""
        return int(state.ranks.sum()) if self._factored(state) < self._plain(state) else None

    def approximation(self, state: State) -> Tensor:
        """W' (O, I k^2)."""
        return (self.left * (self.values * state.ranks)) @ (self.right * self._columns(state))

    def loss(self, state: State) -> float:
        """J."""
        return (self.squares * (self.approximation(state) - self.weight).square()).sum().item()

    def left_to_go(self, state: State) -> int:
        """How many units can still go: a channel and a rank stay."""
        return sum((int(part.sum()) - 1) * may for part, may in zip(state, self.kinds, strict=True))

    def step(self, state: State, scores: Tensor) -> State:
        """The state without the hundredth of the units that have the lowest scores, (I + ranks,)."""
        there = [part.clone() for part in state]
        scores = scores.masked_fill(~torch.cat(there), math.inf)
        room = [int(part.sum()) - 1 for part in there]
        count = max(1, int(STEP * len(scores)))
        for unit in torch.sort(scores, stable=True).indices.tolist():
            if not count or scores[unit] == math.inf:
                break
            kind = int(unit >= self.inputs)
            if room[kind]:
                there[kind][unit - self.inputs * kind] = False
                room[kind], count = room[kind] - 1, count - 1
        return State(*there)

    def scores(self, state: State, goal: float | None = None) -> Tensor:
        """J without each unit, (I + ranks,); and GAMMA times what is expected on the way to the cost `goal`, if given.

        With D = G * (W' - W) and X_u = G * (what unit u adds to W'), J without u is |D - X_u|^2. T is the sum of all X.
        When n of the N others go as well, drawn at random, |D - X_u - their X|^2 has the expectation

            |D - X_u|^2 - 2 p <D - X_u, T - X_u> + p S_u + q (|T - X_u|^2 - S_u),  S_u the sum of the others' |X|^2,

        p = n / N the chance of one of them, q = n (n - 1) / (N (N - 1)) that of two. n is the share of the units that
        the cost is above its goal. Infinite for units that are gone or may not go.
        """
        now, kinds = self.approximation(state), sum(self.kinds)  # the units of each kind add up to W'
        product = self.squares * now
        of_now, of_weight = product * now, product * self.weight
        x_x, d_x, t_x = self._products(state, product, of_now, of_weight)
        d_d = of_now.sum() - 2 * of_weight.sum() + self.worst
        without = d_d - 2 * d_x + x_x
        scores = without
        if goal is not None:
            others = max(1, self.left_to_go(state))
            going = others * min(1.0, max(0.0, 1 - goal / self.cost(state)))
            p = going / others
            q = p * max(0.0, going - 1) / max(1, others - 1)
            sizes = x_x.sum() - x_x
            across = kinds * (of_now.sum() - of_weight.sum()) - d_x - t_x + x_x
            rest = kinds**2 * of_now.sum() - 2 * t_x + x_x
            scores = without + GAMMA * (without - 2 * p * across + p * sizes + q * (rest - sizes))
        there = torch.cat([part & may for part, may in zip(state, self.kinds, strict=True)])
        return scores.masked_fill(~there, math.inf)

    def _plain(self, state: State) -> int:
        return self.outputs * int(state.channels.sum()) * self.taps

    def _factored(self, state: State) -> int:
        return int(state.ranks.sum()) * (int(state.channels.sum()) * self.taps + self.outputs)

    def _columns(self, state: State) -> Tensor:
        return state.channels.repeat_interleave(self.taps).double()

    def _products(self, state: State, product: Tensor, of_now: Tensor, of_weight: Tensor) -> list[Tensor]:
        """|X_u|^2, <D, X_u> and <T, X_u>, (I + ranks,) each; zero for a kind of unit that may not go.

        product, of_now, of_weight: G^2 * W', and that times W' and W.
        """
        sizes, with_weight = (
            part.view(self.outputs, self.inputs, self.taps).sum((0, 2)) for part in (of_now, of_weight)
        )
        channels = [sizes, sizes - with_weight, sum(self.kinds) * sizes]
        ranks = [torch.zeros_like(self.values)] * 3
        if self.kinds[1]:
            right, values = self.right * self._columns(state), self.values * state.ranks
            with_now = values * ((self.left.T @ product) * right).sum(1)
            with_weight = values * (self.turned * right).sum(1)
            ranks = [values.square() * (self.crossed * right.square()).sum(1)]
            ranks += [with_now - with_weight, sum(self.kinds) * with_now]
        return [torch.cat([part * self.kinds[0], other]) for part, other in zip(channels, ranks, strict=True)]
