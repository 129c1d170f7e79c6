"""What came out of a study in a few lines, for the end of a run: mean accuracies, and how often each verdict.

The tables have every ratio and stage. Here stands one ratio, the largest at which networks were fine-tuned, or of all.
"""

from __future__ import annotations

import os
from pathlib import Path

from slimming import ledger
from slimming.naming import counted
from slimming.reporting import style, verdicts

COLUMNS = {"trained": "trained", "pruned": "pruned", "finetuned": "fine-tuned"}  # stages and what they are called
ROW = ["dataset", "network", "method"]


def text(ledger_dir: str | os.PathLike) -> str:
    """The lines on the ledger and claims.csv in the folder `ledger_dir`; InputError for a faulty one."""
    measured = ledger.read(Path(ledger_dir, "ledger.csv"))
    measured = measured[measured["stage"].isin(COLUMNS)]
    last = next(stage for stage in reversed(COLUMNS) if stage in set(measured["stage"]))
    ratio = measured.loc[measured["stage"] == last, "ratio"].max()
    shown = measured[(measured["stage"] == "trained") | (measured["ratio"] == ratio)]
    means = 100 * shown.pivot_table("accuracy", ROW, "stage")
    means = means[[stage for stage in COLUMNS if stage in means]].rename(columns=COLUMNS).rename_axis(columns=None)
    means = means.loc[sorted(means.index, key=lambda row: (*row[:2], style.order(row[2])))]
    removed = f", {100 * ratio:g} % removed" if last != "trained" else ""
    lines = [
        f"test accuracy in %, mean of {counted(measured['seed'].nunique(), 'seed')}{removed}:",
        means.reset_index().to_string(index=False, float_format="%.1f"),
    ]
    if judged := verdicts.read(Path(ledger_dir, "claims.csv")):
        tally = verdicts.tally(judged).items()
        lines.append(f"claims: {', '.join(f'{number} {verdict}' for verdict, number in tally)}")
    return "\n".join([*lines, *ledger.told(ledger.missing(ledger_dir))])
