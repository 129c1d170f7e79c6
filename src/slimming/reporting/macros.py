r"""Every number of the paper as a LaTeX macro, and where each comes from.

A name spells what its macro stands for, in letters only: digits are spelled out, "." between them is Point, every
other sign parts words, and words start with a capital. `vgg19` is VggOneNine, `lp-0.5` is LpZeroPointFive.

    \<Measure><Stage><Data set><Network><Method>[At<Ratio>]      mean over seeds
    \<Measure><Stage><Data set><Network><Method>[At<Ratio>]Sd    sample standard deviation over seeds
    \<Item>                                                      item of provenance.csv: \Study, \VersionsTorch

as in \AccuracyPrunedDigitsVggOneNineLpZeroPointFiveAtZeroPointSeven. Measures are summary.MEASURES, accuracies in
per cent; stages are those of stages.table, of which Trained has no ratio. FACTS has the names of other facts. Not for
words: the paper has them, and templates/macros.tex has those that depend on numbers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pandas as pd

from slimming import ledger, tensorfile
from slimming.claims import rules
from slimming.errors import InputError
from slimming.naming import letters
from slimming.reporting import analysed, judged, style, summary, tex
from slimming.reporting.tex import Macro
from slimming.stages.table import STAGES, UNTRAINED

# How a measure is printed: the factor from the ledger's unit, and decimals. The others are counts.
PRINTED = dict.fromkeys(("accuracy", "accuracy_top5", "difference", "gain"), (100, 2)) | dict.fromkeys(
    ("compression_ratio", "speedup", "latency_ms"), (1, 2)
)
MINUS = {"difference": summary.REFERENCE, "gain": "pruned"}
PROTOCOLS = {"last": "after the last epoch", "paper": "after the epoch that was best on the test set"}
WHEN = {"pruned": "Right after pruning", "finetuned": "After fine-tuning"}

STATISTICS: dict[str, Callable[[pd.Series], list]] = {
    "number of rows": lambda values: [len(values)],
    "number of values": lambda values: [values.nunique()],
    "values": lambda values: list(values.dropna().unique()),
    "values in per cent": lambda values: [f"{100 * value:g}" for value in values.unique()],
    "sum in hours": lambda values: [f"{values.sum() / 3600:.2f}"],
}
# name of the macro: the statistic of a column of ledger.csv, at a stage or at all
FACTS = {
    "TrainingCount": ("number of rows", "record", "trained"),
    "PruningCount": ("number of rows", "record", "pruned"),
    "FinetuningCount": ("number of rows", "record", "finetuned"),
    "TrainingHours": ("sum in hours", "seconds", None),
    "DatasetCount": ("number of values", "dataset", None),
    "NetworkCount": ("number of values", "network", None),
    "MethodCount": ("number of values", "method", None),
    "SeedCount": ("number of values", "seed", None),
    "DatasetNames": ("values", "dataset", None),
    "NetworkNames": ("values", "network", None),
    "MethodNames": ("values", "method", None),
    "Ratios": ("values in per cent", "ratio", "pruned"),
    "FinetunedRatios": ("values in per cent", "ratio", "finetuned"),
    "Epochs": ("values", "epochs", "trained"),
    "FinetuneEpochs": ("values", "epochs", "finetuned"),
}


def write(
    ledger_dir: str | os.PathLike,
    output_dir: str | os.PathLike,
    protocol: str = "last",
    tables_dir: str | os.PathLike | None = None,
    figures_dir: str | os.PathLike | None = None,
    claims_files: rules.Files | None = None,
    references_file: str | os.PathLike | None = None,
) -> None:
    """Write macros.tex and macros.json, {name: value and source}, into `output_dir`.

    With both `claims_files` and `references_file` the numbers of claims.csv in `ledger_dir` are among them, and
    claims.tex has what the paper says of claims and published results; the paper needs it. The paper takes tables from
    `tables_dir` (default: tables/ in `ledger_dir`) and figures from `figures_dir` (default: ../../figures/<study> from
    there), named as they are seen from the working directory, where TeX runs. InputError for a faulty ledger or file,
    and for names spelled alike.
    """
    ledger_dir, output_dir = Path(ledger_dir), Path(output_dir)
    measured = ledger.read(ledger_dir / "ledger.csv")
    provenance = ledger.read(ledger_dir / "provenance.csv", "provenance")
    cells = summary.summarise(measured, protocol)
    pairs = [*facts(measured), *items(provenance), *numbers(cells, protocol)]
    if claims_files and references_file:
        pairs += judged.numbers(ledger_dir, references_file).items()
        judged.write(ledger_dir, output_dir / "claims.tex", claims_files, references_file)
    macros = _unique(pairs)
    figures = figures_dir or ledger_dir.parent.parent / "figures" / macros["Study"].value
    text = tex.template("macros.tex", macro=_name).render(
        ledger=ledger_dir.as_posix(),
        macros=macros,
        protocol=PROTOCOLS[protocol],
        tables=_seen_from_here(tables_dir or ledger_dir / "tables"),
        figures=_seen_from_here(figures),
        datasets=list(measured["dataset"].unique()),
        gain=largest_gain(cells),
        panels=widest_spreads(cells),
        when=WHEN,
        counted=summary.counted(measured),
        papers=rules.papers(claims_files) if claims_files else [],
        analysed=analysed.summarise(ledger_dir),
        drawn={name: draw.__doc__.splitlines()[0].rstrip(".") for name, draw in analysed.FIGURES.items()},
        stages={name: stage.words for name, stage in STAGES.items()},
        missing=ledger.told(ledger.missing(ledger_dir)),
    )
    sources = {
        name: macro._asdict() | {"file": Path(os.path.normpath(ledger_dir / macro.file)).as_posix()}
        for name, macro in macros.items()
    }
    tensorfile.write_text(output_dir / "macros.tex", text)
    tensorfile.write_text(output_dir / "macros.json", json.dumps(sources, indent=1, sort_keys=True) + "\n")


def facts(measured: pd.DataFrame) -> Iterator[tuple[str, Macro]]:
    """(name, macro) of FACTS, from ledger.csv; lists are in the order in which they are shown."""
    ordered = measured.sort_values("method", key=lambda methods: methods.map(style.order), kind="stable")
    for name, (statistic, column, stage) in FACTS.items():
        rows = {"stage": stage} if stage else {}
        chosen = (ordered if column == "method" else measured)[column]
        values = STATISTICS[statistic](chosen[measured["stage"] == stage] if stage else chosen)
        labels = column in tex.LABELS and statistic == "values"
        shown = tex.enumerated(tex.label(column, value) for value in values) if labels else tex.numbers(values)
        yield name, Macro(shown, ", ".join(map(str, values)), "ledger.csv", column, statistic, rows)


def items(provenance: pd.DataFrame) -> Iterator[tuple[str, Macro]]:
    """(name, macro) of every item of provenance.csv but the warnings; several values are listed."""
    for item, rows in provenance[provenance["item"] != "warning"].groupby("item"):
        values = list(rows["value"])
        shown = tex.enumerated(map(tex.escape, values))
        yield letters(item), Macro(shown, ", ".join(values), "provenance.csv", "value", "values", {"item": item})


def numbers(cells: pd.DataFrame, protocol: str) -> Iterator[tuple[str, Macro]]:
    """(name, macro) of the mean and the standard deviation over seeds of all cells of summary.summarise."""
    for cell in cells.to_dict("records"):
        factor, decimals = PRINTED.get(cell["measure"], (1, 0))
        column = cell["measure"]
        if column in ("accuracy", *MINUS):
            column = "accuracy" if cell["stage"] in UNTRAINED else summary.PROTOCOLS[protocol]
        over = f"over seeds, minus {MINUS[cell['measure']]}" if cell["measure"] in MINUS else "over seeds"
        rows = {key: cell[key] for key in summary.CELL}
        for end, statistic, suffix in (("mean", "mean", ""), ("sd", "sample standard deviation", "Sd")):
            if pd.notna(cell[end]):
                value = f"{factor * cell[end]:z.{decimals}f}"
                macro = Macro(tex.numbers([value]), value, "ledger.csv", column, f"{statistic} {over}", rows)
                yield _name(cell) + suffix, macro


def largest_gain(cells: pd.DataFrame) -> dict[str, dict] | None:
    """The cells right after pruning, {"high": a method's, "low": BASELINE's}, whose mean accuracies differ most.

    None where the study has no baseline or no other method.
    """
    pruned = _accuracy(cells, ["pruned"])
    pairs = pruned[pruned["method"] != summary.BASELINE].merge(
        pruned[pruned["method"] == summary.BASELINE], on=["dataset", "network", "ratio"], suffixes=("", "_low")
    )
    if pairs.empty:
        return None
    best = pairs.loc[(pairs["mean"] - pairs["mean_low"]).idxmax()].to_dict()
    high = {column: best[column] for column in cells}
    return {"high": high, "low": high | {"method": summary.BASELINE, "mean": best["mean_low"]}}


def widest_spreads(cells: pd.DataFrame) -> list[list[dict[str, dict]]]:
    """For every data set and network, and there for every stage: {"low": cell, "high": cell} of mean accuracy.

    They are the lowest and the highest method at the ratio where these differ most. Where there is one method, there
    is nothing to compare and no entry.
    """
    accuracy = _accuracy(cells, [*WHEN])
    groups = accuracy.groupby(["dataset", "network", "stage", "ratio"])["mean"]
    ends = groups.agg(low="idxmin", high="idxmax", methods="size", spread=lambda means: means.max() - means.min())
    ends = ends[ends["methods"] > 1]
    widest = ends.loc[ends.groupby(["dataset", "network", "stage"])["spread"].idxmax()]
    panels: dict[tuple, list] = {}
    for (dataset, network, *_), row in widest.sort_index(
        level="stage", ascending=False, sort_remaining=False
    ).iterrows():
        spread = {end: accuracy.loc[row[end]].to_dict() for end in ("low", "high")}
        panels.setdefault((dataset, network), []).append(spread)
    return [panels[panel] for panel in sorted(panels)]


def _accuracy(cells: pd.DataFrame, stages: list[str]) -> pd.DataFrame:
    return cells[(cells["measure"] == "accuracy") & cells["stage"].isin(stages)]


def _name(cell: Mapping) -> str:
    """The name of the macro with the mean of a cell."""
    ratio = [] if cell["stage"] == "trained" else ["at", cell["ratio"]]
    return letters(*(cell[key] for key in ("measure", "stage", "dataset", "network", "method")), *ratio)


def _unique(pairs: Iterable[tuple[str, Macro]]) -> dict[str, Macro]:
    macros: dict[str, Macro] = {}
    for name, macro in pairs:
        if name in macros:
            one, other = macros[name].rows, macro.rows
            raise InputError(f"{one} and {other} would both be \\{name}; rename one of them in the study")
        macros[name] = macro
    return macros


def _seen_from_here(path: str | os.PathLike) -> str:
    return Path(os.path.relpath(path)).as_posix()
