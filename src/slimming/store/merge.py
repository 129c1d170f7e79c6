"""Git's merge driver for ledgers and jobs.json: two people's changes are told apart by row, not by line.

Rows of different runs often stand next to each other, where git's own merge sees a conflict; and counts of records
(provenance.csv) would be merged wrongly without one. docs/stored-results.md has the two lines that make git call it.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TypeVar

from slimming import ledger, tensorfile
from slimming.errors import InputError, SlimmingError
from slimming.naming import counted
from slimming.schema import TABLES
from slimming.store import provenance

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


def merge(base: str | os.PathLike, ours: str | os.PathLike, theirs: str | os.PathLike, path: str | os.PathLike) -> None:
    """Merge what `ours` and `theirs` changed in `base`, versions of the file `path`, into `ours`.

    Raises SlimmingError, and leaves `ours` as it was, if both changed the same measurement; InputError for files that
    are no ledger's. In jobs.json ours stays then: neither is true of a merged table, and Snakemake makes it again.
    """
    path = Path(path)
    if path.name == "jobs.json":
        return _merge_jobs(*map(Path, (base, ours, theirs)))
    if path.suffix != ".csv" or path.stem not in TABLES:
        raise InputError(f"{path}: neither a ledger's table nor jobs.json; let git merge it as text")
    return _merge_table(*map(Path, (base, ours, theirs)), path)


def _merge_table(base: Path, ours: Path, theirs: Path, path: Path) -> None:
    table = TABLES[path.stem]
    versions = [_rows(version, table.key) for version in (base, ours, theirs)]
    if path.stem == "provenance":
        merged = _added(*versions)
    else:
        merged, disputed = _merged(*versions)
        if disputed:
            first = ", ".join(f"{column} {value}" for column, value in zip(table.key, disputed[0], strict=True))
            raise SlimmingError(
                f"{path}: both sides changed {counted(len(disputed), 'row')} ({first}); collect the ledger again"
            )
    header = [[*table.columns]]

    def write(aside: Path) -> None:
        with aside.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows([*header, *merged.values()])
        # Sorted and printed as the ledger's own, so that collecting it again changes nothing.
        frame = ledger.read(aside, path.stem).sort_values(table.key)
        aside.write_text(frame.to_csv(index=False, lineterminator="\n"), encoding="utf-8")

    tensorfile.write_aside(ours, write)


def _merge_jobs(base: Path, ours: Path, theirs: Path) -> None:
    versions = [provenance.read(version) for version in (base, ours, theirs)]
    merged, _ = _merged(*(version.products() for version in versions))
    files = {digest: file for version in versions for digest, file in version.code.items()}
    entries = {json.dumps(entry): entry for version in versions for entry in version.reaffirmed}
    reaffirmed = sorted(entries.values(), key=lambda entry: entry["date"])
    provenance.write(ours, provenance.Provenance(provenance.grouped(merged), files, reaffirmed))


def _merged(
    base: Mapping[Key, Value], ours: Mapping[Key, Value], theirs: Mapping[Key, Value]
) -> tuple[dict[Key, Value], list[Key]]:
    """Three-way merge by key, and the keys that both sides changed, each differently, where ours is kept."""
    merged, disputed = {}, []
    for key in {**base, **ours, **theirs}:
        was, our, their = base.get(key), ours.get(key), theirs.get(key)
        value = their if our == was else our
        if was not in (our, their) and our != their:
            disputed.append(key)
        if value is not None:
            merged[key] = value
    return merged, disputed


def _added(*versions: Mapping[tuple, list[str]]) -> dict[tuple, list[str]]:
    """Rows of provenance.csv, whose last column counts records: what each side added or took away adds up."""
    merged = {}
    for key in {key: None for version in versions for key in version}:
        was, our, their = (int(version[key][-1]) if key in version else 0 for version in versions)
        if our + their - was:
            merged[key] = [*key, str(our + their - was)]
    return merged


def _rows(path: Path, key: list[str]) -> dict[tuple, list[str]]:
    """{key: row} of a CSV file's text; of an empty one, as git gives for a file that one side lacks, nothing."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {tuple(row[column] for column in key): list(row.values()) for row in rows}
