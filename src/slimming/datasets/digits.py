"""scikit-learn's digits: grey levels 0..16 scaled to 0..255, split with equal shares of each class."""

from __future__ import annotations

import os

from slimming.datasets.base import Content, Source, split, validation


def _read(source: Source, root: str | os.PathLike) -> Content:
    import numpy as np
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    classes = [str(name) for name in digits.target_names]
    return classes, *split(images, digits.target, source.images[1])


DIGITS = Source(  # the files ship with scikit-learn
    name="digits",
    images=(1437, 360),
    classes=10,
    channels=1,
    image_size=8,
    mean=(0.3054,),  # of the pixels of the 1437 training images that `_read` chooses, at 8x8
    std=(0.3760,),
    padding=0,
    flip=False,
    read=_read,
)

SOURCES = [DIGITS, validation(DIGITS, 287)]
