"""What a data set is: where its files come from, what they hold, and how they are read. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

SPLIT_SEED = 0  # of what is split here and not by its publishers

Split = tuple["ArrayLike", "ArrayLike"]  # images (N, C, H, W) uint8 and labels (N,)
Content = tuple[list[str], Split, Split]  # class names, training images, test images


@dataclass(frozen=True)
class File:
    """A file by its path under the root, and its MD5."""

    path: str
    md5: str


@dataclass(frozen=True)
class Download:
    """A file to fetch, the addresses that serve it, and, if it is a tar archive, the files wanted of it."""

    file: File
    addresses: tuple[str, ...]
    members: tuple[File, ...] = ()

    @property
    def wanted(self) -> tuple[File, ...]:
        """The files that readers need: the members of an archive, or the file itself."""
        return self.members or (self.file,)


@dataclass(frozen=True)
class Source:
    """What a data set is. `mean` and `std` are per channel, as fractions of the largest pixel value.

    Where they are empty, those of the training images count.
    """

    name: str
    images: tuple[int, int]  # for training, and for testing
    classes: int
    channels: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    padding: int  # pixels on each side before a random crop
    flip: bool  # whether a mirror image keeps its class
    downloads: tuple[Download, ...] = ()
    place: str = ""  # of a data set of somebody's own (datasets.own): its settings, JSON
    # Of the files under a folder; of what is not published in two parts, it makes them (see `split`).
    read: Callable[[Source, str | os.PathLike], Content] | None = field(default=None, repr=False, compare=False)


def validation(source: Source, held_out: int) -> Source:
    """`source` for choosing settings: `held_out` of its training images take the place of its test images."""

    def read(made: Source, root: str | os.PathLike) -> Content:
        classes, training, _ = source.read(source, root)
        return classes, *split(*training, held_out)

    images = source.images[0] - held_out, held_out
    return replace(source, name=f"{source.name}-validation", images=images, read=read)


def split(images: ArrayLike, labels: ArrayLike, held_out: int) -> tuple[Split, Split]:
    """`held_out` images set aside, with equal shares of each class."""
    from sklearn.model_selection import train_test_split

    kept, aside, kept_labels, aside_labels = train_test_split(
        images, labels, test_size=held_out, stratify=labels, random_state=SPLIT_SEED
    )
    return (kept, kept_labels), (aside, aside_labels)
