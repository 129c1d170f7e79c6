"""Evidence: from the rows of a ledger to one difference a seed between two methods.

A curve, accuracy against ratio or against size, becomes one number a seed before anything is tested: either its mean
over the ratios, or the size at which accuracy is lost. So no verdict hangs on one lucky ratio, and n is the number of
seeds. Not for intervals and tests: those are in statistics.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from slimming import ledger
from slimming.errors import InputError
from slimming.schema import KEY

if TYPE_CHECKING:
    from slimming.claims.rules import Comparison, Finding

PANEL = ["dataset", "network"]


class Evidence(NamedTuple):
    """Treatment minus reference, a number a seed: percentage points of accuracy, or log of the ratio of sizes.

    Of a finding (rules.Finding), the measure minus what it is compared with, in the measure's unit.

    `by_ratio` has the differences at each ratio, (seeds,) each, where `differences`, (seeds,), are their mean.
    `open_treatment` and `open_reference` count the seeds at which a method still keeps its accuracy at the largest
    ratio measured, so that its smallest network is yet smaller than the one found; `lost_treatment` and
    `lost_reference` those at which no network of it is accurate enough, not even before pruning: the dense size counts.
    `seeds` counts those at which either method was measured; `differences` has those at which all was.
    """

    differences: np.ndarray
    by_ratio: dict[float, np.ndarray]
    open_treatment: int = 0
    open_reference: int = 0
    lost_treatment: int = 0
    lost_reference: int = 0
    seeds: int = 0


def read(ledger_dir: str | os.PathLike) -> pd.DataFrame:
    """The ledger in `ledger_dir`, in which every run of a method has the ratios of others at the stages it reaches.

    That holds within a data set and network; a stage may be lacking for all of a method, such as fine-tuning for one
    that needs none, methods may have their own seeds, and what missing.csv lists was not made. Raises InputError,
    naming the row, where another one is missing, and as ledger.read does where one is faulty.
    """
    path = Path(ledger_dir) / "ledger.csv"
    frame, forgone = ledger.read(path), ledger.missing(ledger_dir)
    parts = (["method", "stage"], ["stage", "ratio"], ["method", "seed"])
    reached, steps, seeds = (frame[[*PANEL, *part]].drop_duplicates() for part in parts)
    wanted = reached.merge(steps, on=[*PANEL, "stage"]).merge(seeds, on=[*PANEL, "method"]).sort_values(KEY)
    known = pd.concat([frame[KEY], forgone[KEY]]) if len(forgone) else frame[KEY]
    missing = wanted.merge(known, "left", on=KEY, indicator=True).query("_merge == 'left_only'")
    if len(missing):
        where = ", ".join(f"{key} {missing.iloc[0][key]}" for key in KEY)
        raise InputError(
            f"{path}: no row for {where}, though others on that data set and network have this ratio and stage; "
            "methods are compared seed by seed, so make that record and the ledger again"
        )
    return frame


def _needed(comparison: Comparison, methods: Sequence[str], dense: str) -> list[tuple[str, str]]:
    """(method, stage) of the networks that a comparison of `methods` is about."""
    return [(method, comparison.stage) for method in methods] + [(dense, "trained")] * bool(comparison.tolerance)


def lacking(
    panel: pd.DataFrame, comparison: Comparison, methods: Sequence[str], ratios: Sequence[float], dense: str
) -> str:
    """Why `panel`, a data set's and network's rows, cannot answer `comparison`; "" where it can.

    `methods` are the two compared; of `ratios` at least one must be there, where any are given.
    """
    needed = _needed(comparison, methods, dense)
    for method, stage in needed:
        stages = panel.loc[panel["method"] == method, "stage"]
        if stages.empty:
            known = sorted(panel["method"].unique())
            return f"the ledger has no method {method}, only {', '.join(known)}"
        if stage not in set(stages):
            return f"the ledger has no {stage} networks of {method}"
    found = panel.loc[panel["stage"] == comparison.stage, "ratio"]
    if ratios and not found.isin(ratios).any():
        return f"the ledger has no {comparison.stage} networks at ratio {' or '.join(f'{r:g}' for r in ratios)}"
    if not _complete(panel, needed, ratios):
        return f"there is no seed at which all networks of {' and '.join(methods)} were measured"
    return ""


def _complete(panel: pd.DataFrame, needed: Sequence[tuple[str, str]], ratios: Sequence[float]) -> list[int]:
    """The seeds at which every ratio that any seed has, and that counts, is there of all (method, stage) `needed`."""
    rows = panel.merge(pd.DataFrame(needed, columns=["method", "stage"]).drop_duplicates())
    rows = rows[rows["ratio"].isin(ratios) | (rows["stage"] == "trained")] if ratios else rows
    counts = rows.groupby("seed").size()
    return list(counts.index[counts == len(rows[["method", "stage", "ratio"]].drop_duplicates())])


def gather(
    panel: pd.DataFrame,
    comparison: Comparison,
    treatment: str,
    reference: str,
    ratios: Sequence[float] = (),
    dense: str = "none",
) -> Evidence:
    """The differences between `treatment` and `reference` in `panel`, seed by seed, at `ratios` (none means all).

    A seed counts where all that the comparison needs was measured at it.
    """
    methods = (treatment, reference)
    seeds = panel.loc[panel["method"].isin(methods), "seed"].nunique()
    panel = panel[panel["seed"].isin(_complete(panel, _needed(comparison, methods, dense), ratios))]
    if comparison.tolerance is None:
        ours, theirs = (_by_ratio(panel, comparison, method, ratios) for method in methods)
        differences = 100 * (ours - theirs) if comparison.metric == "accuracy" else np.log(ours) - np.log(theirs)
        by_ratio = {float(ratio): differences[ratio].to_numpy() for ratio in differences}
        return Evidence(differences.mean(axis=1).to_numpy(), by_ratio, seeds=seeds)
    baseline = panel[(panel["method"] == dense) & (panel["stage"] == "trained")].set_index("seed").sort_index()
    targets = baseline["accuracy"] - comparison.tolerance / 100
    ours, theirs = (
        _smallest_by_seed(panel, comparison, method, ratios, targets, baseline[comparison.metric]) for method in methods
    )
    counts = [int(found[:, column].sum()) for column in (1, 2) for found in (ours, theirs)]
    return Evidence(ours[:, 0] - theirs[:, 0], {}, *counts, seeds=seeds)


def smallest(sizes: np.ndarray, accuracies: np.ndarray, target: float, dense: float) -> tuple[float, bool]:
    """Size of the smallest network on a curve with an accuracy of at least `target`, and whether the curve ends there.

    sizes, accuracies: (networks,), of one method and seed, in any order. Between neighbouring sizes accuracy is taken
    as linear in the logarithm of the size. Where no network reaches `target`, the answer is `dense`: nothing
    can be removed.
    """
    order = np.argsort(sizes, kind="stable")
    logs, heights = np.log(np.asarray(sizes, dtype=float)[order]), np.asarray(accuracies, dtype=float)[order]
    reached = np.flatnonzero(heights >= target)
    if not len(reached):
        return float(dense), False
    first = reached[0]
    if first == 0:
        return float(np.exp(logs[0])), True
    share = (target - heights[first - 1]) / (heights[first] - heights[first - 1])
    return float(np.exp(logs[first - 1] + share * (logs[first] - logs[first - 1]))), False


def found(measures: pd.DataFrame, finding: Finding, method: str, ratios: Sequence[float] = ()) -> Evidence | str:
    """What `measures`, of one data set and network (analysed.read_measures), have of `finding`; or why nothing."""
    rows = measures[(measures["measure"] == finding.measure) & (measures["stage"] == finding.stage)]
    rows = rows[(rows["method"] == method) & (rows["ratio"].isin(ratios) if ratios else True)]
    if rows.empty:
        return f"no analysis measured {finding.measure} of {finding.stage} networks of {method}"
    table = rows.pivot(index="seed", columns="ratio", values="value") - finding.than
    whole = table.dropna()
    if whole.empty:
        return f"{finding.measure} has no value for these networks"
    by_ratio = {float(ratio): whole[ratio].to_numpy() for ratio in whole}
    return Evidence(whole.mean(axis=1).to_numpy(), by_ratio, seeds=len(table))


def _by_ratio(panel: pd.DataFrame, comparison: Comparison, method: str, ratios: Sequence[float]) -> pd.DataFrame:
    """The metric of `method`, a row a seed and a column a ratio."""
    rows = panel[(panel["method"] == method) & (panel["stage"] == comparison.stage)]
    table = rows.pivot(index="seed", columns="ratio", values=comparison.metric)
    return table[[ratio for ratio in table if not ratios or ratio in ratios]]


def _smallest_by_seed(
    panel: pd.DataFrame,
    comparison: Comparison,
    method: str,
    ratios: Sequence[float],
    targets: pd.Series,
    dense: pd.Series,
) -> np.ndarray:
    """(seeds, 3): log of the smallest network's size, whether the curve ends there, and whether there is none.

    Every curve starts at the method's own network as trained, where it has one: at ratio 0 nothing was removed.
    """
    rows = panel[panel["method"] == method]
    chosen = rows["ratio"].isin(ratios) if ratios else True
    rows = rows[(rows["stage"] == "trained") | ((rows["stage"] == comparison.stage) & chosen)]
    found = []
    for seed, curve in rows.groupby("seed"):
        sizes, accuracies = curve[comparison.metric].to_numpy(), curve["accuracy"].to_numpy()
        size, ends = smallest(sizes, accuracies, targets[seed], dense[seed])
        found.append((np.log(size), ends, (accuracies < targets[seed]).all()))
    return np.array(found, dtype=float)
