"""The ledger says what the records say, in the same bytes in any order, and refuses what it cannot vouch for."""

from __future__ import annotations

import csv
import json
import math
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import synthetic
from slimming import ledger, records
from slimming.errors import InputError
from slimming.schema import TABLES
from slimming.stages.table import LATER

COLUMNS = (
    "dataset,network,method,seed,ratio,stage,accuracy,accuracy_top5,accuracy_best,loss,parameters,nonzero,macs,"
    "macs_nonzero,compression_ratio,speedup,bytes,channels,ratio_of,ratio_reached,compression_seconds,"
    "compression_passes,latency_ms,epochs,seconds,device,threads,checkpoint_sha256,record"
)
KEY = ("dataset", "network", "method", "seed", "ratio", "stage")
METHODS = ("l1", "lp-0.5", "mcp-500")
PART = {
    "networks": ("vgg19",), "methods": METHODS, "seeds": (2, 10), "ratios": (0.4, 0.8), "finetuned": (0.4,),
    "scratch": (0.4,), "variants": True,
}  # fmt: skip
ALONE = ("synthetic", "digits", "vgg19", "l1", 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[list[Path], Path]:
    """The records of a small study and its ledger."""
    root = tmp_path_factory.mktemp("ledger")
    paths = synthetic.write(root, **PART)
    ledger.write("synthetic", paths, root / "ledger")
    return paths, root / "ledger"


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def key(row: dict[str, str]) -> tuple:
    return (*(row[name] for name in KEY[:3]), int(row["seed"]), float(row["ratio"]), row["stage"])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def put(path: Path, record: dict) -> Path:
    """Write a record that records.write would refuse."""
    path.write_text(json.dumps(record), encoding="utf-8")
    return path


def refusal(call, *arguments) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_columns_and_their_order_are_those_promised(made):
    assert (made[1] / "ledger.csv").read_text().splitlines()[0] == COLUMNS


def test_every_measurement_has_one_row_sorted_by_number_not_by_text(made):
    keys = [key(row) for row in lines(made[1] / "ledger.csv")]
    at = {0.4: sorted(LATER), 0.8: ["compensated", "pruned", "recalibrated"]}
    stages = [(0.0, "trained"), *((ratio, stage) for ratio, stages in at.items() for stage in stages)]
    assert keys == [("digits", "vgg19", method, seed, *end) for method in METHODS for seed in (2, 10) for end in stages]


def test_a_row_says_what_its_record_says(made):
    for row in lines(made[1] / "ledger.csv"):
        record = json.loads(Path(row["record"]).read_text())
        measured, training = record["measured"], record.get("training", {})
        for name in set(COLUMNS.split(",")) & measured.keys() - {"latency_ms"}:
            assert (float(row[name]) if row[name] else None) == measured[name]
        planned = record.get("compression", {})
        assert (row["ratio_of"] or None) == planned.get("ratio_of")
        for name in ("seconds", "passes"):
            assert (float(row[f"compression_{name}"]) if row[f"compression_{name}"] else None) == planned.get(name)
        assert float(row["latency_ms"]) == measured["latency_ms"]["1"]["median"]
        assert (int(row["epochs"]) if row["epochs"] else None) == training.get("epochs")
        assert (float(row["seconds"]) if row["seconds"] else None) == training.get("seconds")
        assert (row["device"], row["threads"]) == ("cpu", "1")
        assert row["checkpoint_sha256"] == record["checkpoint"]["sha256"]
        assert key(row) == (*run_of(record), record["ratio"], record["stage"])


def run_of(record: dict) -> tuple:
    run = record["run"]
    return run["dataset"], run["network"], run["method_slug"], run["seed"]


def test_the_order_of_the_records_changes_no_byte(made, tmp_path):
    paths, folder = made
    ledger.write("synthetic", random.Random(7).sample(paths, len(paths)), tmp_path)
    assert contents(tmp_path) == contents(folder)
    assert set(contents(folder)) == {f"{name}.csv" for name in TABLES}


@pytest.mark.parametrize("table", TABLES)
def test_what_is_written_is_read_back(made, table):
    paths, folder = made
    pd.testing.assert_frame_equal(
        ledger.read(folder / f"{table}.csv", table), ledger.collect(paths)[table], check_exact=True
    )


def test_awkward_numbers_survive_to_the_last_bit(tmp_path):
    awkward = [0.1 + 0.2, 5e-324, 1 / 3, math.nextafter(1, 0), 1.7e308, 1e22, 123456.78901234567]
    numbers = awkward + np.random.default_rng(1).uniform(0, 1, 40).tolist()
    paths = []
    for seed, number in enumerate(numbers):
        record = synthetic.record(*ALONE[:4], seed, "trained", 0.0)
        record["measured"]["loss"] = number
        paths.append(tmp_path / f"{seed}.json")
        records.write(paths[-1], record)
    ledger.write("synthetic", paths, tmp_path / "ledger")
    assert ledger.read(tmp_path / "ledger" / "ledger.csv")["loss"].tolist() == numbers


def test_names_that_look_like_missing_values_stay_names(made, tmp_path):
    rows = ledger.read(made[1] / "ledger.csv").assign(method=lambda frame: frame["method"].replace("l1", "nan"))
    rows.to_csv(tmp_path / "ledger.csv", index=False)
    assert set(ledger.read(tmp_path / "ledger.csv")["method"]) == {"nan", "lp-0.5", "mcp-500"}


def test_without_a_method_all_other_lines_are_the_same_bytes(made, tmp_path):
    paths, folder = made
    ledger.write("synthetic", [path for path in paths if "/l1/" not in path.as_posix()], tmp_path)
    for name in ("ledger", "curves", "factors", "layers", "classes", "latency", "settings"):
        whole = (folder / f"{name}.csv").read_bytes().splitlines(keepends=True)
        others = [line for line in whole if b",l1," not in line]
        assert len(others) < len(whole)
        assert (tmp_path / f"{name}.csv").read_bytes().splitlines(keepends=True) == others


def test_the_machine_and_its_warnings_are_counted(made):
    provenance = {(row["item"], row["value"]): int(row["records"]) for row in lines(made[1] / "provenance.csv")}
    assert provenance["study", "synthetic"] == len(made[0]) == 60
    assert provenance["warning", "mcp-500 with lam=0.0001 cannot act_here: 50% & more"] == 20
    assert not {"command", "started"} & {item for item, _ in provenance}


def test_a_measurement_recorded_twice_is_refused(made, tmp_path):
    paths, _ = made
    again = put(tmp_path / "again.json", records.read(paths[3]))
    message = refusal(ledger.write, "synthetic", [*paths, again], tmp_path / "ledger")
    assert "another row with this key" in message
    assert all(f"{part}" in message for part in run_of(records.read(paths[3])))
    assert any(f"{path}" in message for path in (paths[3], again))
    assert not (tmp_path / "ledger").exists()


@pytest.mark.parametrize("accuracy", [math.nan, math.inf, -0.1, 1.5, None, "high"])
def test_an_impossible_accuracy_in_a_record_is_refused(tmp_path, accuracy):
    record = synthetic.record(*ALONE, "trained", 0.0)
    record["measured"]["accuracy"] = accuracy
    path = put(tmp_path / "bad.json", record)
    message = refusal(ledger.write, "synthetic", [path], tmp_path / "ledger")
    assert f"{path}" in message
    assert "accuracy" in message
    assert not (tmp_path / "ledger").exists()


@pytest.mark.parametrize("accuracy", ["nan", "inf", "-inf", "", "1.5", "high"])
def test_an_impossible_accuracy_in_a_table_is_refused_by_its_line(made, tmp_path, accuracy):
    rows = lines(made[1] / "ledger.csv")
    rows[10]["accuracy"] = accuracy
    path = tmp_path / "ledger.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    message = refusal(ledger.read, path)
    assert f"{path}: line 12 (dataset digits, network vgg19, method l1, seed 10, ratio 0.0, stage trained" in message
    assert "accuracy is" in message


def test_a_duplicate_line_is_refused_by_its_number(made, tmp_path):
    text = (made[1] / "ledger.csv").read_text().splitlines(keepends=True)
    path = tmp_path / "ledger.csv"
    path.write_text("".join([*text, text[11]]))
    assert "another row with this key" in (message := refusal(ledger.read, path))
    assert f"{path}: line 12 (dataset digits, network vgg19, method l1, seed 10" in message


@pytest.mark.parametrize("column", COLUMNS.split(","))
def test_a_missing_column_is_refused_by_name(made, tmp_path, column):
    pd.read_csv(made[1] / "ledger.csv").drop(columns=column).to_csv(tmp_path / "ledger.csv", index=False)
    assert f"{tmp_path / 'ledger.csv'}: no column {column!r}" in refusal(ledger.read, tmp_path / "ledger.csv")


def test_an_unknown_column_is_refused_by_name(made, tmp_path):
    pd.read_csv(made[1] / "ledger.csv").assign(luck=1).to_csv(tmp_path / "ledger.csv", index=False)
    assert "unknown column 'luck'" in refusal(ledger.read, tmp_path / "ledger.csv")


@pytest.mark.parametrize("text", ["", "dataset,network\n1,2,3\n", "\0", f"{COLUMNS}\n"])
def test_a_file_that_is_no_table_is_refused_by_name(tmp_path, text):
    path = tmp_path / "ledger.csv"
    path.write_text(text)
    assert f"{path}" in refusal(ledger.read, path)
    assert f"{path}x" in refusal(ledger.read, f"{path}x")


def test_a_mistyped_table_is_named():
    assert "did you mean 'curves'" in refusal(ledger.read, "ledger.csv", "curve")


def test_records_of_two_studies_are_refused(tmp_path):
    paths = []
    for name in ("one", "two"):
        paths.append(tmp_path / f"{name}.json")
        records.write(paths[-1], synthetic.record(name, *ALONE[1:], "trained", 0.0))
    message = refusal(ledger.write, "one", paths, tmp_path / "ledger")
    assert f"{paths[1]}" in message
    assert "'two'" in message
    assert not (tmp_path / "ledger").exists()


def test_records_of_another_study_than_named_are_refused(made, tmp_path):
    assert "'synthetic', not 'other'" in refusal(ledger.write, "other", made[0], tmp_path / "ledger")
    assert not (tmp_path / "ledger").exists()


@pytest.mark.parametrize("lost", [None, "provenance.csv"])
def test_the_ledger_of_another_study_is_left_as_it_was(made, tmp_path, lost):
    other = tmp_path / "one.json"
    records.write(other, synthetic.record("other", *ALONE[1:], "trained", 0.0))
    ledger.write("other", [other], tmp_path / "ledger")
    if lost:
        (tmp_path / "ledger" / lost).unlink()
    before = contents(tmp_path / "ledger")
    assert f"{tmp_path / 'ledger'}: holds " in refusal(ledger.write, "synthetic", made[0], tmp_path / "ledger")
    assert contents(tmp_path / "ledger") == before


def test_the_ledger_of_the_same_study_is_replaced(made, tmp_path):
    ledger.write("synthetic", made[0][:4], tmp_path)
    ledger.write("synthetic", made[0], tmp_path)
    assert contents(tmp_path) == contents(made[1])


def test_no_records_are_refused(tmp_path):
    assert "no records" in refusal(ledger.write, "synthetic", [], tmp_path / "ledger")


@pytest.mark.parametrize(
    "missing",
    [
        "schema",
        "study",
        "stage",
        "ratio",
        "run",
        "measured",
        "history",
        "factors",
        "warnings",
        "checkpoint",
        "provenance",
        "run.seed",
        "measured.macs",
        "measured.nonzero",
        "measured.accuracy_per_class",
        "measured.latency_ms",
        "factors.counts",
    ],
)
def test_an_incomplete_record_is_refused_by_its_path(tmp_path, missing):
    record = synthetic.record(*ALONE, "trained", 0.0)
    outer, _, inner = missing.partition(".")
    del (record[outer] if inner else record)[inner or outer]
    path = put(tmp_path / "half.json", record)
    assert f"{path}" in refusal(ledger.write, "synthetic", [path], tmp_path / "ledger")
    assert not (tmp_path / "ledger").exists()


def test_a_pruned_record_without_layers_is_refused_by_its_path(tmp_path):
    record = synthetic.record(*ALONE, "pruned", 0.4)
    del record["layers"]
    path = put(tmp_path / "half.json", record)
    assert f"{path}: incomplete, no layers" in refusal(ledger.collect, [path])


def test_a_history_that_stops_short_is_refused_by_its_path(tmp_path):
    record = synthetic.record(*ALONE, "trained", 0.0)
    record["history"]["loss"].pop()
    path = put(tmp_path / "half.json", record)
    assert f"{path}: incomplete, no curves" in refusal(ledger.collect, [path])
