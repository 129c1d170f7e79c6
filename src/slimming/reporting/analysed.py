"""Figures of analyses (slimming.analysed): one function a figure, of one data set's rows of a table."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from slimming import analysed, analyses
from slimming.reporting import style
from slimming.reporting.figures import WIDTH, save
from slimming.schema import KEY
from slimming.stages.table import STAGES

WORST = 12  # units of a network whose damage is drawn
ATTRIBUTES = {"selectivity": "selectivity", "l1": r"$\ell_1$ of the filter", "gamma": r"$|\gamma|$"}
DAMAGES = {"drop": ("of all images", "#0072b2"), "class_drop": ("of the worst class", "#d55e00")}


def write(paths: Iterable[str | os.PathLike], directory: str | os.PathLike) -> None:
    """Draw the figures of the tables at `paths` for every data set, named <figure>-<data set>.<format>."""
    for path in paths:
        table = analysed.read(path)
        names = next(some.figures for some in analyses.registry().values() if [*table] == [*KEY, *some.columns])
        for dataset, rows in table.groupby("dataset"):
            for name in names:
                with matplotlib.style.context(["default", style.MATPLOTLIB]):
                    save(FIGURES[name](rows), Path(directory) / f"{name}-{dataset}")


def summarise(directory: str | os.PathLike) -> list[dict]:
    """The measures of the networks of the ledger in `directory`: a table each, none where there are no analyses.

    A table has its `title`, the `stages` that have the measure, and `rows`: dataset, network, method, and `cells`
    {stage: (mean, lowest, highest) over seeds and ratios, three digits each}.
    """
    table, found = analysed.read_measures(directory), []
    for name, measure in analyses.measures().items():
        mine, rows = table[(table["measure"] == name) & table["value"].notna()], []
        for (dataset, network, method), part in mine.groupby(["dataset", "network", "method"]):
            by_stage = part.groupby("stage")["value"].agg(["mean", "min", "max"]).iterrows()
            cells = {stage: tuple(f"{value:.3g}" for value in values) for stage, values in by_stage}
            rows.append({"dataset": dataset, "network": network, "method": method, "cells": cells})
        rows.sort(key=lambda row: (row["dataset"], row["network"], style.order(row["method"])))
        stages = [stage for stage in STAGES if stage in set(mine["stage"])]
        title = measure.words[0].upper() + measure.words[1:] + (f" ({measure.unit})" if measure.unit else "")
        found += [{"title": title, "stages": stages, "rows": rows}] if rows else []
    return found


def _panels(networks: Sequence[str], height: float, **shared: bool) -> tuple[Figure, dict[str, Axes]]:
    """A figure with a panel a network, side by side; an empty one where there is none."""
    figure = Figure(figsize=(WIDTH, height))
    axes = dict(zip(networks, figure.subplots(1, max(1, len(networks)), squeeze=False, **shared)[0], strict=False))
    for network, axis in axes.items():
        axis.set_title(style.name(network), loc="left")
    return figure, axes


def _legend(figure: Figure, most: int = 6) -> None:
    """What the first panel names, above all."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper center", ncols=min(most, len(handles)))


def damage(rows: pd.DataFrame) -> Figure:
    """Drops of classes' accuracies without the units that hurt a class most, before pruning; a panel a network.

    Of the method and the seed that come first.
    """
    classes = sorted({name for text in rows["drops"] for name in json.loads(text)})
    rows = rows[rows["stage"] == "trained"]
    rows = rows[(rows["method"] == rows["method"].iloc[0]) & (rows["seed"] == rows["seed"].min())]
    networks = [*dict.fromkeys(rows["network"])]
    figure, axes = _panels(networks, 0.13 * WORST + 1.0)
    shades = []
    for network, axis in axes.items():
        worst = rows[rows["network"] == network].nlargest(WORST, "class_drop")
        drops = [json.loads(text) for text in worst["drops"]]
        values = np.array([[100 * some.get(name, 0.0) for name in classes] for some in drops])
        shades.append(axis.pcolormesh(values, cmap="RdBu_r", vmin=-100, vmax=100, edgecolors="white", lw=0.3))
        axis.invert_yaxis()
        labels = [f"{site} {channel}" for site, channel in zip(worst["site"], worst["channel"], strict=True)]
        axis.set_yticks(np.arange(len(labels)) + 0.5, labels, fontsize=4.5)
        axis.set_xticks(np.arange(len(classes)) + 0.5, classes, rotation=90, fontsize=5)
    figure.colorbar(shades[0], ax=[*axes.values()], label="points of accuracy lost")
    return figure


