"""SVHN: the training split is `train` followed by `extra`.

File names, MD5 sums and addresses are torchvision's (datasets/svhn.py); no mirror is known. Means and standard
deviations are those of the paper's code.
"""

from __future__ import annotations

import os

from slimming.datasets.base import Content, Download, File, Source


def _read(source: Source, root: str | os.PathLike) -> Content:
    import numpy as np

    from slimming.vision import datasets

    extra, train, test = (datasets.SVHN(root, split) for split in ("extra", "train", "test"))
    images = np.empty((len(train) + len(extra), *train.data.shape[1:]), dtype=np.uint8)
    np.concatenate([train.data, extra.data], out=images)
    labels = np.concatenate([train.labels, extra.labels])
    return [str(digit) for digit in range(10)], (images, labels), (test.data, test.labels)


SVHN = Source(
    name="svhn",
    images=(73_257 + 531_131, 26_032),
    classes=10,
    channels=3,
    image_size=32,
    mean=(0.4377, 0.4438, 0.4728),
    std=(0.1980, 0.2010, 0.1970),
    padding=0,
    flip=False,
    downloads=tuple(
        Download(File(path, md5), (f"http://ufldl.stanford.edu/housenumbers/{path}",))
        for path, md5 in {
            "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
            "extra_32x32.mat": "a93ce644f1a588dc4d68dda5feec44a7",
            "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
        }.items()
    ),
    read=_read,
)

SOURCES = [SVHN]
