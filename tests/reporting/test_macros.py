"""Every number of the paper is what its source says, worked out again without pandas."""

from __future__ import annotations

import csv
import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest

import simulated
import synthetic
from slimming import ledger, naming
from slimming.claims import evaluation
from slimming.errors import InputError
from slimming.reporting import macros, summary

Row = dict[str, str]
SCALES = {"Accuracy": (100, 2), "Difference": (100, 2), "Gain": (100, 2)} | dict.fromkeys(
    ("CompressionRatio", "Speedup", "LatencyMs"), (1, 2)
)
MINUS = {", minus l1": ("method", "l1"), ", minus pruned": ("stage", "pruned")}


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    """The ledger of two data sets, two networks and three seeds."""
    root = tmp_path_factory.mktemp("macros")
    grid = {"datasets": ("digits", "letters"), "networks": ("resnet20", "vgg19"), "ratios": (0.4, 0.75)}
    methods = ("l1", "lp-0.5", "mcp-500", "none")
    paths = synthetic.write(root, **grid, methods=methods, finetuned=(0.4,), scratch=(0.4,), variants=True)
    ledger.write("synthetic", paths, root / "ledger")
    return root / "ledger"


@pytest.fixture(scope="module", params=["last", "paper"])
def written(request, directory, tmp_path_factory) -> Path:
    """The folder with the macros under each protocol."""
    folder = tmp_path_factory.mktemp("paper") / "numbers"
    macros.write(directory, folder, request.param)
    return folder


def sources(folder: Path) -> dict[str, dict]:
    return json.loads((folder / "macros.json").read_text(), object_pairs_hook=without_repeats)


def without_repeats(pairs: list[tuple]) -> dict:
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def commands(folder: Path) -> list[tuple[str, str]]:
    """(name, text) of every macro on one line of macros.tex."""
    return re.findall(r"^\\newcommand\{\\(.*?)\}\{(.*)\}$", (folder / "macros.tex").read_text(), re.MULTILINE)


def rows_of(source: dict) -> tuple[list[Row], list[Row]]:
    """The rows that a macro is about, and all rows of their file."""
    with Path(source["file"]).open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    wanted = {key: str(value) for key, value in source["rows"].items()}
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())], rows


def minus(name: str, value: str, source: dict, chosen: list[Row], rows: list[Row]) -> list[float]:
    """The chosen rows' numbers minus those of the rows that have `value` under `name` and agree in all else."""
    others = {"dataset", "network", "method", "seed", "ratio", "stage"} - {name}
    base = {tuple(row[key] for key in others): row for row in rows if row[name] == value}
    column = source["column"]
    return [float(row[column]) - float(base[tuple(row[key] for key in others)][column]) for row in chosen]


SPREADS: dict[str, Callable[[list[float]], float]] = {
    "mean": statistics.fmean,
    "sample standard deviation": statistics.stdev,
}


def recomputed(source: dict) -> str | list[str] | float:
    """A macro's value in the ledger's unit: a number, or the list that it enumerates."""
    chosen, rows = rows_of(source)
    texts = [row[source["column"]] for row in chosen]
    statistic, _, rest = source["statistic"].partition(" over seeds")
    if statistic in SPREADS:
        values = minus(*MINUS[rest], source, chosen, rows) if rest else [*map(float, texts)]
        return SPREADS[statistic](values)
    return {
        "number of rows": lambda: str(len(texts)),
        "number of values": lambda: str(len(set(texts))),
        "values": lambda: sorted(set(texts)),
        "values in per cent": lambda: sorted(f"{100 * float(text):g}" for text in set(texts)),
        "sum in hours": lambda: f"{sum(float(text or 0) for text in texts) / 3600:.2f}",
    }[source["statistic"]]()


def test_every_value_is_what_its_source_says(written):
    found = sources(written)
    assert len(found) > 500
    for name, source in found.items():
        expected = recomputed(source)
        if isinstance(expected, float):
            factor, decimals = next((scale for start, scale in SCALES.items() if name.startswith(start)), (1, 0))
            assert re.fullmatch(rf"-?\d+\.\d{{{decimals}}}" if decimals else r"\d+", source["value"]), name
            assert float(source["value"]) == pytest.approx(factor * expected, abs=0.50001 * 10**-decimals), name
        elif isinstance(expected, list):
            assert sorted(source["value"].split(", ")) == expected, name
        else:
            assert source["value"] == expected, name


def test_a_name_says_which_rows_it_is_about(written):
    for name, source in sources(written).items():
        if "seeds" in source["statistic"]:
            rows = source["rows"]
            at = "" if rows["stage"] == "trained" else naming.letters("at", rows["ratio"])
            place = naming.letters(*(rows[key] for key in ("stage", "dataset", "network", "method"))) + at
            measure = "|".join(map(naming.letters, summary.MEASURES))
            assert re.fullmatch(rf"({measure}){place}(Sd)?", name)
            assert name.endswith("Sd") == source["statistic"].startswith("sample standard deviation")
            assert name.startswith("Difference") == source["statistic"].endswith("minus l1")
            assert name.startswith("Gain") == source["statistic"].endswith("minus pruned")


def test_names_are_letters_only_and_unique(written):
    names = [name for name, _ in commands(written)]
    assert all(re.fullmatch("[A-Za-z]+", name) for name in names)
    assert len(set(names)) == len(names)
    assert set(sources(written)) <= set(names)


