"""Figures of a study, one function a figure: each draws one data set with a panel a network.

The same method has the same colour, marker and dashes in all. The bytes of a file depend on nothing but the
numbers and matplotlib's version. Not for computing: means and ranges over seeds are the summary's.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, Locator, LogLocator, MaxNLocator, NullFormatter, PercentFormatter
from scipy.optimize import isotonic_regression

from slimming import ledger, tensorfile
from slimming.reporting import style, summary
from slimming.stages.table import LATER, STAGES, UNTRAINED

WIDTH = 6.3  # inches: the paper's lines, so that letters keep their size
COLUMNS = 4  # panels side by side, at most
LABEL = 6.5  # points: names beside lines
ROW, ROWS = 1.65, 6.6  # inches of a row of accuracies, and of all rows of a network: less than a page

Tables = Mapping[str, pd.DataFrame]
Panels = dict[tuple[str, int], Axes]

# Without dates and versions, which would change the bytes and not the picture.
METADATA = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}


def write(ledger_dir: str | os.PathLike, output_dir: str | os.PathLike) -> None:
    """Draw FIGURES for every data set of the ledger in `ledger_dir` as svg, pdf and png (300 dpi).

    The files in `output_dir` are named <figure>-<data set>.<format>. Accuracy is that after the last epoch.
    InputError for a faulty ledger.
    """
    ledger_dir, output_dir = Path(ledger_dir), Path(output_dir)
    tables = {name: ledger.read(ledger_dir / f"{name}.csv", name) for name in ("ledger", "curves", "factors", "layers")}
    tables["cells"] = summary.summarise(tables["ledger"])
    for dataset in tables["ledger"]["dataset"].unique():
        parts = {name: table[table["dataset"] == dataset] for name, table in tables.items()}
        for name, draw in FIGURES.items():
            with matplotlib.style.context(["default", style.MATPLOTLIB]):
                _save(draw(parts), output_dir / f"{name}-{dataset}")


def accuracy_ratio(tables: Tables) -> Figure:
    """Test accuracy against the share of channels removed; bars span the seeds."""
    cells = _measure(tables, "accuracy")
    stages = _stages(cells)
    dodge = _dodge(cells)
    figure, axes = _panels(cells, _accuracy_labels(stages), height=min(ROW, ROWS / len(stages)))
    for (network, row), axis in axes.items():
        for method, points in _methods(cells, network, stages[row]):
            look = style.line(method)
            shifted = points["ratio"] + dodge[method]
            axis.vlines(shifted, points["low"], points["high"], color=look["color"], lw=0.8, alpha=0.5)
            axis.plot(shifted, points["mean"], label=style.method(method), **look)
        axis.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axis.xaxis.set_major_formatter(PercentFormatter(1, symbol=""))
        axis.set_xlabel("Channels removed (%)")
    _align(axes, stages)
    return _finished(figure, axes, () if _labelled(axes) else cells["method"])


def accuracy_parameters(tables: Tables) -> Figure:
    """Test accuracy against parameters."""
    return _tradeoff(tables, "parameters", "Parameters")


def accuracy_macs(tables: Tables) -> Figure:
    """Test accuracy against multiply-accumulate operations."""
    return _tradeoff(tables, "macs", "Multiply-accumulate operations")


def _tradeoff(tables: Tables, cost: str, label: str) -> Figure:
    """Mean accuracy against the mean of `cost`, dense networks included; bars span the seeds."""
    key = ["network", "method", "ratio", "stage"]
    costs = _measure(tables, cost).set_index(key)["mean"].rename("cost")
    cells = _measure(tables, "accuracy").join(costs, on=key)
    stages = _stages(cells)
    figure, axes = _panels(cells, _accuracy_labels(stages), height=min(ROW, ROWS / len(stages)))
    for (network, row), axis in axes.items():
        for method, points in _methods(cells, network, stages[row]):
            look = style.line(method)
            axis.vlines(points["cost"], points["low"], points["high"], color=look["color"], lw=0.8, alpha=0.5)
            axis.plot(points["cost"], points["mean"], label=style.method(method), **look)
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(_log_locator(*axis.get_xlim()))
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xlabel(label)
    _align(axes, stages)
    return _finished(figure, axes, cells["method"])


def scaling_factors(tables: Tables) -> Figure:
    """Histograms of the trained networks' scaling factors over all seeds, each scaled to its mode."""
    factors = tables["factors"]
    methods = sorted(factors["method"].unique(), key=style.order, reverse=True)
    found = factors[factors["count"] > 0]
    figure, axes = _panels(factors, [""], height=0.27 * len(methods) + 0.3)
    for (network, _), axis in axes.items():
        for place, method in enumerate(methods):
            mine = factors[(factors["network"] == network) & (factors["method"] == method)]
            if mine.empty:
                continue
            bins = mine.groupby(["log10_low", "log10_high"], as_index=False)["count"].sum()
            edges = [*bins["log10_low"], *bins["log10_high"].tail(1)]
            heights = place + 0.85 * bins["count"] / bins["count"].max()
            colour = style.line(method)["color"]
            axis.stairs(heights, edges, baseline=place, fill=True, color=colour, alpha=0.35, lw=0)
            axis.stairs(heights, edges, baseline=place, color=colour, lw=0.8)
        axis.set(xlim=(found["log10_low"].min(), found["log10_high"].max()), ylim=(0, len(methods)))
        axis.set_yticks(range(len(methods)), map(style.method, methods), verticalalignment="bottom")
        axis.tick_params(axis="y", length=0)
        axis.spines["left"].set_visible(False)
        axis.set_xlabel(r"$\log_{10}|\gamma|$")
    return _finished(figure, axes)


