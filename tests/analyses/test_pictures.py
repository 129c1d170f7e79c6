"""Pictures with maps: one a class, as the data set has them, and maps of XGrad-CAM at the network's own scale."""

import json

import numpy as np
import torch

from examples import pictures as example
from examples import randomised
from slimming import data
from slimming.analyses import pictures, xgrad_cam

DATA = example(120)


def test_each_class_has_its_first_image_and_its_map():
    dense, net = (randomised("vgg11", num_classes=4, seed=seed) for seed in (0, 1))
    rows = pictures.analyse(net, dense, DATA)
    assert [row["class"] for row in rows] == [*DATA.classes]
    labels = DATA.test_labels.tolist()
    assert [row["image"] for row in rows] == [labels.index(place) for place in range(4)]
    assert all(row["picture"] is None for row in rows)
    images, _ = next(data.evaluation_batches(DATA, 200))
    (place,) = xgrad_cam.places(dense, images)[-1:]
    chosen = [row["image"] for row in rows]
    maps, gradients, _ = xgrad_cam.differentiate(net, place, images[chosen], DATA.test_labels[chosen])
    expected = xgrad_cam.saliency(xgrad_cam.xgrad(maps, gradients), maps)
    for row, seen in zip(rows, expected, strict=True):
        found = torch.tensor(json.loads(row["map"])) / 255
        assert torch.allclose(found, seen / seen.max().clamp(min=1e-12), atol=0.003)
    shown = np.array(json.loads(pictures.analyse(dense, dense, DATA)[0]["picture"]))
    assert np.array_equal(shown, DATA.test_images[rows[0]["image"]].numpy())