def attributes(rows: pd.DataFrame) -> Figure:
    """Rank correlation over a network's units of what a unit is with what its ablation costs, before pruning.

    A panel a network; a dot a method and seed, a bar their mean.
    """
    rows = rows[rows["stage"] == "trained"]
    networks = [*dict.fromkeys(rows["network"])]
    figure, axes = _panels(networks, 1.9, sharey=True)
    for network, axis in axes.items():
        mine = rows[rows["network"] == network].groupby(["method", "seed"])
        for shift, (lost, (words, colour)) in zip((-0.2, 0.2), DAMAGES.items(), strict=True):
            for place, attribute in enumerate(ATTRIBUTES):
                found = [run[[attribute, lost]].rank().corr().iloc[0, 1] for _, run in mine]
                found = [value for value in found if np.isfinite(value)]
                label = words if place == 0 else None
                axis.bar(place + shift, np.mean(found) if found else 0, 0.36, color=colour, alpha=0.4, label=label)
                axis.plot([place + shift] * len(found), found, ".", color=colour, ms=2)
        axis.axhline(0, color=style.GREY, lw=0.6)
        axis.set_xticks(range(len(ATTRIBUTES)), ATTRIBUTES.values())
    figure.axes[0].set_ylabel("Rank correlation with\nthe accuracy lost")
    _legend(figure)
    return figure


def likeness(rows: pd.DataFrame) -> Figure:
    """How alike maps are to those before pruning, by stage; a panel a network, a line a method, mean over all else."""
    later = rows[(rows["stage"] != "trained") & rows["correlation"].notna()]
    networks = [*dict.fromkeys(rows["network"])]
    stages = [stage for stage in STAGES if stage in set(later["stage"])]
    figure, axes = _panels(networks, 2.1, sharey=True)
    for network, axis in axes.items():
        for method, mine in later[later["network"] == network].groupby("method"):
            means = mine.groupby("stage")["correlation"].mean().reindex(stages)
            axis.plot(range(len(stages)), means, label=style.method(method), **style.line(method))
        axis.set_xticks(range(len(stages)), [STAGES[stage].words for stage in stages], fontsize=5.5)
    figure.axes[0].set_ylabel("Rank correlation of maps\nwith those before")
    _legend(figure)
    return figure


def axioms(rows: pd.DataFrame) -> Figure:
    """Errors of conservation and sensitivity of Grad-CAM and XGrad-CAM before pruning: a dot a layer, method, seed."""
    rows = rows[rows["stage"] == "trained"]
    networks = [*dict.fromkeys(rows["network"])]
    figure = Figure(figsize=(WIDTH, 2.2))
    axes = figure.subplots(1, 2, squeeze=False)[0]
    for axis, axiom in zip(axes, ("conservation", "sensitivity"), strict=True):
        for network in networks:
            mine = rows[rows["network"] == network]
            axis.plot(mine[f"{axiom}_grad"], mine[f"{axiom}_xgrad"], ".", label=style.name(network))
        end = max(axis.get_xlim()[1], axis.get_ylim()[1])
        axis.plot([0, end], [0, end], color=style.GREY, lw=0.6)
        axis.set_xlabel(f"Grad-CAM's error of {axiom}")
        axis.set_ylabel("XGrad-CAM's")
    _legend(figure, len(networks))
    return figure


def hurt(rows: pd.DataFrame) -> Figure:
    """What classes' accuracies gained or lost right after pruning, mean over seeds and ratios; a panel a network."""
    rows = rows[rows["stage"] != "trained"]
    networks, classes = [*dict.fromkeys(rows["network"])], [*dict.fromkeys(rows["class"])]
    rows = rows[rows["stage"] == min(rows["stage"], key=[*STAGES].index, default="")]
    methods = sorted(rows["method"].unique(), key=style.order)
    figure, axes = _panels(networks, 0.16 * len(methods) + 1.0, sharey=True)
    for network, axis in axes.items():
        mine = rows[rows["network"] == network].groupby(["method", "class"])["change"].mean().unstack()
        values = 100 * mine.reindex(index=methods, columns=classes)
        shades = axis.pcolormesh(values, cmap="RdBu", vmin=-100, vmax=100, edgecolors="white", lw=0.3)
        axis.set_xticks(np.arange(len(classes)) + 0.5, classes, rotation=90, fontsize=5)
    figure.axes[0].set_yticks(np.arange(len(methods)) + 0.5, map(style.method, methods), fontsize=5)
    figure.axes[0].invert_yaxis()
    if axes:
        figure.colorbar(shades, ax=[*axes.values()], label="points of accuracy")
    return figure


