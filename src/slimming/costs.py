"""What a run will cost before it runs: memory, time and storage, from its settings and from measured speeds.

Estimates, made to be a little high: they size requests to a batch system (workflow/rules) and plans (planning.py).
Exact figures of a network are measure's. Imports no torch: the Snakefile reads this at every call.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from slimming import datasets, methods, networks
from slimming.stages.table import UNTRAINED
from slimming.study import Run, Study

LONGEST = 24 * 60  # minutes that nearly every cluster grants; a longer training goes on in the next job
RESNET50 = 25.6e6, 4.1e9  # parameters, and MACs of an image of 224 pixels
SPEEDS = Path(__file__).with_name("speeds.csv")


class Speed(NamedTuple):
    """Training speed of a network on a device, measured."""

    device: str  # "cpu" or "cuda"
    network: str  # architecture
    macs: float  # of its forward pass on one image
    images_per_second: float


def size(run: Run) -> tuple[float, float]:
    """Parameters, and MACs for one image, of the run's dense network.

    Numbers of channels count squared: the width, and those that are options of the family. Of somebody else's network
    nothing is known before it is built: it counts as a ResNet-50.
    """
    name = run.architecture["name"]
    if networks.is_foreign(name):
        pixels = run.image_size or datasets.get(run.dataset).image_size
        return RESNET50[0], RESNET50[1] * (pixels / 224) ** 2
    family, depth = networks.parse(name)
    known = networks.families()[family]
    parameters, macs = known.sizes.get(depth) or (_through(known.sizes, depth) if known.sizes else _counted(name))
    defaults = {"width": 1, **known.options}
    for option, value in run.architecture.items():
        if option != "name" and not isinstance(value, str):
            scale = (value / defaults[option]) ** 2
            parameters, macs = parameters * scale, macs * scale
    pixels = run.image_size or datasets.get(run.dataset).image_size
    return parameters, macs * (pixels / 32) ** 2


def _through(known: Mapping[int, tuple[int, int]], depth: int) -> tuple[float, ...]:
    """The polynomial through `known`, at `depth` (Lagrange)."""
    weights = {here: math.prod((depth - there) / (here - there) for there in known if there != here) for here in known}
    return tuple(sum(weights[here] * known[here][part] for here in known) for part in (0, 1))


@cache
def _counted(name: str) -> tuple[int, int]:
    """Parameters and MACs of a network whose family does not say them: counted, which loads torch."""
    from slimming.measuring import cost

    found = cost.count(networks.build(name), (3, 32, 32))
    return found["parameters"], found["macs"]


@cache
def shipped() -> tuple[Speed, ...]:
    """The speeds that come with the package; the file says how and where they were measured."""
    lines = [line for line in SPEEDS.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return tuple(
        Speed(row["device"], row["network"], float(row["macs"]), float(row["images_per_second"]))
        for row in csv.DictReader(lines)
    )


def images_per_second(run: Run, device: str, speeds: Iterable[Speed]) -> float | None:
    """Training speed of the run's dense network, from the most similar network measured on `device`; None if none was.

    Similar is the same architecture, then the same family, then the nearest number of MACs. A smaller network is not
    taken to be faster than the one measured, as its steps may be dominated by launching operations.
    """
    _, macs = size(run)
    name = run.architecture["name"]
    family = None if networks.is_foreign(name) else networks.parse(name)[0]

    def distance(speed: Speed) -> tuple[bool, bool, float]:
        other = None if networks.is_foreign(speed.network) else networks.parse(speed.network)[0]
        return speed.network != name, other is None or other != family, abs(math.log(speed.macs / macs))

    measured = [speed for speed in speeds if speed.device == device]
    if not measured:
        return None
    near = min(measured, key=distance)
    return near.images_per_second * min(1.0, near.macs / macs)


def training_seconds(run: Run, epochs: float, device: str, speeds: Iterable[Speed]) -> float | None:
    """Seconds of a training of the run's dense network; an upper bound for its pruned ones. None as above."""
    speed = images_per_second(run, device, speeds)
    return None if speed is None else epochs * sum(datasets.get(run.dataset).images) / speed


def minutes(run: Run, epochs: float, attempt: int = 1) -> int:
    """Run time to ask for: twice the estimate and ten minutes more, as many times as the attempt, LONGEST at most.

    The estimate is for a CPU where no speed of a GPU is known, which is too long rather than too short.
    """
    estimates = (training_seconds(run, epochs, device, shipped()) for device in (run.device, "cpu"))
    seconds = next(estimate for estimate in estimates if estimate is not None)
    return min(LONGEST, attempt * (10 + math.ceil(2 * seconds / 60)))


def pruning_minutes(run: Run, ratios: int, attempt: int = 1) -> int:
    """Run time to ask for to prune at so many ratios: fifty minutes, and what the method's data passes take."""
    method = methods.get(**run.method)
    passes = ratios * (method.passes + method.trainings * run.schedule.epochs)
    return min(LONGEST, 50 * attempt + minutes(run, passes, attempt))


def memory(run: Run, attempt: int = 1) -> int:
    """Megabytes of memory to ask for, as many times as the attempt.

    One and a half gigabytes for Python, torch and a GPU's driver; the images as stored; twenty bytes a parameter for
    weights, gradients, momentum and the copies that are saved; and the activations of a batch, at most 0.1 bytes per
    MAC and image (measured on all three families in training, with batches of 64, and in evaluation).
    """
    parameters, macs = size(run)
    source = datasets.get(run.dataset)
    images = sum(source.images) * source.channels * (run.image_size or source.image_size) ** 2
    activations = 0.1 * macs * max(run.schedule.batch_size, 64)
    return attempt * 500 * math.ceil((1.5e9 + images + 20 * parameters + activations) / 500e6)


def storage(study: Study, run: Run) -> tuple[float, float]:
    """Bytes that the run's checkpoints take, and those that the states of its trainings take until its ledger is made.

    A pruned network is counted with the share of parameters that equals its share of channels: it has fewer.
    """
    parameters, _ = size(run)
    kept = {step: 4 * parameters * (1 - step[1]) for step in study.steps()}
    trained = (stored for (stage, _), stored in kept.items() if stage not in UNTRAINED)
    return sum(kept.values()), 2 * sum(trained)