def test_latex_prints_the_value_of_the_source(written):
    printed = dict(commands(written))
    for name, source in sources(written).items():
        assert printed[name] == source["tex"]
        if "seeds" in source["statistic"]:
            assert printed[name] == f"\\num{{{source['value']}}}"
    assert printed["Ratios"] == r"\numlist{40;75}"
    assert printed["MethodNames"] == r"no penalty, $\ell_1$, $\ell_{0.5}$ and MCP ($a=500$)"
    assert printed["MachineProcessor"] == r"Example(R) CPU\_1 \& co"


def test_the_protocol_decides_which_accuracy_is_printed(directory, tmp_path):
    name = "AccuracyTrainedDigitsVggOneNineLOne"
    for protocol, column in (("last", "accuracy"), ("paper", "accuracy_best")):
        macros.write(directory, tmp_path / protocol, protocol)
        assert sources(tmp_path / protocol)[name]["column"] == column
    assert sources(tmp_path / "last")[name]["value"] != sources(tmp_path / "paper")[name]["value"]


def test_the_same_ledger_gives_the_same_bytes(directory, tmp_path):
    for folder in ("one", "two"):
        macros.write(directory, tmp_path / folder / "numbers")
    for name in ("macros.tex", "macros.json"):
        one, two = ((tmp_path / folder / "numbers" / name).read_bytes() for folder in ("one", "two"))
        assert one == two


def small(folder: Path, cells: list[dict]) -> Path:
    simulated.write(folder, cells)
    (folder / "provenance.csv").write_text("item,value,records\nstudy,made-up,1\n")
    return folder


def test_names_spelled_alike_are_refused(tmp_path):
    cells = [
        row
        for name in ("vgg-19", "vgg_19")
        for row in simulated.rows("l1", 1, {("trained", 0): (0.9, 9)}, network=name)
    ]
    with pytest.raises(InputError, match=r"'vgg-19'.*'vgg_19'.*would both be \\AccuracyTrained.*; rename one"):
        macros.write(small(tmp_path, cells), tmp_path / "numbers")
    assert not (tmp_path / "numbers").exists()


def test_the_words_name_the_largest_gain_and_the_widest_spread(tmp_path):
    accuracies = {("none", 0.4): 0.8, ("l1", 0.4): 0.7, ("tl1-1", 0.4): 0.9}
    accuracies |= {("none", 0.8): 0.2, ("l1", 0.8): 0.6, ("tl1-1", 0.8): 0.5}
    cells = [
        row
        for (method, ratio), accuracy in accuracies.items()
        for row in simulated.rows(method, 1, {("pruned", ratio): (accuracy, 1000)})
    ]
    macros.write(small(tmp_path, cells), tmp_path / "numbers")
    text = " ".join((tmp_path / "numbers" / "macros.tex").read_text().split())
    end = "PrunedDigitsVggOneOne{}AtZeroPointEight"
    low, high = ("\\Accuracy" + end.format(method) for method in ("None", "LOne"))
    assert f"is $\\ell_1$: {high}\\,\\% instead of {low}\\,\\%, for VGG-11 on digits with \\num{{80}}" in text
    assert f"lowest with no penalty, {low}\\,\\%, and highest with $\\ell_1$, {high}\\,\\%." in text


def test_a_study_without_a_baseline_has_no_headline(tmp_path):
    cells = [row for method in ("l1", "tl1-1") for row in simulated.rows(method, 1, {("pruned", 0.4): (0.5, 9)})]
    macros.write(small(tmp_path, cells), tmp_path / "numbers")
    assert "\\newcommand{\\Headline}{%\n}" in (tmp_path / "numbers" / "macros.tex").read_text()


def test_numbers_of_claims_and_published_results_are_what_their_files_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = Path(__file__).parents[2] / "config"
    (tmp_path / "references.csv").write_text((config / "references.csv").read_text())
    grid = {"datasets": ("cifar10",), "networks": ("vgg19",), "ratios": (0.4, 0.7)}
    ledger.write("s", synthetic.write(tmp_path, "s", **grid, finetuned=(0.4,)), "results/s")
    evaluation.write("results/s", config / "claims" / "nonconvex-slimming.yaml", "results/s/claims.csv")
    macros.write(
        "results/s",
        "numbers",
        claims_files=config / "claims" / "nonconvex-slimming.yaml",
        references_file="references.csv",
    )
    found = {name: source for name, source in sources(tmp_path / "numbers").items() if name[:5] in ("Claim", "Publi")}
    printed = dict(commands(tmp_path / "numbers"))
    assert {source["file"] for source in found.values()} == {"results/s/claims.csv", "references.csv"}
    for name, source in found.items():
        ratio = source["rows"].pop("ratio", None)
        chosen, _ = rows_of(source)
        (row,) = [row for row in chosen if ratio is None or float(row["ratio"]) == ratio]
        if source["column"] == "verdict":
            assert source["value"] == row["verdict"] == printed[name]
            continue
        value = row[source["column"]]
        if source["file"] == "references.csv" and source["column"] == "accuracy" and not value:
            value = 100 - float(row["error"])
        assert float(source["value"]) == pytest.approx(float(value), rel=0.06, abs=0.006)
        assert printed[name] == rf"\num{{{source['value']}}}"
    name = "ClaimTlOnePreservesAccuracyCifarOneZeroVggOneNineTlOneOneVersusLOneAccuracyPruned"
    assert {f"{name}{column}" for column in ("Seeds", "Estimate", "Low", "High", "P", "PAgainst", "Verdict")} <= set(
        found
    )
    assert "PublishedAccuracyPrunedCifarOneZeroVggOneNineLOneAtZeroPointSevenSourceTwo" in found
