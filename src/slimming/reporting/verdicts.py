"""The verdicts in claims.csv as readers see them: claim by claim, with words, and with numbers that have units.

A column that is missing is empty, and one that is unknown is shown as it is. Not for judging: the claims package does.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pandas as pd

from slimming.claims import rules
from slimming.errors import InputError

GLYPHS = {"reproduced": "✓", "partly": "◐", "not reproduced": "✕", "inconclusive": "?", "not attempted": "–"}
# Tables of a claim by level, from the least to the most detailed; the verdict on the whole claim stands above them.
OVERALL = "overall"
TITLES = {"panel": "By data set and network", "comparison": "Comparisons", "ratio": "At each ratio"}
HEADS = {"dataset": "data set", "seeds": "n", "p": "p for", "p_against": "p against"}
MEASURED = ["dataset", "network", "stage", "ratio"]  # what finds a row's measurements in the ledger
COLUMNS = ["claim", "level", *MEASURED, "estimate", "low", "high", "unit", "margin", "verdict", "reason"]
# Not columns of a table: they are the claim's, or said by the comparison, the difference or the margin.
TAKEN = {"claim", "text", "level", "metric", "stage", "unit", "low", "high"}


def read(path: str | os.PathLike, claims_files: rules.Files | None = None) -> list[dict] | None:
    """The claims in the CSV file `path`, in its order; None if there is no such file.

    A claim has its `id`, overall `verdict` and `reason`, its `words`, `source` and `reading` in `claims_files` (empty
    without it), and `tables`. A table has a `title`, `heads` {column: name}, and `rows`: `cells` {column: text}, and
    `measured`, the values by which its measurements are found in the ledger. InputError if a file cannot be read.
    """
    if not Path(path).is_file():
        return None
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a readable table ({reason}); evaluate the claims again") from error
    frame = frame.reindex(columns=[*dict.fromkeys([*frame, *COLUMNS])], fill_value="")
    words = {claim.id: claim for claim in rules.load(claims_files).claims} if claims_files else {}
    found = []
    for name, rows in frame.groupby("claim", sort=False):
        levels = {level: part.to_dict("records") for level, part in rows.groupby("level", sort=False)}
        whole = (levels.pop(OVERALL, None) or [{"verdict": "", "reason": ""}])[0]
        levels = {level: levels[level] for level in sorted(levels, key=_place(TITLES))}
        found.append(
            {"id": name, "verdict": whole["verdict"], "reason": whole["reason"]}
            | {key: getattr(words.get(name), key, "") for key in ("words", "source", "reading")}
            | {"tables": [_table(TITLES.get(level, level), part) for level, part in levels.items()]}
        )
    return found


def tally(claims: Iterable[Mapping]) -> dict[str, int]:
    """How many claims have each verdict, best first."""
    counted = Counter(claim["verdict"] for claim in claims)
    return {verdict: counted[verdict] for verdict in sorted(counted, key=_place(GLYPHS))}


def _place(known: Iterable[str]) -> Callable[[str], int]:
    """Sorting key: the place among `known`, others behind."""
    places = {name: place for place, name in enumerate(known)}
    return lambda name: places.get(name, len(places))


def _table(title: str, rows: list[dict]) -> dict:
    cells = [_cells(row) for row in rows]
    heads = {column: HEADS.get(column, column) for column in cells[0] if any(row[column] for row in cells)}
    measured = [{column: row[column] for column in MEASURED if row[column]} for row in rows]
    return {
        "title": title,
        "heads": heads,
        "rows": [
            {"cells": {column: row[column] for column in heads}, "measured": where}
            for row, where in zip(cells, measured, strict=True)
        ],
    }


def _cells(row: Mapping[str, str]) -> dict[str, str]:
    """A row as shown: the estimate with its interval and unit, the ratio in per cent."""
    shown = {column: _number(text) for column, text in row.items() if column not in TAKEN}
    unit = f" {row['unit']}" if row["unit"] else ""
    if row["estimate"]:
        low, high = _number(row["low"]), _number(row["high"])
        shown["estimate"] += f" [{low}, {high}]{unit}" if low and high else unit
    if row["margin"]:
        shown["margin"] = rules.amount(float(row["margin"]), row["unit"])
    if row["ratio"]:
        shown["ratio"] = f"{100 * float(row['ratio']):g} %"
    return shown


def _number(text: str) -> str:
    """A number with three significant digits; other text as it is."""
    try:
        return text if text.isdecimal() else f"{float(text):.3g}".replace("-", "−")
    except ValueError:
        return text
