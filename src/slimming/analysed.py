"""The rows of analyses as tables: <table>.csv of each, behind the ledger's key, of every network of a study.

Beside them measures.csv has what claims are about: a row a network and measure (analyses.Measure).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from slimming import analyses, records, tensorfile
from slimming.errors import InputError
from slimming.schema import KEY, SOURCES, at

MEASURES = "measures.csv"
COLUMNS = [*KEY, "measure", "value"]
DIGITS = 9  # significant, of a measure: what follows differs between processors


def write(paths: Iterable[str | os.PathLike], names: Sequence[str], directory: str | os.PathLike) -> None:
    """Write the tables of the analyses `names` of the files at `paths` (stages.analyse), and measures, to `directory`.

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
    measured = []
    for name in names:
        analysis = analyses.get(name)
        frame = pd.DataFrame(rows[name], columns=[*KEY, *analysis.columns]).sort_values([*KEY], kind="stable")
        _write(frame, Path(directory, f"{analysis.table}.csv"))
        for network, mine in frame.groupby(KEY):
            of = dict(zip(KEY, network, strict=True))
            for measure, known in analysis.measures.items():
                measured.append(of | {"measure": measure, "value": float(f"{known.of(mine):.{DIGITS}g}")})
    _write(pd.DataFrame(measured, columns=COLUMNS).sort_values(COLUMNS[:-1]), Path(directory, MEASURES))


def _write(frame: pd.DataFrame, path: Path) -> None:
    tensorfile.write_text(path, frame.to_csv(index=False, lineterminator="\n"))


def read_measures(directory: str | os.PathLike) -> pd.DataFrame:
    """The measures of a study's networks, (COLUMNS); none where the study has no analyses. InputError as `read`."""
    path = Path(directory, MEASURES)
    return _parsed(path, [COLUMNS]) if path.is_file() else pd.DataFrame(columns=COLUMNS)


def read(path: str | os.PathLike) -> pd.DataFrame:
    """A table that `write` wrote. InputError for another file."""
    return _parsed(path, [[*KEY, *analysis.columns] for analysis in analyses.registry().values()])


def _parsed(path: str | os.PathLike, known: list[list[str]]) -> pd.DataFrame:
    try:
        frame = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype={"class": str, "told": str})
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable table ({' '.join(str(error).split())}); make it again") from error
    if [*frame] not in known:
        columns = " ".join(", ".join(frame).split())
        raise InputError(f"{path}: has the columns {columns}, those of no analysis; make it again")
    return frame
