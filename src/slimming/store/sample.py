"""Which jobs of a study stand for all of them: some for every stage, network and method, drawn at random.

Jobs that are drawn for one method on one network belong to the same runs as far as they can, because a fine-tuning that
is computed again needs its training and its pruning anyway.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from typing import NamedTuple

from slimming.store import planned, provenance
from slimming.store.planned import Planned

CARRIED = ("prepare", "ledger")  # what a study's jobs start from and end in, compared along the way


class Job(NamedTuple):
    """A job as it is planned today, and what jobs.json has of it."""

    planned: Planned
    products: dict[str, provenance.Product]
    record: dict

    @property
    def changed(self) -> bool:
        """Whether the code that decides it has another meaning than when it ran."""
        return provenance.digests(self.record) != provenance.digests(self.planned.record)

    @property
    def run(self) -> str | None:
        """The run that it belongs to."""
        return self.planned.wildcards.get("run")

    @property
    def measures(self) -> bool:
        """Whether it measures what the other jobs of its run have made: these are drawn, and measured along the way."""
        return self.planned.rule == "measure"

    @property
    def trains(self) -> bool:
        """Whether it trains a network, and does not take over that of another run."""
        return self.planned.rule == "train" and not any(name.startswith("results/") for name in self.record["input"])

    @property
    def name(self) -> str:
        return " ".join([self.planned.rule, *self.planned.wildcards.values()])

    @property
    def cell(self) -> tuple[str, ...]:
        """Stage, data set, network and method, and last the seed."""
        kind = self.planned.wildcards.get("stage", self.planned.rule)
        return kind, *self.planned.wildcards["run"].split("/")


def stored(config: str | os.PathLike, known: provenance.Provenance) -> tuple[list[Job], int]:
    """The computing jobs of the study that ran with the settings and inputs of today, and how many others there are."""
    made, found, others = known.products(), [], 0
    for job in planned.jobs(config):
        if "run" not in job.wildcards and job.rule not in CARRIED:
            continue
        products = {name: made[name][0] for name in job.outputs if name in made}
        records = [made[name][1] for name in products]
        same = products and all(_settings(record) == _settings(job.record) for record in records)
        if same:
            found.append(Job(job, products, records[0]))
        else:
            others += 1
    return found, others


def draw(jobs: Iterable[Job], count: int, seed: int) -> list[Job]:
    """`count` jobs, or as many as there are, of every stage, data set, network and method."""
    chance = random.Random(seed)
    cells: dict[tuple[str, ...], dict[str, list[Job]]] = {}
    for job in jobs:
        if job.run and not job.measures:
            *cell, run = job.cell
            cells.setdefault(tuple(cell), {}).setdefault(run, []).append(job)
    orders: dict[tuple[str, ...], dict[str, float]] = {}
    drawn = []
    for (_, *rest), runs in cells.items():
        order = orders.setdefault(tuple(rest), {})
        order |= {run: chance.random() for run in runs if run not in order}
        for run in sorted(runs, key=order.__getitem__)[:count]:
            drawn.append(chance.choice(runs[run]))
    return drawn


def _settings(record: dict) -> tuple:
    """What decides a job beside the package's code."""
    digests = repr(provenance.digests(record))
    return record["rule"], sorted(record["input"]), sorted(text for text in record["params"] if text != digests)
