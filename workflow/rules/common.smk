# What the rules share: the study, where its products lie, and which package files a job depends on.
import gc
import os
import re
import shutil
import sys
from pathlib import Path

from slimming import costs, ledger as ledgers, records as record_files, study as studies
from slimming.code import closure, kind
from slimming.errors import InputError
from slimming.schema import TABLES as LEDGER_TABLES

# Snakemake keeps nearly all that it makes while planning: collecting rarely takes a fifth off `snakemake -n`.
gc.set_threshold(100_000, 50, 1000)

try:
    STUDY = studies.parse(config, "configuration")
    # Now, because Snakemake deletes an output before its job could refuse.
    ledgers.guard(STUDY.name, f"results/{STUDY.name}")
except InputError as error:
    sys.exit(f"slimming: error: {error}")

RUNS = {run.slug: run for run in STUDY.runs()}
RESULTS = f"results/{STUDY.name}"
CHECKPOINTS = f"{RESULTS}/checkpoints"
RECORDS = f"{RESULTS}/records"
LOGS = f"logs/{STUDY.name}"
FIGURES = f"figures/{STUDY.name}"
GPU = int(STUDY.device == "cuda")  # of a job that computes with a network
LATEXMK = shutil.which("latexmk")


def code(stage):
    """For a rule's `params.code`: the package files that decide a stage's numbers, each with a digest of its content.

    They are no input files: a checkout's times say nothing, and where only the ledger was cloned, newer source files
    would make Snakemake train everything that the ledger once came from.
    """

    return lambda wildcards: closure(f"stages.{stage}", *KINDS[wildcards.run])


def memory(wildcards, attempt):
    """For a rule's `mem_mb`: by the run's network and data set, more after a failure."""
    return costs.memory(RUNS[wildcards.run], attempt)


def training_minutes(epochs=None):
    """For a training's `runtime`: by the run's network, data set and epochs, more after a failure."""

    def runtime(wildcards, attempt):
        run = RUNS[wildcards.run]
        return costs.minutes(run, epochs or run.schedule.epochs, attempt)

    return runtime


def states():
    """What stopped trainings would go on from: pairs of the state, and the checkpoint and record it is to end in."""
    for state in Path(CHECKPOINTS).rglob("*.resume"):
        record = Path(RECORDS, state.relative_to(CHECKPOINTS)).with_suffix(".json")
        yield state, (str(state.with_suffix(".safetensors")), str(record))


def forget_states():
    """Remove the states of trainings that have finished."""
    for state, made in list(states()):
        if all(map(os.path.exists, made)):
            state.unlink()


def prepared(run):
    """The prepared data set of a run."""
    size = f"-{run.image_size}" if run.image_size else ""
    return f"data/prepared/{run.dataset}{size}.safetensors"


def products(stage, ratio=0.0):
    """Checkpoint and record of a stage, with the wildcard {run}."""
    stem = record_files.stem(stage, ratio)
    return {
        "checkpoint": f"{CHECKPOINTS}/{{run}}/{stem}.safetensors",
        "record": f"{RECORDS}/{{run}}/{stem}.json",
    }


def folders(wildcards, output):
    """For a rule's `params`: where its checkpoints, the first of its outputs, and its records, the last, go.

    Taken from the outputs, since these lie elsewhere where a storage plugin copies them.
    """
    return f"--checkpoints {Path(output[0]).parent} --records {Path(output[-1]).parent}"


KINDS = {slug: kind(run) for slug, run in RUNS.items()}
STEPS = [products(*step) for step in STUDY.steps()]


def every(steps, runs=RUNS):
    """Checkpoints and records of these steps (`products`) in these runs."""
    return [
        path.format(run=run) for run in runs for step in steps for path in step.values()
    ]


def either(names):
    return f"({'|'.join(map(re.escape, names))})"


wildcard_constraints:
    # Part by part: Snakemake goes through the text of a constraint at every use, and there may be thousands of runs.
    run="/".join(
        [
            either(STUDY.datasets),
            either(STUDY.networks),
            either(dict.fromkeys(run.method_slug for run in RUNS.values())),
            f"seed{either(map(str, STUDY.seeds))}",
        ]
    ),
    ratio="|".join(f"{ratio:g}" for ratio in STUDY.ratios),