def mattered(rows: pd.DataFrame) -> Figure:
    """What a class lost by pruning, against what the channels that went were worth to it.

    A panel a network, a dot a class, method, ratio and seed.
    """
    rows = rows[(rows["stage"] == "pruned") & rows["damage"].notna()]
    networks = [*dict.fromkeys(rows["network"])]
    figure, axes = _panels(networks, 2.2, sharey=True)
    for network, axis in axes.items():
        for method, mine in rows[rows["network"] == network].groupby("method"):
            look = style.line(method) | {"linestyle": "", "alpha": 0.6}
            axis.plot(100 * mine["damage"], -100 * mine["change"], label=style.method(method), **look)
        axis.axhline(0, color=style.GREY, lw=0.6)
        axis.set_xlabel("Lost without one of them, mean (points)")
    figure.axes[0].set_ylabel("Accuracy that a class\nlost by pruning (points)")
    _legend(figure)
    return figure


def pictures(rows: pd.DataFrame) -> Figure:
    """Images, and what a network looks at before pruning and after each stage; a column an image.

    Of the first network, seed and ratio, and the first method with a penalty. A frame is red where the class is not
    told right.
    """
    network, methods = rows["network"].iloc[0], sorted(rows["method"].unique(), key=style.order)
    method = methods[min(1, len(methods) - 1)]
    seen = rows[(rows["network"] == network) & (rows["seed"] == rows["seed"].min()) & (rows["method"] == method)]
    drawn = seen.dropna(subset="picture").set_index("image")["picture"]
    shown = {number: np.array(json.loads(text)) for number, text in drawn.items()}
    seen = seen[seen["ratio"].isin([0, seen["ratio"][seen["ratio"] > 0].min()])]
    stages = [stage for stage in STAGES if stage in set(seen["stage"])]
    figure = Figure(figsize=(WIDTH, 0.75 * len(stages) + 0.9))
    axes = figure.subplots(len(stages) + 1, len(shown), squeeze=False)
    for column, (number, pixels) in enumerate(shown.items()):
        pixels = pixels.transpose(1, 2, 0).squeeze()
        cells = [None, *(seen[(seen["image"] == number) & (seen["stage"] == stage)] for stage in stages)]
        for row, cell in enumerate(cells):
            axis = axes[row, column]
            axis.imshow(pixels, cmap="gray", vmin=0, vmax=255)
            axis.set_xticks([])
            axis.set_yticks([])
            if cell is None:
                continue
            height, width = pixels.shape[:2]
            extent = (-0.5, width - 0.5, height - 0.5, -0.5)
            values = np.array(json.loads(cell["map"].iloc[0]))
            axis.imshow(values, cmap="inferno", alpha=0.6, extent=extent, interpolation="bilinear", vmin=0, vmax=255)
            wrong = cell["told"].iloc[0] != cell["class"].iloc[0]
            axis.spines[:].set(visible=True, color="#d62728" if wrong else style.GREY, linewidth=1.5 if wrong else 0.5)
        axes[0, column].set_title(str(seen[seen["image"] == number]["class"].iloc[0]), fontsize=6)
    figure.suptitle(f"{style.name(network)}, {style.method(method)}", fontsize=7.5)
    for row, words in enumerate(["image", *(STAGES[stage].words for stage in stages)]):
        axes[row, 0].set_ylabel(words, fontsize=5.5)
    return figure


FIGURES: dict[str, Callable[[pd.DataFrame], Figure]] = {
    "damage": damage,
    "attributes": attributes,
    "likeness": likeness,
    "axioms": axioms,
    "hurt": hurt,
    "mattered": mattered,
    "pictures": pictures,
}
