"""Tables print the means and deviations that one works out by hand, and typeset whatever a study's names are."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

import simulated
import synthetic
from slimming import ledger
from slimming.errors import InputError
from slimming.reporting import tables

# Accuracies right after pruning; the means are 93 and 96, the squared deviations sum to 26 and 6 square points.
ACCURACIES = {"l1": (0.90, 0.92, 0.97), "tl1-1": (0.95, 0.95, 0.98)}


def rows(accuracies: dict[str, Sequence[float]], ratio: float = 0.4, stage: str = "pruned", **panel) -> list[dict]:
    return [
        row
        for method, values in accuracies.items()
        for seed, value in enumerate(values, 1)
        for row in simulated.rows(method, seed, {(stage, ratio): (value, panel.pop("parameters", 1000))}, **panel)
    ]


def typeset(folder: Path, cells: list[dict], protocol: str = "last") -> Path:
    """The folder with the tables of a ledger of `cells`."""
    simulated.write(folder, cells)
    (folder / "settings.csv").write_text("dataset,network,method,setting,value\ndigits,vgg11,l1,lam,0.1\n")
    (folder / "provenance.csv").write_text("item,value,records\nstudy,made-up,1\n")
    (folder / "classes.csv").write_text("dataset,network,method,seed,ratio,stage,class,accuracy\n")
    tables.write(folder, folder / "tables", protocol)
    return folder / "tables"


def body(folder: Path, name: str) -> list[list[str]]:
    """The cells of a LaTeX table below its rule."""
    text = (folder / f"{name}.tex").read_text()
    text = text.partition("\\midrule\n")[2].partition("\\bottomrule")[0].replace("\\addlinespace\n", "")
    return [[cell.strip() for cell in re.split(r"(?<!\\)&", line)] for line in text.split("\\\\\n") if line]


def test_means_and_sample_deviations_are_those_worked_out_by_hand(tmp_path):
    folder = typeset(tmp_path, rows(ACCURACIES))
    assert (folder / "accuracy-pruned-digits.tex").read_text() == (
        "\\begin{tabular}{llS[table-format=2.2(3)]r}\n"
        "\\toprule\n"
        "{} & {} & {Test accuracy (\\%)} & {} \\\\\n"
        "{} & {} & {40 \\%} & {seeds} \\\\\n"
        "\\midrule\n"
        "VGG-11 & $\\ell_1$ & 93.00 \\pm 3.61 & 3 \\\\\n"
        " & T$\\ell_1$ ($a=1$) & \\bfseries 96.00 \\pm 1.73 & 3 \\\\\n"
        "\\bottomrule\n"
        "\\end{tabular}\n"
    )
    with (folder / "accuracy-pruned.csv").open(newline="") as stream:
        l1, tl1 = csv.DictReader(stream)
    assert float(l1["mean"]) == pytest.approx(93)
    assert float(l1["sd"]) == pytest.approx((26 / 2) ** 0.5)
    assert float(tl1["sd"]) == pytest.approx((6 / 2) ** 0.5)
    assert [float(tl1[end]) for end in ("low", "high", "n")] == pytest.approx([95, 98, 3])
    assert (tl1["method"], tl1["ratio"], tl1["stage"], tl1["unit"]) == ("tl1-1", "0.4", "pruned", "%")


def test_a_cell_that_lacks_seeds_says_how_many_it_has_and_why(tmp_path):
    (tmp_path / "missing.csv").write_text(
        "dataset,network,method,seed,ratio,stage,reason\n"
        "digits,vgg11,l1,4,0.4,pruned,no memory\n"
        "digits,vgg11,none,1,0.4,pruned,the loss is not finite\n"
    )
    folder = typeset(tmp_path, rows(ACCURACIES))
    text = (folder / "accuracy-pruned-digits.tex").read_text()
    assert "$\\ell_1$ & 93.00 \\pm 3.61 {\\textsuperscript{3}} & 3 \\\\\n" in text
    assert "VGG-11 & no penalty & {--\\textsuperscript{0}} & 0 \\\\\n" in text
    assert f"\\bottomrule\n\\multicolumn{{4}}{{l}}{{{tables.SHORT}}}\\\\\n\\end{{tabular}}\n" in text
    with (folder / "accuracy-pruned.csv").open(newline="") as stream:
        found = {row["method"]: (row["n"], row["mean"], row["missing"]) for row in csv.DictReader(stream)}
    assert found["none"] == ("0", "", "seed 1: the loss is not finite")
    assert found["l1"][0::2] == ("3", "seed 4: no memory")
    assert found["tl1-1"][0::2] == ("3", "")


def test_differences_are_paired_by_seed(tmp_path):
    # 5, 3 and 1 points: mean 3, deviation 2, where the methods' own deviations are 3.61 and 1.73.
    assert body(typeset(tmp_path, rows(ACCURACIES)), "difference-pruned-digits") == [
        ["VGG-11", "T$\\ell_1$ ($a=1$)", "3.00 \\pm 2.00", "3"]
    ]


def test_the_best_of_a_column_and_network_is_bold_and_so_are_ties_as_printed(tmp_path):
    cells = [
        *rows({"none": [0.5], "l1": [0.90], "tl1-1": [0.900001]}),
        *rows({"none": [0.7], "l1": [0.6], "tl1-1": [0.6]}, ratio=0.8),
        *rows({"none": [0.2], "l1": [0.2]}, network="resnet20"),
    ]
    assert [row[2:4] for row in body(typeset(tmp_path, cells), "accuracy-pruned-digits")] == [
        ["20.00", "{--}"],  # no best where all are alike
        ["20.00", "{--}"],
        ["50.00", "\\bfseries 70.00"],
        ["\\bfseries 90.00", "60.00"],
        ["\\bfseries 90.00", "60.00"],
    ]


def test_fewest_parameters_are_best(tmp_path):
    cells = [
        row
        for method, parameters in (("l1", 30_000), ("tl1-1", 20_000))
        for row in simulated.rows(method, 1, {("pruned", 0.4): (0.9, parameters)})
    ]
    assert [row[2] for row in body(typeset(tmp_path, cells), "parameters-digits")] == ["30.00", "\\bfseries 20.00"]


def test_a_cell_that_was_not_measured_is_a_dash(tmp_path):
    folder = typeset(tmp_path, rows({"none": [0.5], "l1": [0.9]}) + rows({"l1": [0.8]}, ratio=0.8))
    assert [row[2:] for row in body(folder, "accuracy-pruned-digits")] == [
        ["50.00", "{--}", "1"],
        ["\\bfseries 90.00", "80.00", "1"],
    ]


def test_without_the_reference_there_are_no_differences(tmp_path):
    folder = typeset(tmp_path, rows({"none": [0.5], "tl1-1": [0.9]}))
    assert (folder / "difference-pruned-digits.tex").read_text() == "\\emph{Not measured in this study.}\n"


def test_a_study_has_the_tables_of_its_stages(tmp_path):
    for stages in (
        ["trained", "pruned"],
        ["trained", "pruned", "compensated", "scratch-compute"],
        ["trained", "pruned", "recalibrated"],
    ):
        folder = tmp_path / stages[-1]
        cells = [row for stage in stages for row in rows({"l1": [0.5]}, stage=stage)]
        names = {path.stem for path in typeset(folder, cells).glob("*.csv")} - {*tables.LISTINGS}
        assert names == set(tables.of_stages(stages))
        assert {f"{what}-{stage}" for what in ("accuracy", "difference") for stage in stages[1:]} <= names
        assert ("compensation" in names) == ("compensated" in stages)
        assert ("recalibration" in names) == ("recalibrated" in stages)
        assert "accuracy-finetuned" not in names


@pytest.mark.parametrize(("table", "stage"), [("compensation", "compensated"), ("recalibration", "recalibrated")])
def test_gains_of_a_variant_are_paired_by_seed(tmp_path, table, stage):
    # 2, 3 and 7 points: mean 4, sample variance (4 + 1 + 9) / 2.
    variant = {"l1": (0.92, 0.95, 1.0), "tl1-1": (0.95, 0.95, 0.98)}
    cells = rows({**ACCURACIES, "l1": (0.90, 0.92, 0.93)}) + rows(variant, stage=stage)
    assert body(typeset(tmp_path, cells), f"{table}-digits") == [
        ["VGG-11", "$\\ell_1$", "4.00 \\pm 2.65", "3"],
        ["", "T$\\ell_1$ ($a=1$)", "0.00 \\pm 0.00", "3"],
    ]


def test_a_sparse_network_has_all_its_parameters_and_fewer_that_are_not_zero(tmp_path):
    cells = [row | {"nonzero": nonzero} for row, nonzero in zip(rows({"l1": [0.5, 0.5]}), (300, 100), strict=True)]
    folder = typeset(tmp_path, cells)
    printed = [body(folder, f"{name}-digits")[0][2] for name in ("parameters", "nonzero")]
    assert printed == ["1.00", "0.20 \\pm 0.14"]  # thousands


def test_one_seed_has_no_deviation(tmp_path):
    folder = typeset(tmp_path, rows({"none": [0.5], "l1": [0.9, 0.9, 0.96]}))
    assert body(folder, "accuracy-pruned-digits") == [
        ["VGG-11", "no penalty", "50.00", "1"],
        ["", "$\\ell_1$", "\\bfseries 92.00 \\pm 3.46", "3"],
    ]
    with (folder / "accuracy-pruned.csv").open(newline="") as stream:
        assert [row["sd"] == "" for row in csv.DictReader(stream)] == [True, False]


def test_the_papers_protocol_takes_the_best_epoch_where_there_are_epochs(tmp_path):
    trained = simulated.rows("l1", 1, {("trained", 0.0): (0.90, 1000)})
    cells = [row | {"accuracy_best": 0.94} for row in trained] + rows({"l1": [0.5]})
    last, best = (
        body(typeset(tmp_path / protocol, cells, protocol), "accuracy-pruned-digits")[0][2:4]
        for protocol in ("last", "paper")
    )
    assert (last, best) == (["90.00", "50.00"], ["94.00", "50.00"])


def test_an_unknown_protocol_is_refused(tmp_path):
    with pytest.raises(InputError, match="unknown protocol 'papr': did you mean 'paper'"):
        typeset(tmp_path, rows(ACCURACIES), "papr")


def test_names_with_special_characters_are_escaped(tmp_path):
    folder = typeset(tmp_path, rows({"my_50%&#": [0.5]}, network="net_{1}$~^"))
    (row,) = body(folder, "accuracy-pruned-digits")
    assert row[1] == "my\\_50\\%\\&\\#"
    assert re.sub(r"\\textasciitilde|\\textasciicircum|\\[_{}$]", "", row[0]).strip(" {}") == "net1"


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """The ledger of a study with records."""
    root = tmp_path_factory.mktemp("study")
    small = {"networks": ("vgg19",), "methods": ("none", "l1", "mcp-500"), "seeds": (1, 2)}
    paths = synthetic.write(root, datasets=("digits", "letters"), **small, scratch=(0.4,), variants=True)
    ledger.write("synthetic", paths, root / "ledger")
    return root / "ledger"


def test_settings_and_provenance_are_escaped(study, tmp_path):
    tables.write(study, tmp_path)
    text = (tmp_path / "provenance.tex").read_text()
    assert "Example(R) CPU\\_1 \\& co" in text
    assert "cannot act\\_here: 50\\% \\& more" in text
    assert "schedule.batch\\_size & 64 & all" in (tmp_path / "settings.tex").read_text()


def test_the_same_ledger_gives_every_table_in_the_same_bytes(study, tmp_path):
    for folder in ("one", "two"):
        tables.write(study, tmp_path / folder)
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()} for folder in ("one", "two"))
    assert one == two
    numbers = {f"{name}{end}" for name in tables.TABLES for end in (".csv", "-digits.tex", "-letters.tex")}
    assert set(one) == numbers | {f"{name}.{form}" for name in tables.LISTINGS for form in ("csv", "tex")}


def test_a_setting_says_where_it_applies_in_as_few_words_as_there_are(study):
    settings = ledger.read(study / "settings.csv", "settings")
    rows = {tuple(row[:2]): row[2] for row in tables.condense(settings).itertuples(index=False)}
    assert rows["schedule.epochs", "15"] == "all"
    assert rows["method.name", "mcp"] == "mcp-500"
    assert rows["method.lam", "0.002"] == "l1; mcp-500"
