"""The rows of analyses as tables: <table>.csv of each, behind the ledger's key, of every network of a study."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from slimming import analyses, records, tensorfile
from slimming.errors import InputError
from slimming.schema import KEY, SOURCES, at


def write(paths: Iterable[str | os.PathLike], names: Sequence[str], directory: str | os.PathLike) -> None:
    """Write the tables of the analyses `names` of the files at `paths` (stages.analyse) into `directory`.

    InputError for a file that lacks one of them.
    """
    rows: dict[str, list[dict]] = {name: [] for name in names}
    for path in sorted(map(str, paths)):
        record = records.read(path)
        key = {column: at(record, SOURCES[column]) for column in KEY}
        for name in names if "missing" not in record else ():
            if name not in record.get("analyses", {}):
                raise InputError(f"{path}: holds no analysis {name}; make it again")
            rows[name] += [key | row for row in record["analyses"][name]]
    for name in names:
        analysis = analyses.get(name)
        frame = pd.DataFrame(rows[name], columns=[*KEY, *analysis.columns]).sort_values([*KEY], kind="stable")
        tensorfile.write_text(Path(directory, f"{analysis.table}.csv"), frame.to_csv(index=False, lineterminator="\n"))


def read(path: str | os.PathLike) -> pd.DataFrame:
    """A table that `write` wrote. InputError for another file."""
    try:
        frame = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype={"class": str})
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable table ({' '.join(str(error).split())}); make it again") from error
    known = [[*KEY, *analysis.columns] for analysis in analyses.registry().values()]
    if [*frame] not in known:
        columns = " ".join(", ".join(frame).split())
        raise InputError(f"{path}: has the columns {columns}, those of no analysis; make it again")
    return frame
