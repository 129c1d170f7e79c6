"""References: published results of network slimming beside a ledger's, and how far apart the two were made.

A published row is set beside ours where data set, network, method, stage and ratio agree. What else differs, such as
the width, is said in words; nothing is rescaled, and no verdict comes from it: other schedules give other numbers.

config/references.csv has them as printed: accuracy or error in per cent, parameters, FLOPs as the source counts them,
and under the names of settings.csv what is known of how they were made. All were read in their sources.
"""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
from pandera.errors import SchemaError, SchemaErrors
from pandera.pandas import Check, Column, DataFrameSchema

from slimming import ledger, networks
from slimming.claims import statistics
from slimming.errors import InputError
from slimming.stages import table

SETTINGS = ("method.lam", "architecture.width", "image_size", "schedule.epochs", "schedule.batch_size")
SHARED = ["dataset", "published_network", "method", "stage", "ratio"]
CELL = ["dataset", "network", "method", "stage", "ratio"]


def _number(low: float, high: float, nullable: bool = True) -> Column:
    return Column(float, Check.in_range(low, high), nullable=nullable, coerce=True)


SCHEMA = DataFrameSchema(
    {
        **dict.fromkeys(("source", "dataset", "network", "method"), Column(str, coerce=True)),
        "stage": Column(str, Check.isin(table.STAGES), coerce=True),
        "ratio": _number(0, 1, nullable=False),
        **dict.fromkeys(("accuracy", "error"), _number(0, 100)),
        **dict.fromkeys(("parameters", "flops"), _number(1, 1e15)),
        **dict.fromkeys(SETTINGS, _number(0, 1e6)),
        "remark": Column(str, coerce=True),
    },
    strict=True,
)


def compare(ledger_dir: str | os.PathLike, references_path: str | os.PathLike) -> pd.DataFrame:
    """Published results beside those of the ledger in `ledger_dir`, sorted by ours; no rows where nothing agrees.

    Ours are `accuracy`, the mean over `seeds` seeds as a fraction, with a 95 % interval `low` to `high`, and the means
    of `parameters` and `macs`; theirs are `published_accuracy`, `published_parameters` and `published_flops`.
    `scale` says what differs in how they were made; `number` counts the sources in their file. InputError for a
    faulty ledger or file of references.
    """
    ledger_dir, published = Path(ledger_dir), _published(references_path)
    ours = _summarised(ledger.read(ledger_dir / "ledger.csv"))
    table = ledger.read(ledger_dir / "settings.csv", "settings")
    settings = table.pivot(index=["dataset", "network", "method"], columns="setting", values="value")
    built = settings["architecture.name"].rename("published_network")  # whatever the study calls it
    ours = ours.join(built, on=settings.index.names)
    both = ours.merge(published, on=SHARED)
    both["scale"] = [
        _scale(row, settings.loc[(row["dataset"], row["network"], row["method"])].dropna())
        for row in both.to_dict("records")
    ]
    columns = [*CELL, "source", "number", "published_network", "seeds", "accuracy", "low", "high", "published_accuracy"]
    columns += ["parameters", "published_parameters", "macs", "published_flops", "scale", "remark"]
    return both.sort_values([*CELL, "source", "published_network"], ignore_index=True)[columns]


def _published(path: str | os.PathLike) -> pd.DataFrame:
    try:
        frame = SCHEMA.validate(pd.read_csv(path, keep_default_na=False, na_values=[""]).fillna({"remark": ""}))
    except (OSError, ValueError, SchemaError, SchemaErrors) as error:
        raise InputError(f"{path}: not a table of references ({' '.join(str(error).split())})") from error
    frame["network"].map(networks.parse)  # refuses one that there is not
    frame["number"] = pd.factorize(frame["source"])[0] + 1
    frame["accuracy"] = frame["accuracy"].fillna(100 - frame["error"]).div(100).round(6)
    return frame.rename(columns={name: f"published_{name}" for name in ("network", "accuracy", "parameters", "flops")})


def _summarised(frame: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of every (data set, network, method, stage, ratio), with an interval for the accuracy."""
    groups = frame.groupby(CELL)
    cells = groups.agg(
        seeds=("seed", "size"),
        epochs=("epochs", "max"),
        **{name: (name, "mean") for name in ("accuracy", "parameters", "macs")},
    )
    bounds = groups["accuracy"].apply(statistics.interval)
    cells["low"], cells["high"] = bounds.str[0], bounds.str[1]
    return cells.reset_index()


def _scale(row: dict, settings: pd.Series) -> str:
    """What we did otherwise, from a row of both and our settings: "network vgg11 instead of vgg19, ..."."""
    found = []
    for name in SETTINGS:
        if name in settings and pd.notna(row[name]) and float(settings[name]) != row[name]:
            found.append(f"{name.rpartition('.')[2]} {float(settings[name]):g} instead of {row[name]:g}")
    if row["stage"] == "finetuned" and row["epochs"] != row["schedule.epochs"]:
        found.append(f"{row['epochs']} epochs of fine-tuning instead of {row['schedule.epochs']:g}")
    return ", ".join(found) or "no difference known"
