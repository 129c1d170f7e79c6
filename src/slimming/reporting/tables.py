"""Tables of a study: a CSV file for each, and for each and every data set a LaTeX file for the paper.

Mean and sample standard deviation over seeds; the best mean of a column within a network is bold, as printed.
Typesetting needs array, booktabs, longtable and siunitx. Not for captions: the paper has the words.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from slimming import ledger, tensorfile
from slimming.reporting import checklist, style, summary
from slimming.stages.table import LATER

DECIMALS = 2
THOUSANDS = ("", "thousand", "million", "billion")


class Table(NamedTuple):
    """A measure of networks before pruning ("dense") and at a later `stage`.

    The ledger's value times `factor` is in `unit`; without a factor LaTeX has thousands or millions of units.
    `best` is the end that is better, if one is.
    """

    measure: str
    stage: str
    best: str | None
    title: str
    unit: str
    factor: float | None = None


ACCURACY = ("Test accuracy (%)", "%", 100.0)
DIFFERENCE = ("Difference in test accuracy (percentage points)", "percentage points", 100.0)
GAIN = ("Gain in test accuracy (percentage points)", "percentage points", 100.0)
TABLES = {
    **{f"accuracy-{stage}": Table("accuracy", stage, "max", *ACCURACY) for stage in LATER},
    "top5-finetuned": Table("accuracy_top5", "finetuned", "max", "Top-5 test accuracy (%)", "%", 100.0),
    **{f"difference-{stage}": Table("difference", stage, None, *DIFFERENCE) for stage in LATER},
    "compensation": Table("gain", "compensated", None, *GAIN),
    "recalibration": Table("gain", "recalibrated", None, *GAIN),
    "parameters": Table("parameters", "pruned", "min", "Parameters", "parameters"),
    "nonzero": Table("nonzero", "pruned", "min", "Parameters that are not zero", "parameters"),
    "macs": Table("macs", "pruned", "min", "Multiply-accumulate operations", "operations"),
    "compression-ratio": Table("compression_ratio", "pruned", "max", "Compression ratio", "times", 1.0),
    "speedup": Table("speedup", "pruned", "max", "Theoretical speed-up", "times", 1.0),
    "bytes": Table("bytes", "pruned", "min", "Bytes on disk", "bytes"),
    "latency": Table("latency_ms", "pruned", "min", "Latency of one image (ms)", "ms", 1.0),
}

SHORT = "Raised: how many seeds were measured, where some are missing."

# Tables of text, with the widths of their last columns.
LISTINGS = {"settings": (0.2, 0.45), "provenance": (0.55, 0.1), "checklist": (0.45, 0.06, 0.4)}

# Where settings may differ, from the least to the most detailed.
SCOPES = (
    [],
    ["dataset"],
    ["network"],
    ["method"],
    ["dataset", "network"],
    ["network", "method"],
    ["dataset", "network", "method"],
)


def of_stages(stages: Iterable[str]) -> dict[str, Table]:
    """The TABLES of a study whose runs make `stages`, by name."""
    present = set(stages)
    return {name: table for name, table in TABLES.items() if table.stage in present}


def write(ledger_dir: str | os.PathLike, output_dir: str | os.PathLike, protocol: str = "last") -> None:
    """Write every table of the ledger in `ledger_dir` as CSV and LaTeX into `output_dir`.

    `protocol` is "last" (accuracy after the last epoch) or "paper" (after the best epoch on the test set).
    Accuracies are in per cent. InputError for a faulty ledger or an unknown protocol.
    """
    ledger_dir, output_dir = Path(ledger_dir), Path(output_dir)
    measured = ledger.read(ledger_dir / "ledger.csv")
    cells = summary.with_missing(summary.summarise(measured, protocol), ledger.missing(ledger_dir))
    for name, table in of_stages(measured["stage"]).items():
        shown = cells[(cells["measure"] == table.measure) & cells["stage"].isin(["trained", table.stage])]
        shown = _in_unit(shown, table)
        _write_csv(output_dir / f"{name}.csv", shown)
        for dataset in cells["dataset"].unique():
            part = shown[shown["dataset"] == dataset]
            tensorfile.write_text(output_dir / f"{name}-{dataset}.tex", latex(part, table))
    details = {name: ledger.read(ledger_dir / f"{name}.csv", name) for name in ("settings", "provenance", "classes")}
    listings = {
        "settings": condense(details["settings"]),
        "provenance": details["provenance"],
        "checklist": checklist.check(details | {"ledger": measured}),
    }
    for name, frame in listings.items():
        _write_csv(output_dir / f"{name}.csv", frame)
        tensorfile.write_text(output_dir / f"{name}.tex", _listing(frame, LISTINGS[name]))


def latex(cells: pd.DataFrame, table: Table) -> str:
    """A tabular with a row per network and method and a column per ratio, from one data set's cells.

    `cells` are summary.summarise's, or summary.with_missing's, in the table's unit. A missing cell is a dash; if all
    are, a note says so. Where seeds are missing, their number is raised.
    """
    if cells.empty:
        return "\\emph{Not measured in this study.}\n"
    scale, title = _printed(cells, table)
    cells = cells.assign(
        column=cells["ratio"].mask(cells["stage"] == "trained", -1.0),
        mean=(cells["mean"] * scale).round(DECIMALS),
        sd=(cells["sd"] * scale).round(DECIMALS),
    )
    # What seeds cannot change has no deviation to print.
    cells["sd"] = cells["sd"].mask(cells.groupby("column")["sd"].transform("max") == 0)
    short = cells["missing"].ne("") if "missing" in cells else pd.Series(False, index=cells.index)
    raised = cells["n"].where(short, -1)
    cells["text"] = [_text(*cell) for cell in zip(cells["mean"], cells["sd"], raised, strict=True)]
    cells["bold"] = _is_best(cells, table.best)
    rows = pd.MultiIndex.from_frame(cells[["network", "method"]].drop_duplicates())
    wide = cells.pivot(index=["network", "method"], columns="column").loc[rows]
    formats = [_column_format(wide["mean"][column], wide["sd"][column]) for column in wide["text"]]
    headers = ["dense" if column < 0 else f"{100 * column:g} %" for column in wide["text"]]
    text = wide["text"].set_axis(pd.MultiIndex.from_product([[title], headers]), axis="columns")
    text["", "seeds"] = _range(wide["n"])
    bold = np.column_stack([wide["bold"].eq(True), np.zeros(len(wide), bool)])
    lines = (
        text.style.format(na_rep="{--}")
        .format_index(style.name, escape="latex", level="network")
        .format_index(style.method, escape="latex", level="method")
        .format_index(escape="latex", axis="columns")
        .hide(names=True)
        .apply(lambda _: np.where(bold, "bfseries: ;", ""), axis=None)
        .to_latex(
            hrules=True,
            siunitx=True,
            multirow_align="naive",
            multicol_align="c",
            clines="skip-last;data",
            column_format="ll" + "".join(formats) + "r",
        )
    )
    # booktabs parts groups by space, and the last needs none.
    rule = f"\\cline{{1-{len(formats) + 3}}}\n"
    note = f"\\multicolumn{{{len(formats) + 3}}}{{l}}{{{SHORT}}}\\\\\n" if short.any() else ""
    lines = lines.replace(rule + "\\bottomrule\n", "\\bottomrule\n" + note)
    return lines.replace(rule, "\\addlinespace\n")


def condense(settings: pd.DataFrame) -> pd.DataFrame:
    """Settings in few rows: `setting`, `value`, and what it `applies to` where it is not the same for all.

    `settings` has the columns dataset, network, method, setting and value (settings.csv).
    """
    wide = settings.pivot(index=["dataset", "network", "method"], columns="setting", values="value")
    rows = []
    for setting, values in wide.items():
        scope = next(scope for scope in SCOPES if _decided_by(values, scope))
        for value, where in values.dropna().groupby(values, sort=False):
            names = where.index.to_frame()[scope].drop_duplicates()
            applies = "; ".join(map(" ".join, names.itertuples(index=False))) if scope else "all"
            rows.append({"setting": setting, "value": value, "applies to": applies})
    return pd.DataFrame(rows)


def _decided_by(values: pd.Series, scope: list[str]) -> bool:
    """Whether `values`, missing ones included, are the same wherever the names in `scope` are."""
    groups = values.groupby(scope) if scope else values.groupby(lambda _: "all")
    return bool((groups.nunique(dropna=False) == 1).all())


def _in_unit(cells: pd.DataFrame, table: Table) -> pd.DataFrame:
    numbers = cells[["mean", "sd", "low", "high"]] * (table.factor or 1.0)
    return cells.assign(**numbers, unit=table.unit)


def _printed(cells: pd.DataFrame, table: Table) -> tuple[float, str]:
    """Factor from the table's unit to the printed one, and the title that names it.

    Counts are in the largest unit that leaves two digits to the smallest of them.
    """
    if table.factor:
        return 1.0, table.title
    power = min(int((np.log10(cells["mean"].clip(lower=1).min()) + 1) // 3), len(THOUSANDS) - 1)
    return 1000.0**-power, f"{table.title} ({THOUSANDS[power]})" if power else table.title


def _text(mean: float, sd: float, raised: int) -> str:
    """A cell for siunitx; `raised` is the number of seeds where some are missing, and negative elsewhere."""
    mark = rf"\textsuperscript{{{raised}}}" if raised >= 0 else ""
    if np.isnan(mean):
        return rf"{{--{mark}}}"
    text = f"{mean:z.{DECIMALS}f}" + ("" if np.isnan(sd) else rf" \pm {sd:.{DECIMALS}f}")
    return f"{text} {{{mark}}}" if mark else text


def _is_best(cells: pd.DataFrame, best: str | None) -> pd.Series:
    """Whether a cell's mean, as printed, is the best of its network and ratio and some other is worse."""
    if best is None:
        return pd.Series(False, index=cells.index)
    groups = cells.groupby(["network", "column"])["mean"]
    return (cells["mean"] == groups.transform(best)) & (groups.transform("nunique") > 1)


