"""Two studies side by side: what differs in how they were made, and in what came out, for who changed something.

Measurements are paired where data set, network, method, seed, ratio and stage agree; a difference is the second study
minus the first. Not for verdicts: many intervals stand side by side and none is adjusted for that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from slimming import ledger, tensorfile
from slimming.claims import statistics
from slimming.errors import InputError, unknown
from slimming.reporting import style, tables
from slimming.schema import KEY
from slimming.stages.table import STAGES

RESULTS = Path("results")
CELL = [column for column in KEY if column != "seed"]
WHERE = ["dataset", "network", "method"]
WITHIN = ("difference", "gain")  # are themselves differences within a study
SHOWN = {name: table for name, table in tables.TABLES.items() if table.measure not in WITHIN}
SAME = "same"
UNITS = dict.fromkeys(
    ("accuracy", "accuracy_top5"), "percentage points"
)  # of differences; all others are in per cent of the first study


def compare(first: str | os.PathLike, second: str | os.PathLike) -> pd.DataFrame:
    """A row for every measure of every cell that both studies have, with `n` seeds in both.

    `first` and `second` are their means, in the ledger's units; `difference` is the mean over seeds of second minus
    first, with a 95 % interval `low` to `high` (statistics.interval), in `unit`. Studies are folders of ledgers, or
    names of folders in results/. InputError for studies that are not there or have no measurement in common.
    """
    ours = [_read(study) for study in (first, second)]
    both = ours[0].merge(ours[1], on=KEY, suffixes=("_first", "_second"))
    if both.empty:
        raise InputError(f"{first} and {second} have no data set, network, method, seed, ratio and stage in common")
    rows = [
        dict(zip(CELL, cell, strict=True)) | {"measure": measure} | _described(part, measure)
        for cell, part in both.groupby(CELL)
        for measure in dict.fromkeys(table.measure for table in SHOWN.values())
        if part[[f"{measure}_first", f"{measure}_second"]].notna().all(axis=None)
    ]
    return pd.DataFrame(rows).sort_values([*CELL, "measure"], key=_shown_order, kind="stable", ignore_index=True)


def write(first: str | os.PathLike, second: str | os.PathLike, output: str | os.PathLike) -> None:
    """Write what `compare` gives as the CSV file `output`."""
    tensorfile.write_text(output, compare(first, second).to_csv(index=False, lineterminator="\n"))


def text(first: str | os.PathLike, second: str | os.PathLike) -> str:
    """The tables of a study as differences, second minus first, after what differs in how the two were made."""
    cells = compare(first, second)
    seeds = sorted(cells["n"].unique())
    parts = [f"{second} minus {first}, paired by seed (n = {', '.join(map(str, seeds))}), with 95 % intervals."]
    if seeds[0] < statistics.FEW:
        parts.append("Seeds are few. With one there is no interval; below five it is Student's, and wide.")
    parts += [*_changed(first, second), *_left_out(first, second)]
    for table in SHOWN.values():
        part = cells[(cells["measure"] == table.measure) & cells["stage"].isin(["trained", table.stage])]
        if (part["stage"] == table.stage).any():
            parts.append(f"{_title(table)}\n{_wide(part)}")
    return "\n\n".join(parts) + "\n"


def folder(study: str | os.PathLike) -> Path:
    """Where a study's ledger lies: `study` itself, or the folder of that name in results/."""
    for place in (Path(study), RESULTS / study):
        if (place / "ledger.csv").is_file():
            return place
    raise unknown("study", str(study), sorted(path.parent.name for path in RESULTS.glob("*/ledger.csv")))


def _read(study: str | os.PathLike) -> pd.DataFrame:
    return ledger.read(folder(study) / "ledger.csv")


