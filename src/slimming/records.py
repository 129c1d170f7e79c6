"""Records: one JSON file for each checkpoint that says what was asked, what was measured, and with what.

A record is the ledger's source and the answer to "where does this number come from". The stage that makes a checkpoint
leaves its draft, all but "measured" and "factors", beside the checkpoint; the stage `measure` adds these. Its keys:

    schema      version of this layout
    study       name of the study
    stage       one of stages.table
    ratio       share of prunable channels asked to be removed (0 for "trained")
    run         the settings of the run (study.Run), enough to repeat it
    measured    stages.measure's figures (accuracies are fractions of the test set), ratio_reached (the share
                of channels that is gone), reached (that of every count), compression_ratio and speedup (parameters and
                multiply-accumulates of the dense network by those that are not zero), readers (by site, how the layer
                that reads it is written: form, rank, kernels, kernels_nonzero), accuracy_best, that of the best epoch
                (null where there were no epochs), and the provenance of measuring
    history     per-epoch lists: loss, accuracy, test_loss, test_accuracy, lr (empty where there were no epochs)
    layers      one entry per prunable site: site, channels, kept, floored
    factors     histogram of |scaling factor|: log10 edges and counts (stage "trained" only)
    compression what the ratio is a share of (ratio_of), round_to, and the seconds and data passes that planning took
                (of what prune makes)
    training    epochs, seconds, images_per_second (absent where there were no epochs)
    data        sha256 of the prepared data that the training saw (absent where there were no epochs)
    warnings    what the user should know, one line each
    checkpoint  path and sha256 of the file the figures belong to
    parent      sha256 of the checkpoint it was made from (null for "trained", unless another run trained the network)
    provenance  command, commit, code, versions, machine, device, threads, started (UTC), as of origin

Of a network that was not made, where the study allows that, "missing" says why, and nothing but schema, study, stage,
ratio, and data set, network, method and seed of the run stands beside it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from slimming import tensorfile
from slimming.errors import InputError

SCHEMA = 1


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
