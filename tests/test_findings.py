"""What a method found out while it planned reaches its table and its figure."""

import itertools
import json
from pathlib import Path

import pandas as pd
import pytest

from slimming import cli, findings, records, study
from slimming.errors import InputError
from tiny import Work


@pytest.fixture(scope="module")
def made(prepared, tmp_path_factory):
    """A tiny run of a method that finds something, through the command line."""
    folder = tmp_path_factory.mktemp("found")
    keys = {"compensate": False, "recalibrate": False, "finetune": {}, "scratch": {}, "ratios": [0.3, 0.5]}
    work = Work(folder, prepared, methods=["cc"], budget="macs", **keys)
    prune = [*work.prune(), "--budget", "macs"]
    for command in (work.train(), [word for word in prune if word not in ("--compensate", "--recalibrate")]):
        assert cli.main(command) == 0
    assert cli.main(work.measure("trained", "pruned-0.3", "pruned-0.5")) == 0
    table = folder / "findings.csv"
    asked = work.study.settings()
    assert cli.main(["findings", asked, "--records", str(folder / "records"), "--output", str(table)]) == 0
    return work, table


def test_every_figure_of_a_record_is_a_row(made):
    work, table = made
    rows = findings.read(table)
    for ratio in (0.3, 0.5):
        found = work.record(f"pruned-{ratio}")["compression"]["found"]
        mine = rows[rows["ratio"] == ratio]
        assert set(mine["item"]) == {*found} - ({"sensitivity"} if ratio > 0.3 else set())
        rates = mine[mine["item"] == "rate"].set_index("layer")["value"]
        assert rates.to_dict() == found["rate"]
        for layer, points in found["sensitivity"].items():  # which no ratio changes
            curve = rows[(rows["item"] == "sensitivity") & (rows["layer"] == layer)]
            assert sorted(map(tuple, points)) == sorted(zip(curve["x"], curve["value"], strict=True))
    assert set(rows["stage"]) == {"pruned"}
    assert set(rows["method"]) == {"cc"}


def test_a_curve_stands_whole_at_every_ratio_that_changes_one_of_its_points(made, tmp_path):
    work, _ = made
    paths = [tmp_path / name for name in "abc"]
    for path, ratio, last in zip(paths, (0.3, 0.5, 0.7), (0.9, 1.0, 0.9), strict=True):
        record = work.record("pruned-0.3") | {"ratio": ratio}
        record["compression"]["found"] = {"codes": {"a": [[0, 0.1], [1, last]], "b": [[0, 0.2]]}}
        records.write(path, record)
    findings.write(paths, tmp_path / "findings.csv")
    rows = findings.read(tmp_path / "findings.csv")[["ratio", "layer", "x", "value"]]
    whole = [(0.3, "a", 0, 0.1), (0.3, "a", 1, 0.9), (0.3, "b", 0, 0.2), (0.5, "a", 0, 0.1), (0.5, "a", 1, 1.0)]
    assert list(rows.itertuples(index=False, name=None)) == whole


def test_its_figure_is_drawn_alike_twice(made, tmp_path):
    _, table = made
    for folder in ("a", "b"):
        assert cli.main(["found", str(table), "--output", str(tmp_path / folder)]) == 0
    names = [path.name for path in sorted((tmp_path / "a").iterdir())]
    assert names == ["sensitivity-digits.pdf", "sensitivity-digits.png", "sensitivity-digits.svg"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_codes_are_drawn_a_panel_a_network_and_method(tmp_path):
    key = {"dataset": "digits", "network": "vgg11", "seed": 1, "ratio": 0.5, "stage": "pruned", "item": "codes"}
    rows = [
        key | {"method": method, "layer": f"features.{layer}.conv", "x": epoch, "value": min(1.0, (epoch + layer) / 9)}
        for method, layer, epoch in itertools.product(("dcff", "dcff-authors"), range(9), range(4))
    ]
    pd.DataFrame(rows)[findings.COLUMNS].to_csv(tmp_path / "findings.csv", index=False)
    assert cli.main(["found", str(tmp_path / "findings.csv"), "--output", str(tmp_path)]) == 0
    drawn = (tmp_path / "codes-digits.svg").read_text()
    assert drawn.count("VGG-11, dcff") == 2


def test_operations_are_drawn_a_row_a_method_and_seed(tmp_path):
    key = {"dataset": "digits", "network": "vgg11", "ratio": 0.5, "stage": "pruned", "item": "operations", "x": None}
    rows = [
        key | {"method": method, "seed": seed, "layer": f"features.{layer}.conv", "value": (layer + seed) % 7}
        for method, seed, layer in itertools.product(("nat", "nat++"), (1, 2), range(9))
    ]
    pd.DataFrame(rows)[findings.COLUMNS].to_csv(tmp_path / "findings.csv", index=False)
    assert cli.main(["found", str(tmp_path / "findings.csv"), "--output", str(tmp_path)]) == 0
    drawn = (tmp_path / "operations-digits.svg").read_text()
    for words in ("nat, seed 1", "nat++, seed 2", "dilated separable", "features.0.conv to features.8.conv"):
        assert words in drawn


def test_a_study_says_what_its_methods_find(made):
    work, _ = made
    assert work.study.finds() == ["sensitivity"]
    assert study.load(Path(__file__).parents[1] / "config" / "quick.yaml").finds() == []


@pytest.mark.parametrize("wrong", [float("nan"), "much", None])
def test_a_figure_that_is_no_number_is_refused(made, tmp_path, wrong):
    work, _ = made
    record = work.record("pruned-0.5")
    record["compression"]["found"]["rate"] = {"features.2.conv": wrong}
    path = tmp_path / "record.json"
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match="rate features"):
        findings.write([path], tmp_path / "findings.csv")
    assert not (tmp_path / "findings.csv").exists()


def test_records_without_findings_make_an_empty_table(made, tmp_path):
    work, _ = made
    record = work.record("trained")
    assert "compression" not in record
    records.write(tmp_path / "record.json", record)
    findings.write([tmp_path / "record.json"], tmp_path / "findings.csv")
    assert findings.read(tmp_path / "findings.csv").empty


def test_another_table_is_refused(tmp_path):
    pd.DataFrame({"a": [1]}).to_csv(tmp_path / "other.csv")
    for name, message in (("other.csv", "has the columns"), ("nowhere.csv", "not a readable table")):
        with pytest.raises(InputError, match=message):
            findings.read(tmp_path / name)
