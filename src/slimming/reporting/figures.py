"""Figures of a study, one function a figure: each draws one data set with a panel a network.

The same method has the same colour, marker and dashes in all. The bytes of a file depend on nothing but the
numbers and matplotlib's version. Means and ranges over seeds are seaborn's.
Not for networks side by side in rows: seaborn's facets cannot continue them below.
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
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, Locator, LogLocator, MaxNLocator, NullFormatter, PercentFormatter
from scipy.optimize import isotonic_regression

from slimming import ledger, tensorfile
from slimming.reporting import style, summary
from slimming.schema import KEY
from slimming.stages.table import LATER, STAGES, UNTRAINED

WIDTH = 6.3  # inches: the paper's lines, so that letters keep their size
COLUMNS = 4  # panels side by side, at most
LABEL = 6.5  # points: names beside lines
ROW, ROWS = 1.65, 6.6  # inches of a row of accuracies, and of all rows of a network: less than a page

# What shows the span of the seeds around a line.
BARS = {"err_style": "bars", "err_kws": {"elinewidth": 0.6}}
BAND = {"err_style": "band", "err_kws": {"alpha": 0.1, "lw": 0}}

NEEDED = ("ledger", "curves", "factors", "layers", "latency")
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
    tables = {name: ledger.read(ledger_dir / f"{name}.csv", name) for name in NEEDED}
    for dataset in tables["ledger"]["dataset"].unique():
        parts = {name: table[table["dataset"] == dataset] for name, table in tables.items()}
        for name, draw in FIGURES.items():
            with matplotlib.style.context(["default", style.MATPLOTLIB]):
                save(draw(parts), output_dir / f"{name}-{dataset}")


def accuracy_ratio(tables: Tables) -> Figure:
    """Test accuracy against the share of what the budget counts that was to go; bars span the seeds."""
    rows = _accuracies(tables)
    dodge = _dodge(rows)
    rows["at"] = rows["ratio"] + rows["method"].map(dodge)
    figure, axes = _accuracy_panels(rows)
    for axis in axes.values():
        axis.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axis.xaxis.set_major_formatter(PercentFormatter(1, symbol=""))
        axis.set_xlabel(f"{summary.counted(tables['ledger']).capitalize()} removed (%)")
    return _finished(figure, axes, () if _labelled(axes) else rows["method"])


def accuracy_parameters(tables: Tables) -> Figure:
    """Test accuracy against parameters."""
    return _tradeoff(tables, "parameters", "Parameters")


def accuracy_macs(tables: Tables) -> Figure:
    """Test accuracy against multiply-accumulate operations."""
    return _tradeoff(tables, "macs", "Multiply-accumulate operations")


def accuracy_latency(tables: Tables) -> Figure:
    """Test accuracy against the measured time of an image in a batch, lower quartile: other jobs make it longer."""
    batch = max(tables["latency"]["batch"])
    times = tables["latency"].query("batch == @batch").set_index(KEY)["q25"] / 1000 / batch
    timed = tables["ledger"].join(times.rename("time"), on=KEY)
    return _tradeoff(tables | {"ledger": timed}, "time", "Seconds for an image (CPU)")


def _tradeoff(tables: Tables, cost: str, label: str) -> Figure:
    """Mean accuracy against the mean of `cost`, dense networks included; bars span the seeds."""
    rows = _accuracies(tables)
    rows["at"] = rows.groupby(["network", "method", "ratio", "stage"])[cost].transform("mean")
    figure, axes = _accuracy_panels(rows)
    for axis in axes.values():
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(_log_locator(*axis.get_xlim()))
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_xlabel(label)
    return _finished(figure, axes, rows["method"])


def _accuracy_panels(rows: pd.DataFrame) -> tuple[Figure, Panels]:
    """A row of panels for every stage after training: per cent against `at`, from the dense networks on."""
    stages = [stage for stage in LATER if (rows["stage"] == stage).any()]
    labels = [f"Accuracy (%)\n{STAGES[stage].words}" for stage in stages]
    figure, axes = _panels(rows, labels, height=min(ROW, ROWS / len(stages)))
    for (network, row), axis in axes.items():
        shown = rows[(rows["network"] == network) & rows["stage"].isin(["trained", stages[row]])]
        for method, mine in _by_method(shown):
            _line(mine, "at", "percent", axis, method, **BARS)
        for bars in axis.collections:
            bars.set_alpha(0.5)
    _align(axes, stages)
    return figure, axes


def scaling_factors(tables: Tables) -> Figure:
    """Histograms of the trained networks' scaling factors over all seeds, each scaled to its mode."""
    factors = tables["factors"]
    methods = sorted(factors["method"].unique(), key=style.order)
    counts = factors.groupby(["network", "method", "log10_low", "log10_high"], as_index=False)["count"].sum()
    counts["height"] = counts["count"] / counts.groupby(["network", "method"])["count"].transform("max")
    edges = np.union1d(counts["log10_low"], counts["log10_high"])
    found = counts[counts["count"] > 0]
    figure, axes = _panels(factors, [style.method(method) for method in methods], height=0.27)
    for (network, row), axis in axes.items():
        mine = counts[(counts["network"] == network) & (counts["method"] == methods[row])]
        label, colour = axis.get_ylabel(), style.line(methods[row])["color"]
        seaborn.histplot(
            mine,
            x="log10_low",
            weights="height",
            bins=[*edges],
            element="step",
            color=colour,
            alpha=0.35,
            lw=0.8,
            ax=axis,
        )
        axis.set(xlim=(found["log10_low"].min(), found["log10_high"].max()), ylim=(0, 1.1))
        axis.set_xlabel(r"$\log_{10}|\gamma|$")
        axis.set_ylabel(label, rotation=0, horizontalalignment="right", verticalalignment="bottom", y=0)
        axis.tick_params(axis="y", left=False, labelleft=False)
        axis.tick_params(axis="x", bottom=row == len(methods) - 1)
        axis.spines["left"].set_visible(False)
        axis.grid(visible=False)
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
        seaborn.heatmap(kept, vmin=0, vmax=100, cmap="Blues", cbar=False, rasterized=True, ax=axis)
        axis.set_yticks(np.arange(len(methods)) + 0.5, map(style.method, methods), fontsize=6, rotation=0)
        every = max(1, round(kept.shape[1] / 5))
        places = np.arange(every, kept.shape[1] + 1, every)
        axis.set_xticks(places - 0.5, places, rotation=0)
        axis.tick_params(axis="y", length=0)
        axis.grid(visible=False)
        axis.spines[:].set_visible(True)
        axis.set(xlabel="Prunable layer", ylabel=labels[row] if axis.get_subplotspec().is_first_col() else "")
    figure.colorbar(
        axis.collections[0], ax=[*axes.values()], label="Channels kept (%)", fraction=0.03, aspect=40, pad=0.02
    )
    return _finished(figure, axes)


