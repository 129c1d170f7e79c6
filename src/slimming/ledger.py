"""The ledger: tidy tables made from records, the only source of tables, figures, claims and the paper.

`ledger.csv` holds one row per measurement. Beside it stand the details that do not fit one row:

    curves.csv      loss, accuracy and learning rate of every epoch
    factors.csv     histogram of log10 |scaling factor| of every trained network
    layers.csv      of every prunable site of every pruned network: channels, and channels kept; form and ranks of the
                    layer that reads it, its kernels, and those that are not zero
    classes.csv     accuracy of every class
    latency.csv     inference time at every batch size: median and quartiles, in milliseconds
    settings.csv    settings of every data set x network x method
    provenance.csv  study, commit, versions, machine and warnings, and how many records say so; "measured." where
                    measuring differs from training
    missing.csv     networks that were not made, and why, where the study allows that

Not for aggregating: that is reporting's. What each table holds is in schema.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd
from pandera.errors import SchemaErrors
from pandera.pandas import DataFrameSchema

from slimming import records, tensorfile
from slimming.errors import InputError, unknown
from slimming.schema import COMPANIONS, KEY, MISSING, RUN, SOURCES, TABLES, at
from slimming.stages.table import stem


def collect(paths: Iterable[str | os.PathLike]) -> dict[str, pd.DataFrame]:
    """Every table of COMPANIONS, validated and sorted by its key, from the records at `paths`.

    Raises InputError for no records of networks that were made, records of several studies, a measurement recorded
    twice, and values that are missing, not finite or out of range.
    """
    found = [records.read(path) | {"path": _shown(path)} for path in sorted(map(str, paths))]
    if not found:
        raise InputError("no records, so no ledger; make some records first")
    first = found[0]
    for record in found:
        if record.get("study") != first.get("study"):
            raise InputError(
                f"{record['path']}: of study {record.get('study')!r}, but {first['path']} of {first.get('study')!r}; "
                "a ledger holds one study"
            )
    made = [record for record in found if MISSING not in record]
    if not made:
        raise InputError(f"no network was made, so no ledger; the first: {first[MISSING]}")
    lost = [record for record in found if MISSING in record]
    return {name: _frame(name, made) for name in TABLES} | {MISSING: _frame(MISSING, lost)}


def write(
    study: str, paths: Iterable[str | os.PathLike], directory: str | os.PathLike, allow_missing: bool = False
) -> None:
    """Write the tables of the records at `paths`, all of `study`, as CSV files into `directory`.

    allow_missing: some records may say that the network was not made; missing.csv is written, too.

    Raises InputError as `collect` does, and where the records or the ledger in `directory` belong to another
    study; nothing is written then.
    """
    guard(study, directory)
    tables = collect(paths)
    (recorded,) = tables["provenance"].query("item == 'study'")["value"]
    if recorded != study:
        raise InputError(f"the records are of study {recorded!r}, not {study!r}; name the study they belong to")
    lost = tables[MISSING]
    if allow_missing:
        tables = {MISSING: lost} | tables  # written last but for ledger.csv
    elif len(lost):
        raise InputError(f"{_place(lost.iloc[0])}: {lost.iloc[0]['reason']}; make it, or allow it to be missing")
    else:
        del tables[MISSING]
    for name, frame in reversed(tables.items()):  # ledger.csv last: where it stands, the others stand
        tensorfile.write_text(Path(directory) / f"{name}.csv", frame.to_csv(index=False, lineterminator="\n"))


def guard(study: str, directory: str | os.PathLike) -> None:
    """InputError if `directory` holds the ledger of a study other than `study`."""
    owner = Path(directory) / "provenance.csv"
    if owner.is_file():
        with owner.open(encoding="utf-8", newline="") as stream:
            names = {row.get("value") for row in csv.DictReader(stream) if row.get("item") == "study"}
        if names != {study}:
            named = " and ".join(sorted(map(repr, names))) or "unknown"
            raise InputError(f"{directory}: holds the ledger of study {named}, not {study!r}; choose another place")
    elif (Path(directory) / "ledger.csv").exists():
        raise InputError(f"{directory}: holds a ledger whose study is unknown (no provenance.csv); move it away")


def read(path: str | os.PathLike, table: str = "ledger") -> pd.DataFrame:
    """The table that `write` wrote to the CSV file `path`, every float as it was.

    Raises InputError, naming the first faulty row, for a duplicate row, a value missing, not finite or out of
    range, and a missing or unknown column.
    """
    if table not in COMPANIONS:
        raise unknown("table", table, COMPANIONS)
    # Numbers with a fraction are converted later, where a wrong one can be named with its row.
    types = {name: str(column.dtype) for name, column in COMPANIONS[table].columns.items()}
    exact = {name: dtype for name, dtype in types.items() if dtype != "float64"}
    try:
        # Only an empty field is a missing value: a name may well read "nan".
        frame = pd.read_csv(path, dtype=exact, keep_default_na=False, na_values=[""])
    except (OSError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a readable table ({reason}); make the ledger again") from error
    if table == "ledger" and frame.empty:
        raise InputError(f"{path}: holds no measurement; make the ledger again")
    return _validated(frame, table, str(path))


def missing(directory: str | os.PathLike) -> pd.DataFrame:
    """What was not made of the study whose ledger is in `directory`: missing.csv, no rows where there is none."""
    path = Path(directory, f"{MISSING}.csv")
    return read(path, MISSING) if path.is_file() else pd.DataFrame(columns=[*COMPANIONS[MISSING].columns])


def told(forgone: pd.DataFrame) -> list[str]:
    """A line for each run and reason of what `missing` gives: what was not made of it, and why."""
    lines = []
    for (dataset, network, method, seed, reason), part in forgone.groupby([*RUN, "reason"], sort=False):
        made = ", ".join(stem(row.stage, row.ratio) for row in part.itertuples())
        lines.append(f"missing: {dataset} {network} {method} seed {seed}, {made} ({reason})")
    return lines


def _frame(name: str, found: Iterable[Mapping]) -> pd.DataFrame:
    """The table `name` of all records."""
    table = COMPANIONS[name]
    key = [column for column in table.key if column in KEY]
    rows = [
        {column: at(record, SOURCES[column]) for column in key} | row for record in found for row in _rows(name, record)
    ]
    frame = pd.DataFrame(rows, columns=[column for column in table.columns if column != "records"])
    if name == "settings":  # shared by the records of a run, and by seeds
        frame = frame.drop_duplicates()
    if name == "provenance":
        frame = frame.value_counts().rename("records").reset_index()
    return _validated(frame.sort_values(table.key, ignore_index=True), name, f"the records' {name}")


def _rows(name: str, record: Mapping) -> list[Mapping]:
    try:
        return list(COMPANIONS[name].rows(record))
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        fault = f"{type(error).__name__}: {error}"
        raise InputError(f"{record['path']}: incomplete, no {name} in it ({fault}); make it again") from error


def _validated(frame: pd.DataFrame, name: str, origin: str) -> pd.DataFrame:
    """`frame` with table `name`'s types and order of columns; InputError names the first faulty row."""
    table = COMPANIONS[name]
    schema = DataFrameSchema(table.columns, unique=table.key, strict=True)
    try:
        return schema.validate(frame, lazy=True)[[*table.columns]]
    except SchemaErrors as error:
        faults = error.failure_cases
    for check, what in (("column_in_dataframe", "no column"), ("column_in_schema", "unknown column")):
        if (faults["check"] == check).any():
            column = faults.loc[faults["check"] == check, "failure_case"].iloc[0]
            raise InputError(f"{origin}: {what} {column!r}; make the ledger again")
    fault = faults.sort_values("index", kind="stable").iloc[0]
    row = frame.iloc[int(fault["index"])]
    where = _place(row[[column for column in [*table.key, "record"] if column in frame]])
    if fault["check"] == "multiple_fields_uniqueness":
        what = "there is another row with this key"
    else:
        what = f"{fault['column']} is {row[fault['column']]}, which fails {fault['check']}"
    raise InputError(f"{origin}: line {int(fault['index']) + 2} ({where}): {what}; make it again")


def _place(values: pd.Series) -> str:
    """The columns and values of a row, but a reason, in words."""
    return ", ".join(f"{column} {value}" for column, value in values.items() if column != "reason")


def _shown(path: str) -> str:
    """`path` relative to the working directory where it lies below it: a ledger names no home folder."""
    absolute, here = Path(path).absolute(), Path.cwd()
    return (absolute.relative_to(here) if absolute.is_relative_to(here) else Path(path)).as_posix()
