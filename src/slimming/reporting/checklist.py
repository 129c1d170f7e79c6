"""The checklist of a fair comparison of pruning methods, each item met or not by what a study's ledger holds.

Items are those of Blalock et al. (2020), "What is the state of neural network pruning?", MLSys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from slimming.naming import counted
from slimming.stages.table import LATER

PAIR = ["dataset", "network"]
MANY = 5  # classes; of more, top-5 accuracy says something
POINTS = 5  # operating points of a trade-off curve
SPAN = (2, 32)  # compression ratios that it should lead through
SHARED = ("versions.", "study")  # of provenance: what has one value if all methods ran in the same code

Tables = Mapping[str, pd.DataFrame]


def check(tables: Tables) -> pd.DataFrame:
    """A row an `item`: whether it is met ("yes", "no"), and what was found.

    `tables` are a ledger's by name: ledger, settings, provenance, classes.
    """
    rows = [(item, *found(tables)) for item, found in ITEMS.items()]
    return pd.DataFrame(
        [{"item": item, "met": "yes" if met else "no", "found": words} for item, met, words in rows],
    )


def _named(tables: Tables) -> tuple[bool, str]:
    named = tables["settings"].query("setting == 'architecture.name'")["value"].unique()
    pairs = tables["settings"].groupby(PAIR)["setting"].agg(lambda settings: "architecture.name" in set(settings))
    return bool(pairs.all()), f"{', '.join(tables['ledger']['dataset'].unique())}; {', '.join(sorted(named))}"


def _pairs(tables: Tables) -> tuple[bool, str]:
    pairs = len(tables["ledger"][PAIR].drop_duplicates())
    return pairs >= 3, f"{pairs}"


def _both_ratios(tables: Tables) -> tuple[bool, str]:
    pruned = _later(tables)
    missing = [column for column in ("compression_ratio", "speedup") if pruned[column].isna().any()]
    return not missing, f"without value in some rows: {', '.join(missing)}" if missing else "in every row"


def _top_five(tables: Tables) -> tuple[bool, str]:
    classes = tables["classes"].groupby("dataset")["class"].nunique()
    many = sorted(classes[classes > MANY].index)
    rows = tables["ledger"][tables["ledger"]["dataset"].isin(many)]
    named = f"data sets of more than {MANY} classes: {', '.join(many) or 'none'}"
    return bool(rows["accuracy_top5"].notna().all()), named


def _curves(tables: Tables) -> tuple[bool, str]:
    methods = _later(tables).groupby(PAIR)["method"].nunique()
    return bool(methods.min() >= 2), f"{counted(methods.min(), 'method')} at least, beside each other"


def _points(tables: Tables) -> tuple[bool, str]:
    points = _later(tables).query("ratio > 0").groupby([*PAIR, "method"])["ratio"].nunique()
    least = int(points.min()) if len(points) else 0
    return least >= POINTS, f"{least} at least"


def _range(tables: Tables) -> tuple[bool, str]:
    ratios = _later(tables).query("ratio > 0").groupby([*PAIR, "method", "ratio"])["compression_ratio"].mean()
    ends = ratios.groupby([*PAIR, "method"]).agg(["min", "max"])
    low, high = ends["min"].max(), ends["max"].min()
    return bool(low <= SPAN[0] and high >= SPAN[1]), f"all methods lead from {low:.3g} or less to {high:.3g} or more"


def _spread(tables: Tables) -> tuple[bool, str]:
    seeds = tables["ledger"].groupby([*PAIR, "method", "ratio", "stage"])["seed"].nunique()
    return bool(seeds.min() >= 2), f"{counted(seeds.min(), 'seed')} at least"


def _same_code(tables: Tables) -> tuple[bool, str]:
    provenance, settings = tables["provenance"], tables["settings"]
    libraries = provenance[provenance["item"].str.startswith(SHARED)].groupby("item")["value"].nunique()
    common = settings[settings["setting"].str.startswith(("schedule.", "precision", "device", "compile"))]
    schedules = common.groupby([*PAIR, "setting"])["value"].nunique()
    several = [*libraries[libraries > 1].index, *{setting for *_, setting in schedules[schedules > 1].index}]
    return not several, f"several values of {', '.join(sorted(several))}" if several else "one version, one schedule"


def _later(tables: Tables) -> pd.DataFrame:
    return tables["ledger"][tables["ledger"]["stage"].isin(LATER)]


ITEMS: dict[str, Callable[[Tables], tuple[bool, str]]] = {
    "Data sets and architectures are named exactly": _named,
    "At least three pairs of data set and architecture": _pairs,
    "Compression ratio and theoretical speed-up, both defined": _both_ratios,
    "Top-5 accuracy beside top-1 where classes are many": _top_five,
    "For every pair a trade-off curve beside competing methods": _curves,
    f"At least {POINTS} operating points": _points,
    f"Compression ratios from {SPAN[0]} to {SPAN[1]}": _range,
    "Means and sample standard deviations over several runs": _spread,
    "The same libraries, data loading and schedule for all methods": _same_code,
}
