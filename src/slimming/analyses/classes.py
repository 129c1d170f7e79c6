"""Which classes pruning hurt, and whether the channels that went mattered to them.

One row a class:

    accuracy  on the class's test images, a fraction
    change    accuracy minus that before pruning
    gone      channels that are gone, of all sites
    damage    mean over these of what the class's accuracy loses when one alone is taken from the network before pruning
              (unit ablation, measuring.ablation), a fraction
    others    the same mean over the channels that stayed

Which channels are gone is seen by the scaling factors and shifts of those that stayed. Where these have been trained
since, or a layer is gone, the last three are empty.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from slimming.analyses import Analysis, Measure

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from slimming.data import Dataset
    from slimming.networks.base import Network

IMAGES = 500  # test images, the first
COLUMNS = ("class", "accuracy", "change", "gone", "damage", "others")
LOST: weakref.WeakKeyDictionary[Network, dict[str, Tensor]] = weakref.WeakKeyDictionary()


def analyse(net: Network, dense: Network, dataset: Dataset) -> list[dict[str, Any]]:
    """Rows of the classes of which there are test images."""
    import torch

    from slimming import data

    images, labels = next(data.evaluation_batches(dataset, IMAGES))
    counts = torch.bincount(labels, minlength=len(dataset.classes))
    before, after = (_hits(each, images, labels, len(counts)) for each in (dense, net))
    kept = kept_of(net, dense)
    columns: dict[str, list] = {"gone": [None] * len(counts), "damage": [None] * len(counts)}
    columns["others"] = columns["damage"]
    if kept is not None:
        drops = lost(dense, images, labels)
        gone, stayed = [], []
        for site, drop in drops.items():
            here = torch.ones(len(drop), dtype=torch.bool)
            here[kept[site]] = False
            gone.append(drop[here])
            stayed.append(drop[~here])
        means = [(torch.cat(some) / counts.clamp(min=1)).mean(0).tolist() for some in (gone, stayed)]
        columns = {"gone": [sum(map(len, gone))] * len(counts), "damage": means[0], "others": means[1]}
    return [
        {
            "class": name,
            "accuracy": after[place] / count,
            "change": (after[place] - before[place]) / count,
            **{column: _number(values[place]) for column, values in columns.items()},
        }
        for place, (name, count) in enumerate(zip(dataset.classes, counts.tolist(), strict=True))
        if count
    ]


def kept_of(net: Network, dense: Network) -> dict[str, Tensor] | None:
    """{site: indices} of the channels of `dense` that `net` kept; None where it cannot be told."""
    import torch

    from slimming import networks

    found, norms = {}, networks.prunable(net)
    for site, norm in networks.prunable(dense).items():
        if site not in norms:
            return None
        all_of, some = (torch.stack([each.weight, each.bias], 1).tolist() for each in (norm, norms[site]))
        place, places = 0, []
        for values in some:
            while place < len(all_of) and all_of[place] != values:
                place += 1
            places.append(place)
            place += 1
        if places and places[-1] >= len(all_of):
            return None
        found[site] = torch.tensor(places, dtype=torch.int64)
    return found


def lost(dense: Network, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """{site: images of each class that are no longer told right without a channel, (channels, classes)}.

    Computed once for all networks that `dense` became.
    """
    from slimming.measuring import ablation

    if dense not in LOST:
        whole = _hits(dense, images, labels, dense.spec["num_classes"])
        found = ablation.ablate(dense, images, labels)
        LOST[dense] = {site: (images.new_tensor(whole) - some.hits).cpu() for site, some in found.items()}
    return LOST[dense]


def _hits(net: Network, images: Tensor, labels: Tensor, classes: int) -> list[int]:
    import torch

    with torch.no_grad():
        right = net.eval()(images).argmax(1) == labels
    return torch.bincount(labels[right], minlength=classes).tolist()


def _number(value: float | None) -> float | None:
    return value if value is None or value == value else None  # of no channels there is no mean


def _damage(rows: pd.DataFrame) -> float:
    return rows["damage"].rank().corr((-rows["change"]).rank()) if rows["damage"].notna().any() else float("nan")


MEASURES = {
    "worst-class-change": Measure(
        "points", "change of accuracy of the class that lost most", lambda rows: 100 * rows["change"].min()
    ),
    "class-spread": Measure(
        "points", "standard deviation over classes of the change of accuracy", lambda rows: 100 * rows["change"].std()
    ),
    "damage-and-loss": Measure(
        "", "rank correlation over classes of what channels that went were worth to a class with what it lost", _damage
    ),
}
ANALYSES = {"classes": Analysis("hurt", COLUMNS, ("hurt", "mattered"), analyse, MEASURES)}
