"""What a study will take on a profile before any of it runs: jobs, hours, storage, money; and afterwards what it took.

Estimates are costs'; here they are added up over a study. Not for asking a batch system for anything: rules do that.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

from slimming import costs, datasets, methods, records
from slimming.costs import Speed
from slimming.errors import InputError
from slimming.naming import counted
from slimming.stages import table
from slimming.study import Run, Study

START = 15.0  # seconds in which a job starts Python, torch and Snakemake, measured on Slurm with two cores
ASKING = 64.0  # megabytes: a command that a warm process runs is not seen by Snakemake, only who asks for it


class Profile(NamedTuple):
    """What of a Snakemake profile decides a plan: jobs at once, and how many of a rule are sent as one."""

    name: str
    at_once: int | None
    grouped: Mapping[str, int]


class Line(NamedTuple):
    """One rule of a plan: its jobs, how many are sent, their hours together and the longest, and hours of GPUs."""

    rule: str
    jobs: int
    sent: int
    hours: float
    longest: float
    gpu_hours: float


class Used(NamedTuple):
    """What the finished jobs of a rule took: hours together, and the most memory of one, in megabytes."""

    jobs: int
    hours: float
    memory: float


def profile(directory: str | os.PathLike) -> Profile:
    """The profile in a folder's config.yaml. InputError if there is none that can be read."""
    path = Path(directory, "config.yaml")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not a readable profile ({' '.join(str(error).split())})") from error
    groups, components = (_pairs(content.get(key)) for key in ("groups", "group-components"))
    grouped = {rule: int(components.get(group, 1)) for rule, group in groups.items()}
    # Where jobs run on this machine, those that share its GPUs are limited by their number.
    shared = _pairs(content.get("resources")).get("gpu") if "executor" not in content else None
    at_once = shared or content.get("jobs", content.get("cores"))
    return Profile(Path(directory).name, int(at_once) if str(at_once).isdecimal() else None, grouped)


def _pairs(given: object) -> dict[str, str]:
    """Snakemake's "key=value" lists, or a mapping."""
    if isinstance(given, Mapping):
        return {str(key): str(value) for key, value in given.items()}
    return dict(item.split("=", 1) for item in given or ())


def speeds(paths: Iterable[str | os.PathLike]) -> list[Speed]:
    """Training speeds in the records at `paths`, of dense networks."""
    found = [records.read(path) for path in paths]
    return [
        Speed(
            record["provenance"]["device"].partition(":")[0],
            record["run"]["architecture"]["name"],
            record["measured"]["macs"],
            record["training"]["images_per_second"],
        )
        for record in found
        if record["stage"] == "trained" and "missing" not in record
    ]


