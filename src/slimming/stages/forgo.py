"""Stage `forgo`: what a study allows to be missing, because making it failed. The reports are made without it.

Placeholders take the place of the outputs, which say why: what would start from them is forgone in turn, and the ledger
lists them in missing.csv. They are made again when the run's settings or code change, or when they are deleted.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from slimming import records, tensorfile
from slimming.checkpoints import NOT_MADE
from slimming.errors import InputError
from slimming.stages import table

SIGNALS = 128  # exit statuses above it say that a signal ended the process


def forgo(status: int, outputs: Iterable[str | os.PathLike], log: str | os.PathLike) -> int:
    """Write placeholders for the `outputs`, checkpoints and drafts of one run, of a job that ended with `status`.

    The reason is the last line of the job's `log`. A job that a signal ended, as an interrupt or a batch system does,
    is to be tried again: nothing is written, and the status is returned. Otherwise 0 is.
    """
    if status > SIGNALS:
        return status
    reason = _reason(Path(log), status)
    for output in map(Path, outputs):
        record = _place(output) | {"schema": records.SCHEMA, "missing": reason}
        if output.suffix == ".json":
            records.write(output, record)
        else:
            tensorfile.write(output, {}, record)
    print(f"forgone: {output.parent}: {reason}", flush=True)
    return 0


def _reason(log: Path, status: int) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        lines = []
    said = next((line for line in reversed(lines) if line.strip()), f"ended with status {status}")
    return said.rpartition(NOT_MADE)[2].removeprefix("slimming: error: ").strip()


def _place(output: Path) -> dict:
    """What the path of a checkpoint says: .../<study>/checkpoints/<data set>/<network>/<method>/seed<n>/<stem>."""
    stage, ratio = (output.stem, "0") if output.stem in table.STAGES else output.stem.rpartition("-")[::2]
    try:
        study, _, dataset, network, method, seed = output.absolute().parts[-7:-1]
        run = {"dataset": dataset, "network": network, "method_slug": method, "seed": int(seed.removeprefix("seed"))}
        return {"study": study, "stage": table.STAGES[stage].name, "ratio": float(ratio), "run": run}
    except (ValueError, KeyError) as error:
        raise InputError(f"{output}: no path of a study's checkpoint") from error
