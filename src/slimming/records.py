"""Records: one JSON file beside each checkpoint that says what was asked, what was measured, and with what.

A record is the ledger's source and the answer to "where does this number come from". Its keys:

    schema      version of this layout
    study       name of the study
    stage       one of STAGES
    ratio       share of prunable channels asked to be removed (0 for "trained")
    run         the settings of the run (study.Run), enough to repeat it
    measured    measure.measure()'s figures (accuracies are fractions of the test set), ratio_reached, and
                accuracy_best, that of the best epoch (null where there were no epochs)
    history     per-epoch lists: loss, accuracy, test_loss, test_accuracy, lr (empty where there were no epochs)
    layers      one entry per prunable site: site, channels, kept, floored
    factors     histogram of |scaling factor|: log10 edges and counts (stage "trained" only)
    training    epochs, seconds, images_per_second (absent where there were no epochs)
    data        sha256 of the prepared data that the training saw (absent where there were no epochs)
    warnings    what the user should know, one line each
    checkpoint  path and sha256 of the file the figures belong to
    parent      sha256 of the checkpoint it was made from (null for "trained")
    provenance  command, commit, versions, machine, device, threads, started (UTC)

The stages of a run, and what each leaves:

  * trained, the dense network
  * pruned, the same without the channels that a ratio removes
  * compensated, with the same channels removed and their constants folded into the biases of what reads them
  * recalibrated, with the same channels removed and the statistics of BatchNorm layers taken anew
  * finetuned, the pruned network trained again without a penalty
  * scratch, the pruned network's shape with fresh weights, trained without a penalty for the epochs of the training
  * scratch-compute, the same for more epochs, so that it costs as much compute as the training
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from slimming import tensorfile
from slimming.errors import InputError

SCHEMA = 1
STAGES = ("trained", "pruned", "compensated", "recalibrated", "finetuned", "scratch", "scratch-compute")
VARIANTS = {"compensated": "compensate", "recalibrated": "recalibrate"}  # of pruning, by the key that asks for them
UNTRAINED = ("pruned", *VARIANTS)  # these have no epochs
PARENTS = dict.fromkeys(UNTRAINED, "trained")  # what a stage's network is made from
PARENTS |= dict.fromkeys(("finetuned", "scratch", "scratch-compute"), "pruned")
BUDGETS = {"epochs": "scratch", "compute": "scratch-compute"}  # what training from scratch has as much of
PACKAGES = ("slimming", "torch", "numpy", "safetensors")


def stem(stage: str, ratio: float = 0.0) -> str:
    """Name, without suffix, of a stage's checkpoint and record: "trained", "pruned-0.5", "finetuned-0.5"."""
    return stage if stage == "trained" else f"{stage}-{ratio:g}"


def write(path: str | os.PathLike, record: Mapping) -> None:
    """Write a record as sorted, indented JSON, whole or not at all."""
    tensorfile.write_text(path, json.dumps(record, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read(path: str | os.PathLike) -> dict:
    """A record; InputError if the file is missing, not JSON, or of another schema."""
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable record ({error}); make it again") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise InputError(f"{path}: not a record of schema {SCHEMA}; make it again with this version")
    return record


def provenance(device: str, threads: int) -> dict:
    """What made the figures: command, commit, versions and machine."""
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "commit": _commit(),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "device": device,
        "threads": threads,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


@functools.cache
def _commit() -> str:
    """The commit of the tree this package runs from; "+" marks changes not committed; "" outside git."""
    here = Path(__file__).parent
    git = ["git", "-C", str(here)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--", str(here)], capture_output=True, text=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head + ("+" if changed.strip() else "")
