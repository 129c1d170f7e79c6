"""Where a number comes from: rows of the ledger, and behind each a record, a network, a command, a commit, a machine.

A number is named by the macro that prints it in the paper, or by file and line of a table: `AccuracyPruned...`,
`results/quick/paper/macros.json:AccuracyPruned...` where several studies have it,
`results/quick/tables/accuracy-pruned.csv:12`, `results/quick/ledger.csv:40`. Not for checking the number: verify does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from slimming import ledger, records, tensorfile
from slimming.errors import InputError, unknown
from slimming.reporting import summary
from slimming.schema import KEY
from slimming.store import provenance, remote

MACROS = "results/*/paper/macros.json"
METHODS = ("method", "treatment", "reference")  # columns that name a method; a claim compares two


class Number(NamedTuple):
    """What is printed, and the column and rows of the ledger in `folder` that it is a statistic of."""

    text: str
    folder: Path
    column: str
    rows: pd.DataFrame


def trace(reference: str) -> str:
    """All that is known of a number, as text.

    Raises InputError for a macro, file or line that does not exist, and for what has no rows of its own.
    """
    number = find(reference)
    names = ", ".join(f"{count} {stage}" for stage, count in number.rows["stage"].value_counts().items())
    lines = [f"{reference}: {number.text}", f"from {number.folder / 'ledger.csv'}: {names}"]
    known = provenance.known(number.folder / "jobs.json")
    shared = ledger.read(number.folder / "provenance.csv", "provenance")
    lines += [f"since then {line}" for line in known.words()]
    jobs = known.products()
    for row in number.rows.to_dict("records"):
        lines.append("\n" + " ".join(f"{key} {row[key]}" for key in KEY) + f": {number.column} {row[number.column]}")
        lines += [f"  {name:11} {value}" for name, value in origin(row, jobs, shared).items()]
    return "\n".join(lines)


def find(reference: str) -> Number:
    """The number that `reference` names."""
    path, _, entry = reference.rpartition(":")
    if path and not path.endswith("macros.json"):
        return _cell(Path(path), entry)
    name = entry.removeprefix("\\")
    macro = _macro(name, [Path(path)] if path else sorted(Path().glob(MACROS)))
    where = (
        "" if not macro["rows"] else ", where " + ", ".join(f"{key} is {item}" for key, item in macro["rows"].items())
    )
    text = f"{macro['value']}, the {macro['statistic']} of {macro['column']} in {macro['file']}{where}"
    folder = Path(macro["file"]).parent
    compared = name.startswith("Difference")
    column = macro["column"] if macro["file"].endswith("/ledger.csv") else "accuracy"
    return Number(text, folder, column, _rows(folder, macro["rows"], compared, reference))


def _macro(name: str, files: Sequence[Path]) -> dict:
    """What one of the files, and no other, says of the macro."""
    if not files:
        raise InputError(f"{MACROS}: there is none; `snakemake --cores all macros` makes it")
    found, known = {}, {}
    for path in files:
        try:
            macros = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: not readable ({error}); `snakemake --cores all macros` makes it") from error
        known |= macros
        if name in macros:
            found[path] = macros[name]
    if not found:
        raise unknown("macro", name, known)
    if len(found) > 1:
        which = " or ".join(f"{path}:{name}" for path in found)
        raise InputError(f"{name}: {len(found)} studies have it; say which: {which}")
    return next(iter(found.values()))


def origin(row: Mapping, jobs: Mapping[str, tuple], shared: pd.DataFrame) -> dict[str, str]:
    """Record, network, command, commit, versions and machine of a row of ledger.csv.

    Where its record does not lie here, the command is Snakemake's, and the rest what all records of the study share.
    """
    path = Path(row["record"])
    network = network_of(path)
    found = {
        "record": str(path),
        "network": f"{network}\n{'':14}sha256 {row['checkpoint_sha256']}, {_state(network, row)}",
    }
    if path.is_file():
        record = records.read(path)
        made = record["provenance"]
        if record["parent"]:
            found["made from"] = f"sha256 {record['parent']}"
        if "data" in record:
            found["data"] = f"sha256 {record['data']}"
        versions, machine = made["versions"], made["machine"]
        return found | {
            "command": made["command"],
            "commit": made["commit"] or "none",
            "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
            "machine": f"{machine['processor']}, {machine['cores']} cores, {machine['system']}",
            "ran on": f"{made['device']}, {made['threads']} threads, started {made['started']}",
        }
    found["record"] += f" (not here: {remote.advice()})"
    if str(path) in jobs:
        found["command"] = jobs[str(path)][1]["shellcmd"]
    known = shared[~shared["item"].isin(["study", "warning"])].groupby("item")["value"].agg(" or ".join)
    return found | known.to_dict()


def network_of(record: Path) -> Path:
    """The checkpoint that a record beside it describes."""
    parts = ["checkpoints" if part == "records" else part for part in record.parts]
    return Path(*parts).with_suffix(".safetensors")


def _state(network: Path, row: Mapping) -> str:
    if not network.is_file():
        return f"not here: {remote.advice()}"
    return "here and whole" if tensorfile.sha256(network) == row["checkpoint_sha256"] else "here, but ALTERED"


def _cell(path: Path, line: str) -> Number:
    """The number at a line of a CSV file; the first line holds the names of columns."""
    if path.suffix != ".csv" or not path.is_file():
        raise InputError(f"{path}: no such CSV file; name a line of one, as in results/quick/ledger.csv:2")
    table = pd.read_csv(path, dtype={"seed": "Int64"}, keep_default_na=False, na_values=[""])
    if not line.isdecimal() or not 2 <= int(line) <= len(table) + 1:
        raise InputError(f"{path}: no line {line!r}; its numbers stand in lines 2 to {len(table) + 1}")
    row = table.iloc[int(line) - 2].dropna().to_dict()
    folder = path.parent.parent if path.parent.name == "tables" else path.parent
    text = ", ".join(f"{name} {value}" for name, value in row.items() if name not in ("record", "checkpoint_sha256"))
    chosen = {key: value for key, value in row.items() if key in (*KEY, *METHODS)} or row
    measure = row.get("measure", "accuracy")
    column = "accuracy" if measure == "difference" else measure
    return Number(text, folder, column, _rows(folder, chosen, measure == "difference", f"{path}:{line}"))


def _rows(folder: Path, chosen: Mapping, compared: bool, reference: str) -> pd.DataFrame:
    """Rows of the ledger where columns have the values in `chosen`, and those that they are compared with."""
    measured = ledger.read(folder / "ledger.csv")
    methods = {chosen[key] for key in METHODS if chosen.get(key)}
    known = {key: chosen[key] for key in KEY if key != "method" and chosen.get(key) not in (None, "")}
    if chosen and not methods and not known:
        raise InputError(
            f"{reference}: sums up records or verdicts of {folder}, and has no row of its own in the ledger"
        )
    mask = pd.Series(True, index=measured.index)
    for key, value in known.items():
        mask &= measured[key] == value
    if methods:
        mask &= measured["method"].isin(methods | {summary.REFERENCE} if compared else methods)
    if not mask.any():
        raise InputError(f"{reference}: says that {folder} has nothing to compare, so no row stands behind it")
    return measured[mask]
