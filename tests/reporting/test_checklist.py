"""Every item of the checklist is met by a study that has what it asks for, and not by one that lacks it."""

import pandas as pd
import pytest

import synthetic
from slimming import ledger
from slimming.reporting import checklist

NAMES = ("ledger", "settings", "provenance", "classes")
RATIOS = (0.2, 0.4, 0.6, 0.8, 0.9)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> dict[str, pd.DataFrame]:
    """A study that has all."""
    root = tmp_path_factory.mktemp("checklist")
    grid = {"methods": ("none", "l1"), "seeds": (1, 2), "ratios": RATIOS, "finetuned": RATIOS}
    ledger.write("synthetic", synthetic.write(root, **grid), root)
    tables = {name: ledger.read(root / f"{name}.csv", name) for name in NAMES}
    ratio = tables["ledger"]["ratio"]
    tables["ledger"]["compression_ratio"] = 1 / (1 - ratio).clip(lower=0.03) + ratio.gt(0.8) * 40
    return tables


def unmet(tables: dict[str, pd.DataFrame]) -> list[str]:
    return checklist.check(tables).query("met == 'no'")["item"].tolist()


def test_a_study_that_has_all_meets_all(study):
    assert unmet(study) == []
    assert len(checklist.check(study)) == len(checklist.ITEMS)


@pytest.mark.parametrize(
    ("table", "change", "start"),
    [
        ("settings", lambda frame: frame[frame["setting"] != "architecture.name"], "Data sets and architectures"),
        ("ledger", lambda frame: frame[frame["network"] != "vgg19"], "At least three pairs"),
        ("ledger", lambda frame: frame.assign(speedup=None), "Compression ratio and theoretical"),
        ("ledger", lambda frame: frame.assign(accuracy_top5=None), "Top-5 accuracy"),
        ("ledger", lambda frame: frame[frame["method"] == "l1"], "For every pair a trade-off"),
        ("ledger", lambda frame: frame[frame["ratio"] != 0.4], "At least 5 operating"),
        ("ledger", lambda frame: frame.assign(compression_ratio=8.0), "Compression ratios from 2 to 32"),
        ("ledger", lambda frame: frame[frame["seed"] == 1], "Means and sample"),
        (
            "provenance",
            lambda frame: pd.concat([frame, pd.DataFrame([{"item": "versions.torch", "value": "1", "records": 1}])]),
            "The same libraries",
        ),
        (
            "settings",
            lambda frame: frame.assign(
                value=frame["value"].mask((frame["setting"] == "schedule.lr") & (frame["method"] == "l1"), "9")
            ),
            "The same libraries",
        ),
    ],
)
def test_what_is_missing_is_not_met_and_nothing_else(study, table, change, start):
    (item,) = unmet(study | {table: change(study[table])})
    assert item.startswith(start)


def test_top_five_is_not_asked_of_few_classes(study):
    few = study["classes"][study["classes"]["class"] < 3]
    assert unmet(study | {"classes": few, "ledger": study["ledger"].assign(accuracy_top5=None)}) == []