def training_curves(tables: Tables) -> Figure:
    """Training loss and test accuracy of every epoch of training; bands span the seeds."""
    curves = tables["curves"].query("stage == 'trained'")
    curves = curves.assign(test_accuracy=100 * curves["test_accuracy"])
    rows = {"loss": "Training loss", "test_accuracy": "Test accuracy (%)"}
    figure, axes = _panels(curves, [*rows.values()], height=1.5)
    for (network, row), axis in axes.items():
        for method, mine in _by_method(curves[curves["network"] == network]):
            _line(mine.dropna(subset=[*rows][row]), "epoch", [*rows][row], axis, method, marker="", **BAND)
        if [*rows][row] == "loss":
            axis.set_yscale("log")
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.set_xlabel("Epoch")
    return _finished(figure, axes, curves["method"])


FIGURES: dict[str, Callable[[Tables], Figure]] = {
    "accuracy-ratio": accuracy_ratio,
    "accuracy-parameters": accuracy_parameters,
    "accuracy-macs": accuracy_macs,
    "accuracy-latency": accuracy_latency,
    "scaling-factors": scaling_factors,
    "channels-kept": channels_kept,
    "training-curves": training_curves,
}


def _accuracies(tables: Tables) -> pd.DataFrame:
    """The rows of the ledger, with accuracy in per cent."""
    return tables["ledger"].assign(percent=100 * tables["ledger"]["accuracy"])


