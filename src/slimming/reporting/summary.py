"""Mean, sample standard deviation, range and number over seeds: what tables, figures and macros print.

Values keep the ledger's units: accuracies are fractions. Not for intervals and tests: results are described.
"""

from __future__ import annotations

import pandas as pd

from slimming.errors import unknown
from slimming.reporting import style
from slimming.schema import KEY
from slimming.stages import table

# Accuracy after the last epoch, or after the best on the test set, which the paper reports.
PROTOCOLS = {"last": "accuracy", "paper": "accuracy_best"}
BASELINE = "none"  # training without a penalty
REFERENCE = "l1"  # network slimming as first proposed, which the paper's claims are about
MEASURES = (
    "accuracy",
    "accuracy_top5",
    "difference",
    "gain",
    "parameters",
    "nonzero",
    "macs",
    "compression_ratio",
    "speedup",
    "bytes",
    "latency_ms",
)
COUNTED = {"macs": "operations"}  # in words, where they are other than the ledger's
CELL = [column for column in KEY if column != "seed"]


def counted(ledger: pd.DataFrame) -> str:
    """What a ratio is a share of: "channels", "operations", "channels and operations"."""
    return " and ".join(COUNTED.get(of, of) for of in ledger["ratio_of"].dropna().unique()) or "channels"


def summarise(ledger: pd.DataFrame, protocol: str = "last") -> pd.DataFrame:
    """`mean`, `sd`, `low`, `high` and `n` over seeds of every measure of every (data set, ..., ratio, stage).

    The measure "difference" is the accuracy minus that of REFERENCE at the same seed, "gain" the accuracy of a
    variant of pruning minus that of the pruned network at the same seed. A measure that no seed has is left out; the
    standard deviation of one seed is NaN. Rows are in the order in which they are shown.
    """
    if protocol not in PROTOCOLS:
        raise unknown("protocol", protocol, PROTOCOLS)
    frame = ledger.copy()
    # Right after pruning there is no epoch to choose, so there is one accuracy.
    frame["accuracy"] = frame[PROTOCOLS[protocol]].fillna(frame["accuracy"])
    frame["difference"] = _minus(frame, "method", REFERENCE)
    frame["gain"] = _minus(frame, "stage", "pruned").where(frame["stage"].isin(table.VARIANTS))
    tidy = frame.melt(CELL, MEASURES, "measure").dropna(subset="value")
    cells = tidy.groupby([*CELL, "measure"], as_index=False)["value"].agg(
        mean="mean", sd="std", low="min", high="max", n="count"
    )
    return _in_order(cells)


def with_missing(cells: pd.DataFrame, forgone: pd.DataFrame) -> pd.DataFrame:
    """Cells of `summarise`, and those without a seed, of which `missing` says what `forgone` (ledger.missing) does."""
    if forgone.empty:
        return cells
    seeds = "seed " + forgone["seed"].astype(str) + ": " + forgone["reason"]
    said = forgone.assign(missing=seeds).groupby(CELL, as_index=False)["missing"].agg("; ".join)
    lost = said.merge(cells[["stage", "measure"]].drop_duplicates(), on="stage")
    merged = cells.merge(lost, "outer", on=[*CELL, "measure"])
    return _in_order(merged.fillna({"n": 0, "missing": ""}).astype({"n": int}))


def _minus(frame: pd.DataFrame, column: str, reference: str) -> pd.Series:
    """Accuracy minus that of the row with `reference` in `column` and the same key otherwise, whose own is missing."""
    others = [name for name in KEY if name != column]
    base = frame[frame[column] == reference].set_index(others)["accuracy"].rename("base")
    difference = frame["accuracy"] - frame.join(base, on=others)["base"]
    return difference.mask(frame[column] == reference)


def _in_order(cells: pd.DataFrame) -> pd.DataFrame:
    return cells.sort_values([*CELL, "measure"], key=_shown_order, kind="stable", ignore_index=True)


def _shown_order(column: pd.Series) -> pd.Series:
    return column.map(style.order) if column.name == "method" else column
