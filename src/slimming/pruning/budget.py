"""How many channels must go for a share of what is counted to go: channels, parameters or multiply-accumulates.

The ranking says which; here it is only how many. Removing more never leaves more, so the number is found by bisection.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from slimming.errors import InputError, unknown
from slimming.measuring import cost
from slimming.networks.base import Network
from slimming.networks.cuts import cuts
from slimming.pruning import groups
from slimming.pruning.ranking import Plan, check, plan

COUNTS = ("channels", "parameters", "macs")


class Budget(NamedTuple):
    """What a ratio is a share of.

    of        one of COUNTS, or what a method counts by itself
    image     (C, H, W), for "macs"
    round_to  widths stay multiples of it, or what they were
    """

    of: str = "channels"
    image: tuple[int, int, int] | None = None
    round_to: int = 1


def ranked(net: Network, scores: Mapping[str, Tensor], ratio: float, budget: Budget) -> Plan:
    """The plan that removes the channels with the lowest scores until the share `ratio` of the budget is gone.

    Raises InputError as `removals` and `plan` do.
    """
    count = removals(net, scores, ratio, budget)
    return groups.expanded(net, plan(groups.merged(net, scores), ratio, removals=count, round_to=budget.round_to))


def removals(net: Network, scores: Mapping[str, Tensor], ratio: float, budget: Budget) -> int:
    """The number of channels whose removal takes the share `ratio` of what is counted, a group's channel counted once.

    Of channels, at widths that need not be multiples, round(ratio * channels); otherwise the smallest number that takes
    no less than asked. Where none takes so much, because every site keeps a channel, all channels. InputError for a
    ratio outside [0, 1) and an unknown count.
    """
    check(ratio)
    if budget.of not in COUNTS:
        raise unknown("count of a budget", budget.of, COUNTS)
    scores = groups.merged(net, scores)
    channels = sum(map(len, scores.values()))
    if budget.of == "channels" and budget.round_to == 1:
        return round(ratio * channels)
    if budget.of == "macs" and budget.image is None:
        raise InputError("a budget of macs needs the size of images")
    if budget.of == "channels":
        left = _channels
    else:
        left = _rebuilt(net, budget) if net.spec.get("forms") else _Left(net, budget)

    def left_without(count: int) -> int:
        return left(groups.expanded(net, plan(scores, 0, removals=count, round_to=budget.round_to)))

    whole = left_without(0)

    def enough(count: int) -> bool:
        return left_without(count) <= (1 - ratio) * whole

    return bisect.bisect_left(range(channels), True, key=enough)


def _channels(kept: Mapping[str, Tensor]) -> int:
    return sum(map(len, kept.values()))


def _rebuilt(net: Network, budget: Budget) -> Callable[[Mapping[str, Tensor]], int]:
    """What is left of a network with forms, whose ranks surgery clips to what channels leave room for."""

    def left(kept: Mapping[str, Tensor]) -> int:
        channels = net.spec["channels"] | {site: len(index) for site, index in kept.items()}
        return cost.of_spec(net.spec | {"channels": channels}, budget.of, budget.image)

    return left


class _Left:
    """Parameters or multiply-accumulates of the network that surgery makes of `net`, without making it."""

    def __init__(self, net: Network, budget: Budget):
        self.net = net
        self.shapes = {name: tuple(parameter.shape) for name, parameter in net.named_parameters()}
        self.uses = dict.fromkeys(
            self.shapes, 1
        )  # of each element: in storage once, in a forward pass at every position
        if budget.of == "macs":
            macs = cost.layers(net, budget.image)
            self.shapes = {name: shape for name, shape in self.shapes.items() if name.removesuffix(".weight") in macs}
            self.uses = {
                name: macs[name.removesuffix(".weight")] // math.prod(shape) for name, shape in self.shapes.items()
            }

    def __call__(self, kept: Mapping[str, Tensor]) -> int:
        rows, columns = cuts(self.net, kept)
        count = 0
        for name, whole in self.shapes.items():
            module, _, leaf = name.rpartition(".")
            shape = [*whole]
            if module in rows:
                shape[0] = len(rows[module])
            if module in columns and leaf == "weight":
                shape[1] = len(columns[module])
            count += math.prod(shape) * self.uses[name]
        return count