def _described(pairs: pd.DataFrame, measure: str) -> dict:
    """Number of seeds, means, and the mean difference with its interval, of one cell."""
    first, second = (pairs[f"{measure}_{which}"].to_numpy(dtype=float) for which in ("first", "second"))
    if measure in UNITS:
        values = 100 * (second - first)
        estimate = np.array([values.mean(), *statistics.interval(values)])
    else:
        values = np.log(second) - np.log(first)
        estimate = 100 * np.expm1([values.mean(), *statistics.interval(values)])
    ends = dict(zip(("difference", "low", "high"), estimate.tolist(), strict=True))
    means = {"first": first.mean(), "second": second.mean()}
    return {"n": len(pairs)} | means | ends | {"unit": UNITS.get(measure, "%")}


def _changed(first: str | os.PathLike, second: str | os.PathLike) -> Iterator[str]:
    """What differs in the settings of what both studies have, and in what they were made with."""
    settings = _merged(first, second, "settings", [*WHERE, "setting"])
    in_both = settings.groupby(WHERE)[["first", "second"]].transform("count").gt(0).all(axis=1)
    settings = settings[in_both]
    settings = settings[settings["setting"].isin(settings.dropna(subset="value")["setting"])]
    if len(settings):
        lines = [f"{row['setting']}: {row['value']} ({row['applies to']})" for row in _rows(tables.condense(settings))]
        yield "\n  ".join(["Settings that differ:", *lines])
    made = _merged(first, second, "provenance", ["item"]).dropna(subset="value")
    made = made[~made["item"].isin(["study", "warning"])]
    if len(made):
        yield "\n  ".join(["Made with:", *(f"{row['item']}: {row['value']}" for row in _rows(made))])


def _merged(first: str | os.PathLike, second: str | os.PathLike, table: str, key: list[str]) -> pd.DataFrame:
    """A table of both studies: their values, and "first -> second" as `value` where these differ."""
    sides = [
        ledger.read(folder(study) / f"{table}.csv", table).groupby(key)["value"].agg(" and ".join)
        for study in (first, second)
    ]
    both = pd.concat(sides, axis=1, keys=["first", "second"]).reset_index()
    shown = both[["first", "second"]].fillna("none")
    both["value"] = (shown["first"] + " -> " + shown["second"]).where(shown["first"] != shown["second"])
    return both


def _rows(frame: pd.DataFrame) -> list[dict]:
    return frame.to_dict("records")


def _left_out(first: str | os.PathLike, second: str | os.PathLike) -> Iterator[str]:
    """What only one of the two has, so that it could not be compared."""
    found = [_read(study) for study in (first, second)]
    for study, mine, other in ((first, *found), (second, *found[::-1])):
        lines = []
        for column in KEY:
            names = sorted(set(mine[column]) - set(other[column]), key=style.order if column == "method" else None)
            if names:
                lines.append(f"{column} {', '.join(map(str, names))}")
        if lines:
            yield f"Only in {study}, so not compared: {'; '.join(lines)}"


def _title(table: tables.Table) -> str:
    name = table.title.partition(" (")[0]
    return f"{name}, {STAGES[table.stage].words}: difference in {UNITS.get(table.measure, 'per cent')}"


def _wide(cells: pd.DataFrame) -> str:
    """A row a data set, network and method, and a column a ratio, as in the study's tables."""
    cells = cells.assign(
        column=cells["ratio"].mask(cells["stage"] == "trained", -1.0),
        text=[_cell(*row) for row in cells[["difference", "low", "high"]].itertuples(index=False)],
    )
    if (cells["text"] == SAME).all():
        return f"  {SAME}"
    rows = pd.MultiIndex.from_frame(cells[WHERE].drop_duplicates())
    wide = cells.pivot(index=WHERE, columns="column", values="text").loc[rows].fillna("")
    wide.columns = ["dense" if column < 0 else f"{100 * column:g} %" for column in wide]
    return wide.reset_index().to_string(index=False)


def _cell(difference: float, low: float, high: float) -> str:
    """ "+1.25 [-0.50, +3.00]", without the interval where there is none."""
    if abs(difference) < statistics.NOISE and not high - low > statistics.NOISE:
        return SAME
    return f"{difference:+z.2f}" + ("" if np.isnan(low) else f" [{low:+z.2f}, {high:+z.2f}]")


def _shown_order(column: pd.Series) -> pd.Series:
    return column.map(style.order) if column.name == "method" else column
