"""The end of a run shows mean accuracies as the ledger has them."""

import pandas as pd
import pytest

import synthetic
from slimming import ledger
from slimming.reporting import outcome


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return synthetic.small_study(tmp_path, ratios=(0.4, 0.75), finetuned=(0.4,))


def test_mean_accuracies_are_those_of_the_ledger_in_the_order_of_methods(directory):
    first, head, *rows = outcome.text(directory).splitlines()
    assert first == "test accuracy in %, mean of 2 seeds, 40 % removed:"
    assert head.split() == ["dataset", "network", "method", "trained", "pruned", "fine-tuned"]
    measured = ledger.read(directory / "ledger.csv")
    assert [tuple(row.split()[1:3]) for row in rows] == [
        (network, method) for network in ("resnet20", "vgg19") for method in ("none", "l1", "lp-0.75", "tl1-1")
    ]
    for row in map(str.split, rows):
        here = measured[(measured["network"] == row[1]) & (measured["method"] == row[2])]
        for text, stage in zip(row[3:], ("trained", "pruned", "finetuned"), strict=True):
            part = here[(here["stage"] == stage) & here["ratio"].isin([0, 0.4])]
            assert text == f"{100 * part['accuracy'].mean():.1f}"


def test_without_fine_tuning_the_largest_ratio_is_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = synthetic.write(tmp_path, ratios=(0.4, 0.75), finetuned=(), methods=("none",), seeds=(1,))
    ledger.write("synthetic", paths, tmp_path / "ledger")
    assert outcome.text(tmp_path / "ledger").startswith("test accuracy in %, mean of 1 seed, 75 % removed:")


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = synthetic.write(tmp_path, networks=("vgg19",), ratios=(0.4,), finetuned=(0.4,), methods=("none",))
    synthetic.forgo(next(path for path in paths if path.match("seed2/finetuned-0.4.json")), "no memory")
    ledger.write("synthetic", paths, tmp_path / "ledger", allow_missing=True)
    said = outcome.text(tmp_path / "ledger").splitlines()[-1]
    assert said == "missing: digits vgg19 none seed 2, finetuned-0.4 (no memory)"


def test_verdicts_are_counted(directory):
    rows = {"claim": ["a", "b"], "level": "overall", "verdict": ["inconclusive", "partly"], "reason": ""}
    pd.DataFrame(rows).to_csv(directory / "claims.csv", index=False)
    assert outcome.text(directory).splitlines()[-1] == "claims: 1 partly, 1 inconclusive"
