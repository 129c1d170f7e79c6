# What the rules share: the study, where its products lie, and which package files a job depends on.
import ast
import functools
import gc
import hashlib
import re
import shutil
import sys
from pathlib import Path

from slimming import methods, networks, records as record_files, study as studies
from slimming.errors import InputError
from slimming.schema import TABLES as LEDGER_TABLES

# Snakemake keeps nearly all that it makes while planning: collecting rarely takes a fifth off `snakemake -n`.
gc.set_threshold(100_000, 50, 1000)

try:
    STUDY = studies.parse(config, "configuration")
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

# A run's settings reach its job on the command line, and records carry them on: these files decide no number.
CARRIERS = {"cli.py", "errors.py", "records.py", "study.py"}


@functools.cache
def closure(*modules, templates=()):
    """The package files that `modules` ("stages.train") import, directly or not, each with a digest of its content.

    `templates` are names of files in reporting/templates/, for modules that fill them in.

    Rules take them as `params.code`, not as input files: a checkout's times say nothing, and where only the ledger was
    cloned, newer source files would make Snakemake train everything that the ledger once came from.
    """
    package = Path("src/slimming")
    filled = {package / "reporting/templates" / name for name in templates}
    todo, found = [package / name.replace(".", "/") for name in modules], set()
    while todo:
        path = todo.pop()
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if file in found or not file.is_file() or file.name in CARRIERS:
            continue
        found.add(file)
        todo += imports(file)
    return [digest(file) for file in sorted(found - {package / "__init__.py"} | filled)]


@functools.cache
def imports(file):
    """The modules and names of the package that `file` imports, anywhere, as paths without suffix."""
    imported = []
    for node in ast.walk(ast.parse(file.read_text())):
        if (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").partition(".")[0] == "slimming"
        ):
            parent = Path("src", *node.module.split("."))
            imported += [parent, *(parent / alias.name for alias in node.names)]
    return imported


@functools.cache
def digest(file):
    return f"{file} {hashlib.sha256(file.read_bytes()).hexdigest()[:16]}"


def code(stage):
    """For a rule's `params.code`: what the stage imports, and the modules of the run's network and method."""

    return lambda wildcards: closure(f"stages.{stage}", *KINDS[wildcards.run])


def kind(run):
    """The modules of a run's network and method."""
    family, _ = networks.parse(run.architecture["name"])
    method = type(methods.get(**run.method)).__module__.removeprefix("slimming.")
    return f"networks.{family}", method


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


KINDS = {slug: kind(run) for slug, run in RUNS.items()}
STEPS = [products(*step) for step in STUDY.steps()]


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
