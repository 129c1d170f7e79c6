"""Two studies compared: differences are paired by seed, and what is not in both is named."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import synthetic
from slimming import cli, ledger
from slimming.errors import InputError
from slimming.reporting import comparison

GRID = {"networks": ("vgg19", "resnet20"), "methods": ("none", "l1", "tl1-1"), "ratios": (0.4, 0.8)}


def study(root, name="before", **grid):
    ledger.write(name, synthetic.write(root, name, **GRID | grid), root / "results" / name)
    return root / "results" / name


def edited(folder, output, table="ledger", **columns):
    """A copy of a study's ledger in which columns of a table are functions of its frame."""
    output.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.csv"):
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        if path.stem == table:
            frame = frame.assign(**columns)
        frame.to_csv(output / path.name, index=False)
    return output


@pytest.fixture
def before(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return study(tmp_path)


def test_accuracies_differ_in_points_with_students_interval_of_the_paired_differences(before, tmp_path):
    added = {"1": 0.01, "2": 0.02, "3": 0.06}
    l1 = lambda frame: frame["method"] == "l1"  # noqa: E731
    shifted = lambda frame: (frame["accuracy"].astype(float) / 2 + frame["seed"].map(added)).astype(str)  # noqa: E731
    halved = lambda frame: (frame["accuracy"].astype(float) / 2).astype(str)  # noqa: E731
    first = edited(before, tmp_path / "first", accuracy=halved)
    second = edited(before, tmp_path / "second", accuracy=lambda frame: shifted(frame).where(l1(frame), halved(frame)))
    found = comparison.compare(first, second).query("measure == 'accuracy'").set_index("method")
    half = stats.t.ppf(0.975, 2) * (7 / 3) ** 0.5
    assert found.loc["l1", ["difference", "low", "high"]].to_numpy(float) == pytest.approx(
        np.tile([3, 3 - half, 3 + half], (2 * (1 + 2 + 2), 1)), rel=1e-9
    )
    assert set(found["unit"]) == {"percentage points"}
    assert (found["n"] == 3).all()
    assert (found.loc[["none", "tl1-1"], ["difference", "low", "high"]] == 0).all(axis=None)


def test_sizes_differ_in_per_cent_of_the_first_study(before, tmp_path):
    second = edited(before, tmp_path / "second", macs=lambda frame: (4 * frame["macs"].astype(int)).astype(str))
    found = comparison.compare(before, second)
    assert found.query("measure == 'macs'")[["difference", "low", "high"]].to_numpy() == pytest.approx(300)
    assert found.query("measure == 'parameters'")["difference"].abs().max() < 1e-9
    assert found.query("measure == 'macs'").eval("second / first").tolist() == pytest.approx([4] * 30)


def test_studies_are_named_or_pointed_at(before):
    assert comparison.folder("before") == comparison.folder("results/before")
    pd.testing.assert_frame_equal(comparison.compare("before", before), comparison.compare(before, "before"))
    with pytest.raises(InputError, match="unknown study 'befor': did you mean 'before'"):
        comparison.compare("before", "befor")


def test_what_only_one_study_has_is_named_and_the_rest_compared(before, tmp_path):
    after = study(tmp_path, "after", methods=("none", "l1", "lp-0.5"), seeds=(2, 3, 4), networks=("vgg19",))
    found = comparison.compare("before", "after")
    assert set(found["method"]) == {"none", "l1"}
    assert set(found["n"]) == {2}
    text = comparison.text("before", "after")
    assert "Only in before, so not compared: network resnet20; method tl1-1; seed 1\n" in text
    assert "Only in after, so not compared: method lp-0.5; seed 4\n" in text
    assert after.is_dir()


def test_studies_with_nothing_in_common_are_refused(before, tmp_path):
    study(tmp_path, "other", datasets=("svhn",))
    with pytest.raises(InputError, match=r"before and other have no data set, .* in common"):
        comparison.compare("before", "other")


def test_changed_settings_and_versions_are_said_with_what_they_apply_to(before, tmp_path):
    lam = lambda frame: frame["value"].mask((frame["setting"] == "method.lam") & (frame["method"] == "l1"), "0.1")  # noqa: E731
    after = edited(before, tmp_path / "one", "settings", value=lam)
    after = edited(
        after, tmp_path / "two", "provenance", value=lambda frame: frame["value"].replace("2.13.0", "2.14.0")
    )
    text = comparison.text(before, after)
    assert "Settings that differ:\n  method.lam: 0.002 -> 0.1 (l1)\n\n" in text
    assert "versions.torch: 2.13.0 -> 2.14.0\n" in text
    assert "Settings that differ" not in comparison.text(before, before)


def test_a_study_is_the_same_as_itself(before):
    text = comparison.text(before, before)
    stages = ledger.read(before / "ledger.csv")["stage"]
    has = [name for name, table in comparison.SHOWN.items() if table.stage in set(stages)]
    assert text.count("\n  same\n") == len(has) < len(comparison.SHOWN)
    assert "n = 3" in text
    assert "Seeds are few" in text


def test_tables_have_a_row_a_method_and_a_column_a_ratio(before, tmp_path):
    worse = lambda frame: (frame["accuracy"].astype(float) * 0.5).astype(str)  # noqa: E731
    text = comparison.text(before, edited(before, tmp_path / "worse", accuracy=worse))
    table = text.partition("Test accuracy, right after pruning: difference in percentage points\n")[2].split("\n\n")[0]
    head, *rows = table.splitlines()
    assert head.split() == ["dataset", "network", "method", "dense", "40", "%", "80", "%"]
    assert [row.split()[1:3] for row in rows] == [
        [network, method] for network in ("resnet20", "vgg19") for method in ("none", "l1", "tl1-1")
    ]


def test_one_seed_has_no_interval(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study(tmp_path, seeds=(1,))
    half = lambda frame: (frame["accuracy"].astype(float) * 0.5).astype(str)  # noqa: E731
    edited(tmp_path / "results/before", tmp_path / "results/after", accuracy=half)
    found = comparison.compare("before", "after").query("measure == 'accuracy'")
    assert found["low"].isna().all()
    assert "[" not in comparison.text("before", "after")


def test_the_command_prints_the_tables_and_writes_every_difference(before, tmp_path, capsys):
    assert cli.main(["compare", "before", "results/before", "--output", str(tmp_path / "all.csv")]) == 0
    assert capsys.readouterr().out == comparison.text("before", "results/before")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "all.csv", keep_default_na=False),
                                  comparison.compare("before", "before"))  # fmt: skip