def channels_kept(tables: Tables) -> Figure:
    """The mean share of channels kept at the fine-tuned ratios: a row a method, a column a prunable layer."""
    layers = tables["layers"]
    layers = layers.assign(percent=100 * layers["kept"] / layers["channels"])
    finetuned = tables["ledger"].query("stage == 'finetuned'")["ratio"].unique()
    ratios = sorted(finetuned if len(finetuned) else layers["ratio"].unique())
    methods = sorted(layers["method"].unique(), key=style.order)
    labels = [f"{100 * ratio:g} % removed" for ratio in ratios]
    figure, axes = _panels(layers, labels, height=max(0.9, 0.115 * len(methods) + 0.25))
    for (network, row), axis in axes.items():
        mine = layers[(layers["network"] == network) & (layers["ratio"] == ratios[row])]
        kept = mine.pivot_table("percent", "method", "position").reindex(methods)
        image = axis.imshow(
            kept,
            cmap="Blues",
            vmin=0,
            vmax=100,
            aspect="auto",
            interpolation="none",
            extent=(0.5, kept.shape[1] + 0.5, len(methods) - 0.5, -0.5),
        )
        axis.set_yticks(range(len(methods)), map(style.method, methods), fontsize=6)
        axis.tick_params(axis="y", length=0)
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.grid(visible=False)
        axis.spines[:].set_visible(True)
        axis.set_xlabel("Prunable layer")
    figure.colorbar(image, ax=[*axes.values()], label="Channels kept (%)", fraction=0.03, aspect=40, pad=0.02)
    return _finished(figure, axes)


def training_curves(tables: Tables) -> Figure:
    """Training loss and test accuracy of every epoch of training; bands span the seeds."""
    curves = tables["curves"].query("stage == 'trained'")
    curves = curves.assign(test_accuracy=100 * curves["test_accuracy"])
    rows = {"loss": "Training loss", "test_accuracy": "Test accuracy (%)"}
    figure, axes = _panels(curves, [*rows.values()], height=1.5)
    for (network, row), axis in axes.items():
        mine = curves[curves["network"] == network]
        for method in sorted(mine["method"].unique(), key=style.order):
            epochs = mine[mine["method"] == method].groupby("epoch")[[*rows][row]].agg(["mean", "min", "max"])
            look = {key: value for key, value in style.line(method).items() if key in ("color", "linestyle")}
            axis.fill_between(epochs.index, epochs["min"], epochs["max"], color=look["color"], alpha=0.1, lw=0)
            axis.plot(epochs.index, epochs["mean"], label=style.method(method), **look)
        if [*rows][row] == "loss":
            axis.set_yscale("log")
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.set_xlabel("Epoch")
    return _finished(figure, axes, curves["method"])


FIGURES: dict[str, Callable[[Tables], Figure]] = {
    "accuracy-ratio": accuracy_ratio,
    "accuracy-parameters": accuracy_parameters,
    "accuracy-macs": accuracy_macs,
    "scaling-factors": scaling_factors,
    "channels-kept": channels_kept,
    "training-curves": training_curves,
}


def _measure(tables: Tables, measure: str) -> pd.DataFrame:
    """The summary's cells of one measure, accuracies in per cent."""
    cells = tables["cells"][tables["cells"]["measure"] == measure]
    scale = 100 if measure == "accuracy" else 1
    return cells.assign(**{end: scale * cells[end] for end in ("mean", "low", "high")})


def _log_locator(low: float, high: float) -> Locator:
    """Few ticks at round numbers of a logarithmic axis that spans `low` to `high`, so that labels keep apart."""
    decades = math.log10(high / low)
    if decades < 0.75:  # may hold but one of 1, 2 and 5 times a power of ten
        return MaxNLocator(3, steps=[1, 2, 5, 10])
    if decades < 2.5:
        return LogLocator(subs=(1, 2, 5) if decades < 1.3 else (1, 3))
    return LogLocator()  # which may skip decades, as it cannot with subs


def _dodge(cells: pd.DataFrame) -> dict[str, float]:
    """What to add to every method's ratios so that bars at the same ratio stand side by side."""
    methods = sorted(cells["method"].unique(), key=style.order)
    room = np.diff(np.sort(cells["ratio"].unique())).min(initial=1.0)
    places = np.arange(len(methods)) - (len(methods) - 1) / 2
    return dict(zip(methods, 0.12 * room * places / len(methods), strict=True))