def plan(study: Study, asked: Profile, known: Iterable[Speed]) -> tuple[list[Line], bool]:
    """A line for each rule, and whether a speed on the study's device is known.

    Where none is, the hours are those of a CPU: an upper bound.
    """
    known = list(known)
    measured = study.device in {speed.device for speed in known}
    counts = Counter(stage for stage, _ in study.steps())
    seconds: dict[str, list[float]] = {rule: [] for rule in (*table.RULES, "measure")}

    def training(run: Run, epochs: float) -> float:
        return costs.training_seconds(run, epochs, study.device if measured else "cpu", known) or 0.0

    shared = study.shared()
    for run in study.runs():
        # Every network is tested once more when it is measured, as a training is in every epoch.
        images = datasets.get(run.dataset).images
        tested = images[1] / sum(images)
        seconds["measure"].append(START + training(run, 1) * tested * len(study.steps()))
        for rule in table.RULES:
            trained = [stage for stage in table.made_by(rule) if stage.trains]
            for stage in trained:
                taken = run.slug in shared and not stage.parent  # from another run
                took = 0.0 if taken else training(run, study.epochs(stage, run))
                seconds[rule] += [START + took] * counts[stage.name]
            if not trained:  # one job for all ratios
                passes = len(study.ratios) * methods.get(**run.method).passes
                seconds[rule].append(START + training(run, passes))
    gpus = int(study.device == "cuda")
    lines = [
        Line(
            rule,
            len(each),
            -(-len(each) // asked.grouped.get(rule, 1)),
            sum(each) / 3600,
            max(each) / 3600,
            sum(each) / 3600 * gpus,
        )
        for rule, each in seconds.items()
        if each
    ]
    return lines, measured


def used(study: Study, results: Path, logs: Path) -> dict[str, Used]:
    """What each rule took so far: trainings as their drafts say, over all attempts, the rest as Snakemake timed it."""
    found = {}
    for rule in (*table.RULES, "measure"):
        timed = list(_benchmarks(logs / rule))
        hours = [float(row["s"]) / 3600 for row in timed]
        trained = {stage.name for stage in table.STAGES.values() if stage.rule == rule and stage.trains}
        if trained:
            stems = [table.stem(*step) for step in study.steps() if step[0] in trained]
            paths = [results / "checkpoints" / run.slug / f"{stem}.json" for run in study.runs() for stem in stems]
            drafts = [records.read(path) for path in paths if path.exists()]
            hours = [draft["training"]["seconds"] / 3600 for draft in drafts if "training" in draft]
        memory = [float(row["max_rss"]) for row in timed if row.get("max_rss") not in (None, "-", "NA")]
        memory = [most for most in memory if most > ASKING]
        if hours:
            found[rule] = Used(len(hours), sum(hours), max(memory, default=0.0))
    return found


def _benchmarks(folder: Path) -> Iterator[dict[str, str]]:
    for path in sorted(folder.rglob("*.tsv")):
        with path.open(encoding="utf-8", newline="") as stream:
            yield from csv.DictReader(stream, delimiter="\t")


def report(study: Study, asked: Profile, known: Iterable[Speed], spent: Mapping[str, Used], price: float | None) -> str:
    """The plan as text, with what was used beside it where something was."""
    lines, measured = plan(study, asked, known)
    runs = study.runs()
    stored, states = (sum(part) for part in zip(*(costs.storage(study, run) for run in runs), strict=True))
    gpu_hours, hours = sum(line.gpu_hours for line in lines), sum(line.hours for line in lines)
    text = [f"{study.name} on {asked.name}: {counted(len(runs), 'run')}", ""]
    text += [f"{'':10}{'jobs':>8}{'sent':>8}{'hours':>11}{'longest':>11}{'GPU-hours':>11}{'memory':>11}"]
    for line in lines:
        memory = max(costs.memory(run) for run in runs)
        text.append(
            f"{line.rule:10}{line.jobs:8}{line.sent:8}{line.hours:11.2f}{line.longest:11.2f}{line.gpu_hours:11.2f}"
            f"{memory:8} MB"
        )
        if line.rule in spent:
            took = spent[line.rule]
            gpu_hours_used = took.hours if study.device == "cuda" else 0.0
            text.append(
                f"{'  used':10}{took.jobs:8}{'':8}{took.hours:11.2f}{'':11}{gpu_hours_used:11.2f}{took.memory:8.0f} MB"
            )
    text += ["", f"checkpoints   {stored / 1e9:10.2f} GB, and {states / 1e9:.2f} GB of states until the ledger is made"]
    if asked.at_once:
        least = max(hours / asked.at_once, *(line.longest for line in lines))
        text += [f"at least      {least:10.2f} hours, with {counted(asked.at_once, 'job')} at once"]
    if price is not None:
        most = "" if measured else ", at most"
        text += [f"cost          {price * gpu_hours:10.2f}, at {price:g} per GPU-hour{most}"]
    if not measured:
        text += [
            f"No training speed on {study.device} is known: hours are those of a CPU, an upper bound. Train one short "
            "run there and name its records with --records."
        ]
    return "\n".join(text)
