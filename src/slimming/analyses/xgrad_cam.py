"""Class activation maps: XGrad-CAM (Fu et al., BMVC 2020, arXiv 2008.02312) beside Grad-CAM, and their two axioms.

With A_k the maps of a layer, y the score of an image's class before the softmax, and G_k = dy / dA_k, a map is
relu(sum_k w_k A_k), and channel k contributes c_k = w_k sum A_k to the score:

    XGrad-CAM   w_k = sum (G_k A_k) / (sum A_k + EPSILON)
    Grad-CAM    w_k = mean G_k

One row a layer: what the maps of the last convolutions see, and of the last ones that are at least SIDE pixels wide.
A layer is a place between parts of the network whose maps are not negative, as after a ReLU.

    conservation   mean |sum_k c_k - y| / mean |y|
    sensitivity    mean sum_k |c_k - (y - y without A_k)| / mean sum_k |y - y without A_k|
    correlation    of XGrad-CAM's maps with those of the dense network, Spearman's over pixels, mean over images
    overlap        share of the brightest fifth of pixels that both have, mean over images

Where the score is a mean over positions and one linear layer of the maps, both methods are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slimming.analyses import Analysis, Measure

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from slimming.data import Dataset
    from slimming.networks.base import Network

IMAGES = 200  # test images, the first
SIDE = 4
EPSILON = 1e-6  # of the authors' code
COLUMNS = (
    "layer",
    "conservation_xgrad",
    "conservation_grad",
    "sensitivity_xgrad",
    "sensitivity_grad",
    "correlation",
    "overlap",
)


def analyse(net: Network, dense: Network, dataset: Dataset) -> list[dict[str, Any]]:
    """Rows of the layers of `net` that are looked at."""
    from slimming import data

    images, labels = next(data.evaluation_batches(dataset, IMAGES))
    rows = []
    for place in places(dense, images):
        maps, gradients, scores = differentiate(net, place, images, labels)
        row: dict[str, Any] = {"layer": f"part {place}"}
        changes = _changes(net, place, maps, labels, scores)
        for name, weights in (("xgrad", xgrad(maps, gradients)), ("grad", gradients.mean((2, 3)))):
            given = weights * maps.sum((2, 3))
            row[f"conservation_{name}"] = _share((given.sum(1) - scores).abs(), scores.abs())
            row[f"sensitivity_{name}"] = _share((given - changes).abs().sum(1), changes.abs().sum(1))
        own = saliency(xgrad(maps, gradients), maps)
        before, slopes, _ = differentiate(dense, place, images, labels)
        row |= likeness(own, saliency(xgrad(before, slopes), before))
        rows.append({name: row[name] for name in COLUMNS})
    return rows


def places(net: Network, images: Tensor) -> list[int]:
    """How many parts lie before each layer that is looked at, the last layer first."""
    import torch

    found, x = [], images
    with torch.no_grad():
        for place, part in enumerate(net.eval().parts(), 1):
            x = part(x)
            if x.min() >= 0:
                found.append((place, min(x.shape[2:])))
    wide = [place for place, side in found if side >= SIDE]
    return [*dict.fromkeys([found[-1][0], *wide[-1:]])]


def differentiate(net: Network, place: int, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Maps (N, C, H, W) behind `place` parts, the gradient of the labels' scores by them, and the scores (N,)."""
    import torch

    with torch.no_grad():
        x = images
        for part in net.eval().parts()[:place]:
            x = part(x)
    maps = x.clone().requires_grad_()
    scores = _rest(net, place, maps.clone(), labels)
    (gradients,) = torch.autograd.grad(scores.sum(), maps)
    return maps.detach(), gradients, scores.detach()


def xgrad(maps: Tensor, gradients: Tensor) -> Tensor:
    """Weights of XGrad-CAM, (N, C)."""
    return (gradients * maps).sum((2, 3)) / (maps.sum((2, 3)) + EPSILON)


def saliency(weights: Tensor, maps: Tensor) -> Tensor:
    """relu(sum_k w_k A_k), (N, H, W)."""
    return (weights[..., None, None] * maps).sum(1).relu()


def likeness(one: Tensor, other: Tensor) -> dict[str, float | None]:
    """Correlation and overlap of maps (N, H, W); None where maps have one pixel.

    A correlation is that of ranks, of equal values their mean; an image with a map of one value has none.
    """
    import numpy as np
    from scipy import stats

    a, b = (maps.flatten(1).double().cpu().numpy() for maps in (one, other))
    if a.shape[1] == 1:
        return {"correlation": None, "overlap": None}
    ranks = [stats.rankdata(maps, axis=1) for maps in (a, b)]
    varied = np.all([rank.std(1) > 0 for rank in ranks], axis=0)
    x, y = (rank[varied] - rank[varied].mean(1, keepdims=True) for rank in ranks)
    products = (x * y).sum(1) / np.sqrt((x**2).sum(1) * (y**2).sum(1))
    count = max(1, round(a.shape[1] / 5))
    tops = [np.argsort(-maps, axis=1, kind="stable")[:, :count] for maps in (a, b)]
    shared = [len({*first} & {*second}) / count for first, second in zip(*(top.tolist() for top in tops), strict=True)]
    return {
        "correlation": float(products.mean()) if varied.any() else None,
        "overlap": float(np.mean(shared)),
    }


def _rest(net: Network, place: int, x: Tensor, labels: Tensor) -> Tensor:
    """The labels' scores, of maps behind `place` parts."""
    import torch

    for part in net.parts()[place:]:
        x = part(x)
    return net.classifier(x.mean((2, 3), dtype=torch.float32)).gather(1, labels[:, None])[:, 0]


def _changes(net: Network, place: int, maps: Tensor, labels: Tensor, scores: Tensor) -> Tensor:
    """What the scores lose without each channel, (N, C)."""
    import torch

    changes = torch.zeros(maps.shape[:2], device=maps.device)
    with torch.no_grad():
        for channel in range(maps.shape[1]):
            without = maps.clone()
            without[:, channel] = 0
            changes[:, channel] = scores - _rest(net, place, without, labels)
    return changes


def _share(errors: Tensor, sizes: Tensor) -> float | None:
    return (errors.mean() / sizes.mean()).item() if sizes.any() else None


def _gap(axiom: str) -> Measure:
    def of(rows: pd.DataFrame) -> float:
        return (rows[f"{axiom}_xgrad"] - rows[f"{axiom}_grad"]).iloc[1:].mean()  # NaN of no rows

    return Measure("", f"error of {axiom}, XGrad-CAM's minus Grad-CAM's, before the last layer", of)


def _mean(column: str, words: str) -> Measure:
    return Measure("", words, lambda rows: rows[column].mean())


MEASURES = {
    "conservation-gap": _gap("conservation"),
    "sensitivity-gap": _gap("sensitivity"),
    "map-correlation": _mean("correlation", "rank correlation of maps with those before pruning"),
    "map-overlap": _mean("overlap", "share of the brightest fifth of pixels that maps share with those before pruning"),
}
ANALYSES = {"xgrad-cam": Analysis("maps", COLUMNS, ("likeness", "axioms"), analyse, MEASURES)}