def _column_format(means: pd.Series, deviations: pd.Series) -> str:
    """siunitx' S column with just the room that the numbers need."""
    sign = "-" if (means < 0).any() else ""
    shape = f"{sign}{_digits(means)}.{DECIMALS}"
    if deviations.notna().any():
        shape += f"({_digits(deviations) + DECIMALS})"
    return f"S[table-format={shape}]"


def _digits(values: pd.Series) -> int:
    """Digits before the decimal marker of the largest of `values`, of which some may be missing."""
    return len(str(int(values.abs().fillna(0).max())))


def _range(counts: pd.DataFrame) -> pd.Series:
    """How many seeds a row stands for: "3", or "2--3" where its cells differ."""
    low, high = (counts.agg(end, axis="columns").astype(int).astype(str) for end in ("min", "max"))
    return low.where(low == high, low + "--" + high)


def _listing(frame: pd.DataFrame, widths: tuple[float, ...]) -> str:
    """A longtable of text; `widths` of the last columns as shares of the line, of the others as their text needs."""
    columns = "l" * (len(frame.columns) - len(widths))
    columns += "".join(rf">{{\raggedright\arraybackslash}}p{{{width}\linewidth}}" for width in widths)
    return (
        frame.style.format(escape="latex")
        .format_index(str.capitalize, escape="latex", axis="columns")
        .hide(axis="index")
        .to_latex(environment="longtable", hrules=True, column_format=columns)
    )


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    tensorfile.write_text(path, frame.to_csv(index=False, lineterminator="\n"))
