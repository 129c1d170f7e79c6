"""Pictures with what a network looks at in them: XGrad-CAM's maps (analyses.xgrad_cam), to be seen.

One row an image, the first of each of CLASSES classes:

    image     its place among the test images
    class     its name
    told      the class that the network says
    picture   JSON of its pixels, (C, H, W), 0 to 255; of the network before pruning alone
    map       JSON of the class's map at the last layer at least SIDE pixels wide, (H', W'), 0 to 255, its largest
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from slimming.analyses import Analysis, xgrad_cam

if TYPE_CHECKING:
    from slimming.data import Dataset
    from slimming.networks.base import Network

IMAGES = 200  # test images, the first, among which the pictures are
CLASSES = 6
COLUMNS = ("image", "class", "told", "picture", "map")


def analyse(net: Network, dense: Network, dataset: Dataset) -> list[dict[str, Any]]:
    """Rows of the images."""
    import torch

    from slimming import data

    images, labels = next(data.evaluation_batches(dataset, IMAGES))
    first = {label: number for number, label in reversed([*enumerate(labels.tolist())])}
    chosen = [first[label] for label in sorted(first)[:CLASSES]]
    images, labels = images[chosen], labels[chosen]
    place = xgrad_cam.places(dense, images)[-1]
    maps, gradients, _ = xgrad_cam.differentiate(net, place, images, labels)
    seen = xgrad_cam.saliency(xgrad_cam.xgrad(maps, gradients), maps)
    seen = (255 * seen / seen.amax((1, 2), keepdim=True).clamp(min=1e-12)).round().int()
    with torch.no_grad():
        told = net(images).argmax(1).tolist()
    return [
        {
            "image": number,
            "class": dataset.classes[label],
            "told": dataset.classes[said],
            "picture": json.dumps(dataset.test_images[number].tolist()) if net is dense else None,
            "map": json.dumps(saliency),
        }
        for number, label, said, saliency in zip(chosen, labels.tolist(), told, seen.tolist(), strict=True)
    ]


ANALYSES = {"pictures": Analysis("pictures", COLUMNS, ("pictures",), analyse)}
