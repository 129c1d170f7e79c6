"""What methods found out while they planned, as a table: findings.csv, one row a figure.

A plan says {item: figure}, {item: {layer: figure}} or {item: {layer: [[x, figure], ...]}} (pruning.Plan.found). The
columns are those of the ledger's key, then

    item    what the figure is: "sensitivity", "rate", "residual"
    layer   of the network that it belongs to; empty where it belongs to none
    x       where a curve has it; empty where it is no point of a curve
    value   the figure

A curve that is the same at several ratios stands at the lowest of them. Of studies whose methods find
something (Study.finds). Not for what every network has: that is the ledger's.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pandas as pd

from slimming import records, tensorfile
from slimming.errors import InputError
from slimming.schema import KEY, SOURCES, at
from slimming.stages.table import VARIANTS

COLUMNS = [*KEY, "item", "layer", "x", "value"]


def write(paths: Iterable[str | os.PathLike], output: str | os.PathLike) -> None:
    """Write the findings in the records at `paths` to the CSV file `output`.

    InputError for a figure that is no finite number.
    """
    rows = [row for path in sorted(map(str, paths)) for row in _rows(records.read(path), path)]
    frame = pd.DataFrame(rows, columns=COLUMNS).sort_values([*KEY, "item", "layer", "x"], kind="stable")
    frame = frame[~_again(frame)]
    tensorfile.write_text(Path(output), frame.to_csv(index=False, lineterminator="\n"))


def read(path: str | os.PathLike) -> pd.DataFrame:
    """The table that `write` wrote. InputError for another file, and for a value that is no finite number."""
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        if [*frame] == COLUMNS:
            frame = frame.assign(**{name: pd.to_numeric(frame[name]) for name in ("seed", "ratio", "x", "value")})
    except (OSError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a readable table ({' '.join(str(error).split())}); make it again") from error
    if [*frame] != COLUMNS:
        columns = " ".join(", ".join(frame).split())
        raise InputError(f"{path}: has the columns {columns}, not {', '.join(COLUMNS)}; make it again")
    if not frame["value"].map(math.isfinite).all():
        raise InputError(f"{path}: a value is no finite number; make it again")
    return frame


def _again(frame: pd.DataFrame) -> pd.Series:
    """Whether a row belongs to a curve that stands at a lower ratio already."""
    curve = [*KEY, "item", "layer"]
    points = frame.groupby(curve)[["x", "value"]].agg(tuple).reset_index()
    again = points.drop(columns="ratio").duplicated()
    return frame["x"].notna() & frame[curve].merge(points[curve].assign(again=again))["again"].set_axis(frame.index)


def _rows(record: Mapping, path: str) -> Iterator[dict]:
    key = {column: at(record, SOURCES[column]) for column in KEY}
    if key["stage"] in VARIANTS:  # of the same plan
        return
    for item, figures in (at(record, "compression.found") or {}).items():
        for layer, points in figures.items() if isinstance(figures, Mapping) else [("", figures)]:
            for x, value in points if isinstance(points, list) else [(None, points)]:
                if not (_is_number(value) and (x is None or _is_number(x))):
                    raise InputError(f"{path}: {item} {layer} is no finite number: {x}, {value}; make the record again")
                yield key | {"item": item, "layer": layer, "x": x, "value": value}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
