"""Figures of what methods found out while they planned (slimming.findings): one function a finding, of a data set.

Not for what every network has: figures are those of the ledger.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.cm import cividis
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from slimming import findings
from slimming.methods.transformation import OPERATIONS
from slimming.reporting import style
from slimming.reporting.figures import WIDTH, save

COLUMNS, HEIGHT = 4, 1.3  # panels side by side, and inches of a row of them
OPERATION_COLOURS = ["#4d4d4d", "#0072b2", "#56b4e9", "#009e73", "#f0e442", "#e69f00", "#d55e00"]  # Okabe and Ito's


def write(findings_file: str | os.PathLike, output_dir: str | os.PathLike) -> None:
    """Draw FIGURES for every data set of a table of findings, named <finding>-<data set>.<format>."""
    table = findings.read(findings_file)
    for dataset, rows in table.groupby("dataset"):
        for name, draw in FIGURES.items():
            if (rows["item"] == name).any():
                with matplotlib.style.context(["default", style.MATPLOTLIB]):
                    save(draw(rows), Path(output_dir) / f"{name}-{dataset}")


def sensitivity(rows: pd.DataFrame) -> Figure:
    """What every layer loses over the share of its cost that is gone, the fit, and where each ratio's rate lies.

    Of the method and the seed that come first; a panel a layer, all networks one after another.
    """
    first = rows[rows["item"] == "sensitivity"].iloc[0]
    rows = rows[(rows["method"] == first["method"]) & (rows["seed"] == first["seed"])]
    ratios = sorted(rows["ratio"].unique())
    groups = rows[rows["item"] == "sensitivity"].groupby(["network", "layer"]).groups
    places = sorted(groups, key=_naturally)
    lines = -(-len(places) // COLUMNS)
    figure = Figure(figsize=(WIDTH, lines * HEIGHT + 0.5))
    grid = figure.subplots(lines, COLUMNS, squeeze=False, sharex=True, sharey=True)
    for place, (axis, (network, layer)) in enumerate(zip(grid.flat, places, strict=False)):
        mine = rows[(rows["network"] == network) & (rows["layer"] == layer)]
        curve = mine[mine["item"] == "sensitivity"].drop_duplicates("x").sort_values("x")
        axis.plot(curve["x"], curve["value"], color=style.GREY, marker=".", ms=2, lw=0)
        p1, p2 = (mine.loc[mine["item"] == name, "value"].iloc[0] for name in ("p1", "p2"))
        c = np.linspace(0, 1, 100)
        axis.plot(c, p1 * np.exp(p2 * c), color="#0072b2")
        for ratio, rate in mine[mine["item"] == "rate"].groupby("ratio")["value"].first().items():
            axis.axvline(rate, color="#d55e00", lw=0.7, alpha=0.4 + 0.6 * ratios.index(ratio) / len(ratios))
        axis.set_yscale("log")
        axis.set_ylim(1e-4, 3)
        axis.tick_params(labelbottom=place + COLUMNS >= len(places))
        axis.set_title(f"{style.name(network)}\n{layer}", loc="left", fontsize=5.5)
    for axis in grid.flat[len(places) :]:
        axis.remove()
    figure.supxlabel("Share of the layer's cost that is gone", fontsize=7.5)
    figure.supylabel("Loss, of that of a layer of zeros", fontsize=7.5)
    handles = [
        Line2D([], [], color=style.GREY, marker=".", lw=0, label="units removed one after another"),
        Line2D([], [], color="#0072b2", label=r"fit $p_1 \exp(p_2 c)$"),
        Line2D([], [], color="#d55e00", label=f"rate at ratio {', '.join(f'{ratio:g}' for ratio in ratios)}"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def codes(rows: pd.DataFrame) -> Figure:
    """How much a filter weighs in its own code, a line a layer, over the training: 1 where nothing is mixed.

    Of the ratio and the seed that come first; a panel a network and method.
    """
    rows = rows[rows["item"] == "codes"]
    first = rows.iloc[0]
    rows = rows[(rows["ratio"] == first["ratio"]) & (rows["seed"] == first["seed"])]
    networks, methods = ([*dict.fromkeys(rows[column])] for column in ("network", "method"))
    figure = Figure(figsize=(WIDTH, len(networks) * 1.7 + 0.4))
    grid = figure.subplots(len(networks), len(methods), squeeze=False, sharex=True, sharey=True)
    for axes, network in zip(grid, networks, strict=True):
        for axis, method in zip(axes, methods, strict=True):
            mine = rows[(rows["network"] == network) & (rows["method"] == method)]
            layers = sorted(mine.groupby(["network", "layer"]).groups, key=_naturally)
            for place, (_, layer) in enumerate(layers):
                line = mine[mine["layer"] == layer].sort_values("x")
                depth = place / max(1, len(layers) - 1)
                axis.plot(line["x"] + 1, line["value"], color=cividis(0.9 * depth), lw=0.8, marker=".", ms=2)
            axis.set_title(f"{style.name(network)}, {method}", loc="left")
            axis.set_ylim(0, 1.05)
            axis.xaxis.get_major_locator().set_params(integer=True)
    figure.supxlabel("Epoch", fontsize=7.5)
    figure.supylabel("Weight of a filter in its code", fontsize=7.5)
    handles = [Line2D([], [], color=cividis(0.9 * depth)) for depth in (0, 1)]
    figure.legend(handles=handles, labels=["first layer", "last layer"], loc="outside upper center", ncols=2)
    return figure


def operations(rows: pd.DataFrame) -> Figure:
    """What every layer does, before and after its operations were transformed: a row a method and seed.

    Of the ratio that comes first; a panel a network, its layers from left to right.
    """
    rows = rows[rows["item"] == "operations"]
    rows = rows[rows["ratio"] == rows["ratio"].min()]
    networks = [*dict.fromkeys(rows["network"])]
    tables = [rows[rows["network"] == name].pivot(index=["method", "seed"], columns="layer", values="value")
              for name in networks]  # fmt: skip
    heights = [len(table) + 1 for table in tables]
    figure = Figure(figsize=(WIDTH, 0.13 * sum(heights) + 0.6 * len(tables) + 0.5))
    axes = figure.subplots(len(tables), 1, squeeze=False, height_ratios=heights)[:, 0]
    colours = ListedColormap(OPERATION_COLOURS)
    for axis, network, table in zip(axes, networks, tables, strict=True):
        layers = [layer for _, layer in sorted(((network, layer) for layer in table), key=_naturally)]
        values = np.vstack([np.zeros(len(layers)), table[layers]])
        axis.pcolormesh(values, cmap=colours, vmin=-0.5, vmax=len(OPERATIONS) - 0.5, edgecolors="white", lw=0.4)
        axis.invert_yaxis()
        labels = ["before", *(f"{method}, seed {seed}" for method, seed in table.index)]
        axis.set_yticks(np.arange(len(labels)) + 0.5, labels, fontsize=5)
        axis.set_xticks([])
        axis.set_title(f"{style.name(network)}: {layers[0]} to {layers[-1]}", loc="left")
    handles = [Patch(color=colour) for colour in OPERATION_COLOURS]
    figure.legend(handles=handles, labels=list(OPERATIONS), loc="outside upper center", ncols=len(OPERATIONS))
    return figure


def _naturally(place: tuple[str, str]) -> tuple:
    """Sorting key of a network's layer: "features.2" before "features.10"."""
    network, layer = place
    return network, [(not part.isdigit(), part.zfill(9)) for part in re.split(r"(\d+)", layer)]


FIGURES: dict[str, Callable[[pd.DataFrame], Figure]] = {
    "sensitivity": sensitivity,
    "codes": codes,
    "operations": operations,
}
