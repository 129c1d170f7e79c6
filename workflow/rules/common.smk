# What the rules share: the study, where its products lie, and which package files a job depends on.
import gc
import os
import re
import shutil
import sys
import time
from datetime import timedelta
from functools import partial
from pathlib import Path

from slimming import (
    analyses,
    costs,
    datasets,
    ledger as ledgers,
    networks,
    study as studies,
    tensorfile,
    warm,
    yamlfile,
)
from slimming.code import closure, kind, of_network
from slimming.errors import InputError, unknown
from slimming.schema import COMPANIONS, TABLES as LEDGER_TABLES
from slimming.stages.table import STAGES, made_by, stem
from slimming.store import provenance

# Snakemake keeps nearly all that it makes while planning: collecting rarely takes a fifth off `snakemake -n`.
gc.set_threshold(100_000, 50, 1000)
STARTED = time.monotonic()

if not workflow.configfiles and "datasets" not in config:
    sys.exit(
        f"slimming: error: --config name={config['name']} says no study; give its file, --configfile config/<study>.yaml"
    )
try:
    for path in workflow.configfiles:  # Snakemake reads them less strictly
        yamlfile.read(path)
    STUDY = studies.parse(config, "configuration")
    # Now, because Snakemake deletes an output before its job could refuse.
    ledgers.guard(STUDY.name, f"results/{STUDY.name}")
    JOBS = f"results/{STUDY.name}/jobs.json"
    REAFFIRMED = provenance.known(JOBS).words()
    papers = [
        path.stem for path in Path(workflow.basedir, "config/claims").glob("*.yaml")
    ]
    for paper in STUDY.claims:
        if paper not in papers:
            raise unknown("paper in claims", paper, papers)
except InputError as error:
    sys.exit(f"slimming: error: {error}")

RUNS = {run.slug: run for run in STUDY.runs()}
SHARED = STUDY.shared()
RESULTS = f"results/{STUDY.name}"
CHECKPOINTS = f"{RESULTS}/checkpoints"
RECORDS = f"{RESULTS}/records"
LOGS = f"logs/{STUDY.name}"
FIGURES = f"figures/{STUDY.name}"
ADOPTED = any(networks.is_foreign(run.architecture["name"]) for run in RUNS.values())
BUILD = " {params.build:q}" if ADOPTED else ""
GPU = int(STUDY.device == "cuda")  # of a job that computes with a network
LATEXMK = shutil.which("latexmk")


def own(path):
    """A file of the project as it is seen from the working directory, which may lie elsewhere (`--directory`)."""
    return os.path.relpath(Path(workflow.basedir, path))


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
    """What stopped trainings would go on from: pairs of the state, and the checkpoint and draft it is to end in."""
    for state in Path(CHECKPOINTS).rglob("*.resume"):
        yield state, tuple(
            str(state.with_suffix(suffix)) for suffix in (".safetensors", ".json")
        )


def forget_states():
    """Remove the states of trainings that have finished."""
    for state, made in list(states()):
        if all(map(os.path.exists, made)):
            state.unlink()


def prepared(run):
    """The prepared data set of a run."""
    size = f"-{run.image_size}" if run.image_size else ""
    return f"data/prepared/{run.dataset}{size}.safetensors"


def made(stage, ratio=0.0):
    """What a stage makes, with the wildcard {run}: a checkpoint, and the draft of its record."""
    path = f"{CHECKPOINTS}/{{run}}/{stem(stage, ratio)}"
    return {"checkpoint": f"{path}.safetensors", "draft": f"{path}.json"}


def shared(what):
    """The checkpoint or draft of the network that a run need not train, if there is one."""
    return lambda wildcards: [
        made("trained")[what].format(run=run.slug)
        for run in [SHARED.get(wildcards.run)]
        if run
    ]


def building():
    """For a rule's `params`, where a network is somebody else's: the function that may build it, by name."""
    name = lambda wildcards: RUNS[wildcards.run].architecture["name"]
    said = lambda wildcards: (
        ["--build", name(wildcards)] if networks.is_foreign(name(wildcards)) else []
    )
    return {"build": said} if ADOPTED else {}


def weights():
    """The inputs of a training that starts from somebody else's weights."""
    return (
        {
            "weights": lambda wildcards: RUNS[wildcards.run].architecture.get(
                "state_dict", []
            )
        }
        if ADOPTED
        else {}
    )


def forgoing(command):
    """The command of a job that leaves placeholders of its outputs where it fails, if the study allows that."""
    return (
        f"{command} || slimming forgo $? {{output}} --log {{log}}"
        if STUDY.allow_missing
        else command
    )


KINDS = {slug: kind(run) for slug, run in RUNS.items()}
MADE = [made(*step) for step in STUDY.steps()]
RECORDED = [
    {"record": f"{RECORDS}/{{run}}/{stem(*step)}.json"} for step in STUDY.steps()
]


def every(steps, runs=RUNS):
    """The files of these steps (of MADE or RECORDED) in these runs."""
    return [
        path.format(run=run) for run in runs for step in steps for path in step.values()
    ]


def either(names):
    return f"({'|'.join(map(re.escape, names))})"


def say_what_came_out():
    """The end of a run: the result itself, the time that the run took, and where its files lie."""
    if os.path.exists(LEDGER["ledger"]):
        # The import costs a second, which only the end of a run has.
        from slimming.reporting import outcome

        print(f"\n{STUDY.name}: {outcome.text(RESULTS)}\n")
    places = {
        "page": f"{RESULTS}/report.html",
        "paper": PAPER,
        "ledger": LEDGER["ledger"],
        "tables": f"{RESULTS}/tables",
        "figures": FIGURES,
    }
    for what, place in places.items():
        if os.path.exists(place):
            print(f"{what:8}{place}")
    if not LATEXMK:
        print(
            "no paper typeset: latexmk was not found; install TeX (see README) and run the same command again"
        )
    print(f"took {timedelta(seconds=round(time.monotonic() - STARTED))}")


wildcard_constraints:
    # Part by part: Snakemake goes through the text of a constraint at every use, and there may be thousands of runs.
    run="/".join(
        [
            either(STUDY.datasets),
            either(STUDY.networks),
            either(dict.fromkeys(run.method_slug for run in RUNS.values())),
            f"seed{either(sorted({str(run.seed) for run in RUNS.values()}))}",
        ]
    ),
    ratio="|".join(f"{ratio:g}" for ratio in STUDY.ratios),