def _stages(cells: pd.DataFrame) -> list[str]:
    return [stage for stage in LATER if (cells["stage"] == stage).any()]


def _accuracy_labels(stages: Sequence[str]) -> list[str]:
    return [f"Accuracy (%)\n{STAGES[stage].words}" for stage in stages]


def _align(axes: Panels, stages: Sequence[str]) -> None:
    """Give all stages without epochs one scale of accuracy, and all others another."""
    for untrained in (True, False):
        alike = [axis for (_, row), axis in axes.items() if (stages[row] in UNTRAINED) == untrained]
        limits = [axis.get_ylim() for axis in alike]
        for axis in alike:
            axis.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))


def _methods(cells: pd.DataFrame, network: str, stage: str) -> list[tuple[str, pd.DataFrame]]:
    """Each method's cells of a network, from the dense network to the highest ratio of `stage`."""
    mine = cells[(cells["network"] == network) & cells["stage"].isin(["trained", stage])]
    return [
        (method, mine[mine["method"] == method].sort_values("ratio"))
        for method in sorted(mine["method"].unique(), key=style.order)
    ]


def _panels(frame: pd.DataFrame, labels: Sequence[str], height: float) -> tuple[Figure, Panels]:
    """Panels {(network, row): axis}, networks side by side, with a row for every label of the y axis.

    More than COLUMNS networks continue below. A row shares its y axis, a network its x axis.
    """
    networks = frame["network"].unique()
    columns = min(len(networks), COLUMNS)
    blocks = math.ceil(len(networks) / columns)
    figure = Figure(figsize=(min(WIDTH, 3.2 * columns), blocks * len(labels) * height + 0.6))
    grid = figure.subplots(blocks * len(labels), columns, squeeze=False)
    axes: Panels = {}
    for place, network in enumerate(networks):
        block, column = divmod(place, columns)
        for row, label in enumerate(labels):
            axis = axes[network, row] = grid[block * len(labels) + row, column]
            axis.sharex(axes[network, 0])
            axis.sharey(axes[networks[0], row])
            axis.set_title(style.name(network) if row == 0 else "", loc="left")
            axis.set_ylabel(label if column == 0 else "")
            axis.tick_params(labelbottom=row == len(labels) - 1, labelleft=column == 0)
    for axis in set(grid.flat) - set(axes.values()):
        axis.remove()
    return figure, axes


def _labelled(axes: Panels) -> bool:
    """Name the lines of the last network's panels at their right ends; False, and nothing done, if they are too many.

    Labels keep the order of the ends, and stand apart by the height of a line of text; a thin line leads to each.
    """
    (last, _), columns = [*axes][-1], axes[[*axes][-1]].get_subplotspec().get_gridspec().ncols
    panels = [axis for (network, _), axis in axes.items() if network == last]
    height = 1.25 * LABEL / (72 * panels[0].get_position().height * panels[0].figure.get_figheight())
    if any(height * len(axis.get_lines()) > 1 for axis in panels) or len({name for name, _ in axes}) > columns:
        return False
    for axis in panels:
        low, high = axis.get_ylim()
        lines = sorted(axis.get_lines(), key=lambda line: line.get_ydata()[-1])
        ends = np.array([(line.get_ydata()[-1] - low) / (high - low) for line in lines])
        steps = height * np.arange(len(lines))
        places = steps + np.clip(isotonic_regression(ends - steps).x, 0, 1 - steps[-1])  # as near as room allows
        for line, place in zip(lines, places, strict=True):
            axis.annotate(
                line.get_label(),
                (line.get_xdata()[-1], line.get_ydata()[-1]),
                (1.1, place),
                textcoords="axes fraction",
                verticalalignment="center",
                fontsize=LABEL,
                arrowprops={"arrowstyle": "-", "color": line.get_color(), "lw": 0.6, "relpos": (0, 0.5), "shrinkB": 2},
                annotation_clip=False,
            )
    return True


def _finished(figure: Figure, axes: Panels, methods: Iterable[str] = ()) -> Figure:
    """`figure` with the x axis named once a column, and one legend of `methods` for all panels."""
    last = max(row for _, row in axes)
    for (_, row), axis in axes.items():
        if row < last:
            axis.set_xlabel("")
    lines = {line.get_label(): line for axis in axes.values() for line in axis.get_legend_handles_labels()[0]}
    handles = [lines[style.method(method)] for method in sorted(set(methods), key=style.order)]
    for rows in range(1, len(handles) + 1):
        legend = figure.legend(handles=handles, loc="outside upper center", ncols=math.ceil(len(handles) / rows))
        if legend.get_window_extent().width <= figure.bbox.width:
            break
        legend.remove()
    return figure


def _save(figure: Figure, stem: Path) -> None:
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once, so that the formats look the same
    for form, metadata in METADATA.items():
        tensorfile.write_aside(
            stem.with_name(f"{stem.name}.{form}"),
            functools.partial(figure.savefig, format=form, metadata=metadata),
        )