def _by_method(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Each method's rows, in the order in which methods are shown."""
    return [(method, rows[rows["method"] == method]) for method in sorted(rows["method"].unique(), key=style.order)]


def _span(values: pd.Series) -> tuple[float, float]:
    """The lowest and highest value; rounding may put the mean beside equal ones."""
    return min(values.min(), values.mean()), max(values.max(), values.mean())


def _line(rows: pd.DataFrame, x: str, y: str, axis: Axes, method: str, **more: object) -> None:
    """The mean of `y` over seeds at every `x`, and what the seeds span, as the method looks."""
    label, look = axis.get_ylabel(), style.line(method) | more
    look["markeredgecolor"] = look["color"]
    seaborn.lineplot(rows, x=x, y=y, errorbar=_span, ax=axis, label=style.method(method), legend=False, **look)
    axis.set_ylabel(label)


def _log_locator(low: float, high: float) -> Locator:
    """Few ticks at round numbers of a logarithmic axis that spans `low` to `high`, so that labels keep apart."""
    decades = math.log10(high / low)
    if decades < 0.75:  # may hold but one of 1, 2 and 5 times a power of ten
        return MaxNLocator(3, steps=[1, 2, 5, 10])
    if decades < 2.5:
        return LogLocator(subs=(1, 2, 5) if decades < 1.3 else (1, 3))
    return LogLocator()  # which may skip decades, as it cannot with subs


def _dodge(rows: pd.DataFrame) -> dict[str, float]:
    """What to add to every method's ratios so that bars at the same ratio stand side by side."""
    methods = sorted(rows["method"].unique(), key=style.order)
    room = np.diff(np.sort(rows["ratio"].unique())).min(initial=1.0)
    places = np.arange(len(methods)) - (len(methods) - 1) / 2
    return dict(zip(methods, 0.12 * room * places / len(methods), strict=True))


def _align(axes: Panels, stages: Sequence[str]) -> None:
    """Give all stages without epochs one scale of accuracy, and all others another."""
    for untrained in (True, False):
        alike = [axis for (_, row), axis in axes.items() if (stages[row] in UNTRAINED) == untrained]
        limits = [axis.get_ylim() for axis in alike]
        for axis in alike:
            axis.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))


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


def _lines(axis: Axes) -> list[Line2D]:
    """The lines of methods, without those that seaborn adds for their bars."""
    return [line for line in axis.get_lines() if not line.get_label().startswith("_")]


def _labelled(axes: Panels) -> bool:
    """Name the lines of the last network's panels at their right ends; False, and nothing done, if they are too many.

    Labels keep the order of the ends, and stand apart by the height of a line of text; a thin line leads to each.
    """
    (last, _), columns = [*axes][-1], axes[[*axes][-1]].get_subplotspec().get_gridspec().ncols
    panels = [axis for (network, _), axis in axes.items() if network == last]
    height = 1.25 * LABEL / (72 * panels[0].get_position().height * panels[0].figure.get_figheight())
    if any(height * len(_lines(axis)) > 1 for axis in panels) or len({name for name, _ in axes}) > columns:
        return False
    for axis in panels:
        low, high = axis.get_ylim()
        lines = sorted(_lines(axis), key=lambda line: line.get_ydata()[-1])
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
    lines = {line.get_label(): line for axis in axes.values() for line in _lines(axis)}
    handles = [lines[style.method(method)] for method in sorted(set(methods), key=style.order)]
    for rows in range(1, len(handles) + 1):
        legend = figure.legend(handles=handles, loc="outside upper center", ncols=math.ceil(len(handles) / rows))
        if legend.get_window_extent().width <= figure.bbox.width:
            break
        legend.remove()
    return figure


def save(figure: Figure, stem: Path) -> None:
    figure.set_dpi(matplotlib.rcParams["savefig.dpi"])  # a letter's width hangs on it
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once, so that the formats look the same
    for form, metadata in METADATA.items():
        tensorfile.write_aside(
            stem.with_name(f"{stem.name}.{form}"),
            functools.partial(figure.savefig, format=form, metadata=metadata),
        )
