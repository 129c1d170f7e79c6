"""Mean accuracies as small JSON files, one for each data set, network and method: what `dvc metrics` compares.

A file's keys are the steps of a run, "trained", "pruned-0.4", "finetuned-0.4"; its values fractions of the test set,
null where no seed was measured.
Not for reading at leisure: tables are.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from slimming import ledger, tensorfile
from slimming.reporting import summary
from slimming.stages.table import stem


def write(ledger_dir: str | os.PathLike, output_dir: str | os.PathLike) -> None:
    """Write <data set>/<network>/<method>.json into `output_dir`, means over seeds. InputError for a faulty ledger."""
    measured = summary.summarise(ledger.read(Path(ledger_dir) / "ledger.csv"))
    cells = summary.with_missing(measured, ledger.missing(ledger_dir))
    accuracy = cells[cells["measure"] == "accuracy"]
    for names, rows in accuracy.groupby(["dataset", "network", "method"]):
        means = {stem(row.stage, row.ratio): row.mean if row.n else None for row in rows.itertuples(name="Row")}
        path = Path(output_dir, *names).with_name(f"{names[-1]}.json")
        tensorfile.write_text(path, json.dumps(means, indent=1, sort_keys=True) + "\n")
