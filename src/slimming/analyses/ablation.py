"""Unit ablation (Zhou, Sun, Bau and Torralba 2018, arXiv 1806.02891): what a network loses without one channel.

One row a channel of a site:

    drop          of the accuracy, without the channel, a fraction
    class_drop    the largest drop of a class's accuracy, a fraction; `class` says whose
    drops         {class: drop of its accuracy} as JSON, without those that are zero
    loss          growth of the mean cross-entropy
    selectivity   (m - r) / (m + r), m the largest mean activation of a class, r the mean of the other classes' (Morcos
                  et al. 2018); 0 for a channel that is never active
    l1            sum of absolute weights: of the filter that makes the channel alone, or of what its reader has for it
    gamma         magnitude of its scaling factor
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from slimming.analyses import Analysis, Measure

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from slimming.data import Dataset
    from slimming.networks.base import Network, Site

IMAGES = 500  # test images, the first
COLUMNS = ("site", "channel", "drop", "class_drop", "class", "drops", "loss", "selectivity", "l1", "gamma")


def analyse(net: Network, dense: Network, dataset: Dataset) -> list[dict[str, Any]]:
    """Rows of all channels of `net`."""
    import torch
    from tqdm import tqdm

    from slimming import data, networks
    from slimming.measuring import ablation

    images, labels = next(data.evaluation_batches(dataset, IMAGES))
    classes, norms = len(dataset.classes), networks.prunable(net)
    counts = torch.bincount(labels, minlength=classes)
    with torch.no_grad():
        logits = net.eval()(images)
    whole = torch.bincount(labels[logits.argmax(1) == labels], minlength=classes)
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    channels = sum(norm.num_features for norm in norms.values())
    with tqdm(total=channels, unit="channel", disable=not sys.stderr.isatty()) as bar:
        found = ablation.ablate(net, images, labels, bar.update)
    rows = []
    for site in net.sites:
        some = found[site.norm]
        drops = (whole - some.hits) / counts.clamp(min=1)  # (channels, classes)
        worst = drops.max(1)
        columns = {
            "drop": (whole.sum() - some.hits.sum(1)) / len(labels),
            "class_drop": worst.values,
            "class": worst.indices,
            "loss": some.losses - loss,
            "selectivity": selectivity(some.activations),
            "l1": _sizes(net, site),
            "gamma": norms[site.norm].weight.detach().abs(),
        }
        values = {name: column.tolist() for name, column in columns.items()}
        for channel in range(len(some.losses)):
            row = {name: _short(column[channel]) for name, column in values.items()}
            row["class"] = dataset.classes[row["class"]]
            by_class = zip(dataset.classes, drops[channel].tolist(), strict=True)
            row["drops"] = json.dumps({name: _short(drop) for name, drop in by_class if drop})
            rows.append({"site": site.norm, "channel": channel} | row)
    return rows


def selectivity(activations: Tensor) -> Tensor:
    """Of mean activations by class, (channels, classes), not negative: (channels,)."""
    most = activations.max(1).values
    rest = (activations.sum(1) - most) / max(1, activations.shape[1] - 1)
    return ((most - rest) / (most + rest)).nan_to_num(0.0)


def _sizes(net: Network, site: Site) -> Tensor:
    """l1 of each channel's filter, or of its reader's weights for it, (channels,)."""
    from slimming.networks.forms import Form

    layer = net.get_submodule(site.producer or site.consumer)
    weight = (layer.dense() if isinstance(layer, Form) else layer.weight).detach().abs()
    weight = weight if site.producer else weight.transpose(0, 1)
    return weight.flatten(1).sum(1)


def _short(value: float) -> float:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _rank_correlation(one: str, other: str) -> Measure:
    def of(rows: pd.DataFrame) -> float:
        return rows[[one, other]].rank().corr().iloc[0, 1]

    words = {"drop": "the accuracy lost without the unit", "class_drop": "what the worst class loses without it"}
    return Measure("", f"rank correlation over units of {one} with {words[other]}", of)


MEASURES = {
    "median-drop": Measure(
        "points", "median over units of the accuracy lost without one", lambda rows: 100 * rows["drop"].median()
    ),
    "largest-drop": Measure(
        "points", "largest loss of accuracy without one unit", lambda rows: 100 * rows["drop"].max()
    ),
    "largest-class-drop": Measure(
        "points", "largest loss of a class's accuracy without one unit", lambda rows: 100 * rows["class_drop"].max()
    ),
    "selectivity-and-drop": _rank_correlation("selectivity", "drop"),
    "selectivity-and-class-drop": _rank_correlation("selectivity", "class_drop"),
}
ANALYSES = {"ablation": Analysis("units", COLUMNS, ("damage", "attributes"), analyse, MEASURES)}
