"""Figures draw the same picture and the same bytes for the same numbers, and a method looks alike in all of them."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from PIL import Image

import simulated
import synthetic
from slimming import ledger, study
from slimming.reporting import figures, style, summary
from slimming.stages.table import LATER

CONFIG = Path(__file__).parents[2] / "config"
METHODS = ("none", "l1", "lp-0.75", "tl1-1")
STARTS = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}
DRAW = "import sys; from slimming.reporting import figures; figures.write(*sys.argv[1:])"


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    """The ledger of two data sets, a network and five seeds."""
    root = tmp_path_factory.mktemp("figures")
    grid = {"datasets": ("digits", "letters"), "networks": ("vgg19",), "ratios": (0.4,), "finetuned": (0.4,)}
    paths = synthetic.write(root, **grid, methods=METHODS, seeds=range(1, 6))
    ledger.write("synthetic", paths, root / "ledger")
    return root / "ledger"


@pytest.fixture(scope="module")
def tables(directory) -> dict:
    """What a figure is drawn from: the tables of one data set."""
    found = {name: ledger.read(directory / f"{name}.csv", name) for name in figures.NEEDED}
    return {name: table[table["dataset"] == "digits"] for name, table in found.items()}


def draw(directory: Path, output: Path, seed: str) -> dict[str, bytes]:
    """The files that a process of its own draws, by name."""
    environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", DRAW, directory, output], env=environment, check=True)
    return {path.name: path.read_bytes() for path in output.iterdir()}


@pytest.mark.slow
@pytest.mark.timeout(900)  # draws some fifty files, which takes minutes where cores are busy
def test_figures_are_drawn_again_in_the_same_bytes_whatever_else_the_study_holds(directory, tmp_path):
    both = draw(directory, tmp_path / "both", "1")
    stems = [f"{name}-{dataset}" for name in figures.FIGURES for dataset in ("digits", "letters")]
    assert set(both) == {f"{stem}.{form}" for stem in stems for form in STARTS}
    for stem in stems:
        assert all(both[f"{stem}.{form}"].startswith(start) for form, start in STARTS.items())
        assert Image.open(tmp_path / "both" / f"{stem}.png").info["dpi"] == pytest.approx((300, 300), abs=0.1)
    digits = [path for path in directory.parent.rglob("*.json") if "digits" in path.parts]
    ledger.write("synthetic", digits, tmp_path / "digits")
    alone = draw(tmp_path / "digits", tmp_path / "alone", "2")
    assert [name for name in both if "-digits." in name and alone[name] != both[name]] == []
    assert [name for name in alone if alone[name] == both[name.replace("digits", "letters")]] == []


def lines_of(axis) -> list:
    """The lines of methods, without those of error bars."""
    return [line for line in axis.get_lines() if not line.get_label().startswith("_")]


@pytest.mark.parametrize(
    "name", ["accuracy-ratio", "accuracy-parameters", "accuracy-macs", "accuracy-latency", "training-curves"]
)
def test_a_method_has_its_own_line_in_every_panel(tables, name):
    figure = figures.FIGURES[name](tables)
    looks = {style.method(method): style.line(method) for method in METHODS}
    assert len(figure.axes) == 2
    for axis in figure.axes:
        lines = {line.get_label(): line for line in lines_of(axis)}
        assert list(lines) == [style.method(method) for method in METHODS]
        for label, line in lines.items():
            assert to_hex(line.get_color()) == looks[label]["color"]
            if name != "training-curves":
                assert (line.get_marker(), line.get_fillstyle()) == (looks[label]["marker"], looks[label]["fillstyle"])
    texts = figure.legends[0].get_texts() if figure.legends else figure.axes[-1].texts
    assert {text.get_text() for text in texts} == {style.method(method) for method in METHODS}


def test_lines_are_named_at_their_ends_in_the_order_of_the_ends(tables):
    with figures.matplotlib.style.context(["default", style.MATPLOTLIB]):
        figure = figures.accuracy_ratio(tables)
        figure.draw_without_rendering()
    assert not figure.legends
    networks = tables["ledger"]["network"].nunique()
    for axis in figure.axes[networks - 1 :: networks]:
        ends = {line.get_label(): line.get_ydata()[-1] for line in lines_of(axis)}
        labels = sorted(axis.texts, key=lambda label: label.xyann[1])
        assert [label.get_text() for label in labels] == sorted(ends, key=ends.get)
        heights = [axis.transAxes.transform(label.xyann)[1] for label in labels]
        assert all(two - one > 0.9 * figures.LABEL * figure.dpi / 72 for one, two in itertools.pairwise(heights))


def test_values_that_a_study_lists_are_named_and_sorted_as_numbers():
    slugs = ["l1-lam0.1", "l1-lam0.01", "l1-lam1e-05", "mcp-200-lam3"]
    assert sorted(slugs, key=style.order) == ["l1-lam1e-05", "l1-lam0.01", "l1-lam0.1", "mcp-200-lam3"]
    assert style.method("l1-lam1e-05") == r"$\ell_1$, $\lambda$ = 1e-05"
    assert {style.line(slug)["color"] for slug in slugs[:3]} == {style.line("l1")["color"]}
    assert style.method("new-lam3") == "new-lam3"


def test_a_method_has_its_own_colour_among_the_histograms(tables):
    axes = figures.scaling_factors(tables).axes
    assert [axis.get_ylabel() for axis in axes] == [style.method(method) for method in METHODS]
    assert [to_hex(axis.collections[0].get_edgecolor()[0]) for axis in axes] == [
        style.line(method)["color"] for method in METHODS
    ]


def test_histograms_have_the_counts_of_all_seeds_as_shares_of_their_mode(tables):
    (axis, *_) = figures.scaling_factors(tables).axes
    counts = tables["factors"].query("method == @METHODS[0]").groupby("log10_low")["count"].sum()
    (outline,) = axis.collections[0].get_paths()
    corners = {(round(x, 6), round(y, 6)) for x, y in outline.vertices}
    assert len(counts[counts > 0]) > 5
    assert {(round(low, 6), round(count / counts.max(), 6)) for low, count in counts.items()} <= corners


def test_known_methods_can_be_told_apart():
    slugs = [
        f"{family}-{parameter}" if parameter else family
        for family in style.FAMILIES
        for parameter in style.KNOWN.get(family, ("",))
    ]
    looks = {slug: tuple(map(str, style.line(slug).values())) for slug in slugs}
    assert len(set(looks.values())) == len(slugs) > 12
    families = {(family.colour, family.marker) for family in style.FAMILIES.values()}
    assert len({colour for colour, _ in families}) == len({marker for _, marker in families}) == len(style.FAMILIES)
    assert not {family.colour for family in style.FAMILIES.values()} & set(style.OTHER_COLOURS)


def test_a_penalty_looks_alike_however_it_is_trained_and_can_be_told_apart():
    plain, proximal = style.line("lp-0.75"), style.line("proximal-lp-0.75")
    assert {key for key in plain if plain[key] != proximal[key]} == {"linestyle"}
    assert style.method("proximal-lp-0.75") == r"proximal $\ell_{0.75}$"
    slugs = ["mcp-5000", "proximal-l1", "l1", "random", "lp-0.5", "proximal-lp-0.5", "none", "lp-0.75", "new"]
    assert sorted(slugs, key=style.order) == [
        "none", "l1", "proximal-l1", "lp-0.5", "lp-0.75", "proximal-lp-0.5", "mcp-5000", "random", "new",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["quick", "cifar10-cpu", "paper"])
def test_methods_of_the_studies_that_come_along_can_be_told_apart(name):
    slugs = {run.method_slug for run in study.load(CONFIG / f"{name}.yaml").runs()}
    assert len({str(style.line(slug)) for slug in slugs}) == len(slugs) > 1


def test_the_legend_fits_however_many_methods_there_are(tmp_path):
    methods = [f"{family}-{parameter}" for family in ("mcp", "scad") for parameter in style.KNOWN["mcp"]]
    point = {("pruned", 0.4): (0.8, 100)}
    cells = [
        row for network in "abc" for method in methods for row in simulated.rows(method, 1, point, network=network)
    ]
    cells = ledger.read(simulated.write(tmp_path, cells) / "ledger.csv")
    figure = figures.accuracy_ratio({"ledger": cells})
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert len(legend.get_texts()) == len(methods)
    box = legend.get_window_extent()
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1


def test_accuracies_are_drawn_in_per_cent_at_the_mean(tables):
    cells = summary.summarise(tables["ledger"]).query("measure == 'accuracy' and method == 'tl1-1'")
    (line,) = (
        line
        for line in figures.accuracy_parameters(tables).axes[0].get_lines()
        if line.get_label() == style.method("tl1-1")
    )
    expected = cells[cells["stage"].isin(["trained", "pruned"])].sort_values("ratio", ascending=False)["mean"] * 100
    assert line.get_ydata().tolist() == pytest.approx(expected.tolist())


def test_stages_have_rows_and_share_a_scale_where_they_are_to_be_compared(tmp_path):
    point = dict(zip(LATER, (0.2, 0.5, 0.7, 0.9, 0.8, 0.95), strict=True))
    curve = {("trained", 0.0): (0.93, 100)} | {(stage, 0.4): (accuracy, 50) for stage, accuracy in point.items()}
    cells = ledger.read(simulated.write(tmp_path, simulated.rows("l1", 1, curve)) / "ledger.csv")
    figure = figures.accuracy_ratio({"ledger": cells})
    drawn = [axis.get_lines()[0].get_ydata().tolist() for axis in figure.axes]
    assert drawn == [pytest.approx([93, 100 * accuracy]) for accuracy in point.values()]
    scales = [axis.get_ylim() for axis in figure.axes]
    assert scales[0] == scales[1] == scales[2] != scales[3] == scales[4] == scales[5]
    assert figure.get_figheight() < 8  # inches, of a page of 9.4


def test_labels_of_the_cost_axis_keep_apart_whatever_it_spans(tmp_path):
    spans = (1.1, 1.5, 2.4, 4, 5.6, 8, 15, 30, 100, 1000, 10000, 2)
    cells = [
        row
        for place, span in enumerate(spans)
        for row in simulated.rows(
            "l1",
            1,
            {("trained", 0.0): (0.9, int(13700 * span)), ("pruned", 0.4): (0.8, 13700)},
            network=f"n{place:02d}",
        )
    ]
    cells = ledger.read(simulated.write(tmp_path, cells) / "ledger.csv")
    with figures.matplotlib.style.context(["default", style.MATPLOTLIB]):
        figure = figures.accuracy_parameters({"ledger": cells})
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw_without_rendering()
        for axis, span in zip(figure.axes, spans, strict=True):
            low, high = axis.get_xlim()
            ticks = zip(axis.xaxis.get_majorticklocs(), axis.get_xticklabels(), strict=True)
            boxes = [label.get_window_extent(renderer) for place, label in ticks if low <= place <= high]
            assert len(boxes) >= 2, span
            assert all(one.x1 < two.x0 for one, two in itertools.pairwise(sorted(boxes, key=lambda box: box.x0))), span
