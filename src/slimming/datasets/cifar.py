"""CIFAR-10 and CIFAR-100.

File names, MD5 sums and primary addresses are torchvision's (datasets/cifar.py). The mirror is the one that
PaddlePaddle's data sets use (python/paddle/vision/datasets/cifar.py), with the same sums. Means and standard deviations
are those of the paper's code.
"""

from __future__ import annotations

import functools
import os

from slimming.datasets.base import Content, Download, File, Source, validation


def _read(kind: str, source: Source, root: str | os.PathLike) -> Content:
    from slimming.vision import datasets

    train, test = (getattr(datasets, kind)(root, train=part) for part in (True, False))
    splits = ((split.data.transpose(0, 3, 1, 2), split.targets) for split in (train, test))
    return train.classes, *splits


def _source(kind: str, classes: int, archive: File, folder: str, members: dict[str, str]) -> Source:
    """CIFAR-100 is normalised with CIFAR-10's figures, as in the paper's code."""
    hosts = ("https://www.cs.toronto.edu/~kriz/", "https://dataset.bj.bcebos.com/cifar/")
    return Source(
        name=kind.lower(),
        images=(50_000, 10_000),
        classes=classes,
        channels=3,
        image_size=32,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
        padding=4,
        flip=True,
        downloads=(
            Download(
                archive,
                tuple(host + archive.path for host in hosts),
                tuple(File(f"{folder}/{member}", md5) for member, md5 in members.items()),
            ),
        ),
        read=functools.partial(_read, kind),
    )


CIFAR10 = _source(
    "CIFAR10",
    10,
    File("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),
    "cifar-10-batches-py",
    {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    },
)
CIFAR100 = _source(
    "CIFAR100",
    100,
    File("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),
    "cifar-100-python",
    {
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    },
)

SOURCES = [CIFAR10, CIFAR100, validation(CIFAR10, 5000)]
