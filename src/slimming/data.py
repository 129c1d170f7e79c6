"""Images ready for training: read once into one file, memory-mapped by every job, batches made as tensors.

`prepare` writes a data set's file, `load` opens it, `batches` and `evaluation_batches` serve it on the device
where it lies. Pixels stay uint8 until after the crop. Not for fetching files: slimming.sources does that.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from slimming import sources, tensorfile
from slimming.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

SPLIT_SEED = 0  # of what is split here and not by its publishers
RESIZE_CHUNK = 4096  # images turned into floating point at a time

Split = tuple["ArrayLike", "ArrayLike"]  # images (N, C, H, W) uint8 and labels (N,)
Content = tuple[list[str], Split, Split]  # what a reader returns: class names, training images, test images


@dataclass(frozen=True, eq=False)
class Dataset:
    """A prepared data set: images (N, C, H, W) uint8, labels (N,) int64, and what is known of them.

    `mean` and `std` are per channel, as fractions of 255; `padding` counts pixels on each side; `md5` holds
    the sums of the files that the images were read from.
    """

    name: str
    image_size: int
    classes: Sequence[str]
    mean: Sequence[float]
    std: Sequence[float]
    padding: int
    flip: bool
    md5: dict[str, str]
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def prepare(name: str, root: str | os.PathLike, output: str | os.PathLike, image_size: int | None = None) -> None:
    """Write the data set `name` to the file `output`, fetching its files into `root` where they are missing.

    Another `image_size` than the native one resizes bilinearly (with antialiasing where it shrinks), and the
    padding of the augmentation in proportion. SVHN's training split is `train` followed by `extra`.

    Raises InputError if the name is unknown or files can neither be found nor fetched.
    """
    source = sources.get(name)
    sources.fetch(source, root)
    size = image_size or source.image_size
    classes, (train_images, train_labels), (test_images, test_labels) = _READERS[name](root)
    tensors = {
        "train_images": _resize(torch.as_tensor(train_images), size),
        "train_labels": torch.as_tensor(train_labels, dtype=torch.int64),
        "test_images": _resize(torch.as_tensor(test_images), size),
        "test_labels": torch.as_tensor(test_labels, dtype=torch.int64),
    }
    header = {
        "name": name,
        "image_size": size,
        "classes": classes,
        "mean": source.mean,
        "std": source.std,
        "padding": round(source.padding * size / source.image_size),
        "flip": source.flip,
        "md5": {file.path: file.md5 for download in source.downloads for file in download.wanted},
    }
    tensorfile.write(output, tensors, header)


def load(path: str | os.PathLike, device: str | torch.device = "cpu") -> Dataset:
    """The data set in a file that `prepare` wrote; on the CPU all processes that load it share its pages.

    Raises InputError if the file is missing, truncated, altered, or holds something else.
    """
    tensors, header = tensorfile.read(path)
    if tensors.keys() | header.keys() != {field.name for field in fields(Dataset)}:
        raise InputError(f"{path}: not a data set; make one with `slimming prepare`")
    return Dataset(**header, **{name: tensor.to(device) for name, tensor in tensors.items()})


def batches(
    dataset: Dataset, batch_size: int, seed: int, epoch: int, first: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of the training split from batch `first` on, each image once, shuffled and augmented.

    Yields images (B, C, H, W) float32, normalised, and labels (B,) int64, in the parts that `spans` gives.
    Order, crops and flips are drawn for the whole epoch, on the CPU, from (seed, epoch) alone: a batch has
    the same content on every device, and whether or not those before it were asked for.
    """
    device = dataset.train_labels.device
    mean, std = _statistics(dataset)
    order, offsets, flips = (draw.to(device) for draw in _epoch(dataset, seed, epoch))
    for part in spans(len(order), batch_size)[first:]:
        images = dataset.train_images.index_select(0, order[part])
        if dataset.padding or dataset.flip:
            images = augment(images, dataset.padding, offsets[part], flips[part])
        yield normalise(images, mean, std), dataset.train_labels.index_select(0, order[part])


def plain_batches(dataset: Dataset, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The training split in order, not augmented: images (B, C, H, W) float32, normalised, labels (B,) int64."""
    return _in_order(dataset, dataset.train_images, dataset.train_labels, batch_size)


def evaluation_batches(dataset: Dataset, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The test split in order, not augmented: images (B, C, H, W) float32, normalised, labels (B,) int64."""
    return _in_order(dataset, dataset.test_images, dataset.test_labels, batch_size)


def spans(images: int, batch_size: int) -> list[slice]:
    """The batches of an epoch, `batch_size` images each and the last one smaller.

    A last one of a single image joins the one before, for BatchNorm cannot normalise one value by itself.
    """
    starts = list(range(0, images, batch_size))
    if len(starts) > 1 and images - starts[-1] == 1:
        starts.pop()
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], images], strict=True)]


def _in_order(dataset: Dataset, images: Tensor, labels: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    mean, std = _statistics(dataset)
    for part in spans(len(labels), batch_size):
        yield normalise(images[part], mean, std), labels[part]


def augment(images: Tensor, padding: int, offsets: Tensor, flips: Tensor) -> Tensor:
    """Pad with black, crop to the old size, then mirror where `flips` says so.

    images (B, C, H, W) of any dtype; offsets (B, 2) int64, the crop's top and left edge in the padded image,
    from 0 to 2 padding; flips (B,) bool. Returns a tensor like `images`.
    """
    channels, height, width = images.shape[1:]
    rows, columns = (torch.arange(side, device=images.device) for side in (height, width))
    rows = rows + offsets[:, :1]
    columns = torch.where(flips[:, None], width - 1 - columns, columns) + offsets[:, 1:]
    pixels = rows[:, :, None] * (width + 2 * padding) + columns[:, None, :]
    padded = functional.pad(images, (padding,) * 4)
    # One gather over flat pixels crops and mirrors at once, and is faster than indexing by row and column.
    chosen = pixels.flatten(1)[:, None].expand(-1, channels, -1)
    return padded.flatten(2).gather(2, chosen).view_as(images)


def normalise(images: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """(x / 255 - mean) / std of uint8 images (B, C, H, W), mean and std (C,) float32 on the same device.

    Computed as x - 255 mean, then divided by 255 std; as two steps they round alike on every device.
    """
    shift, scale = (255 * value[:, None, None] for value in (mean, std))
    return images.to(torch.float32).sub_(shift).div_(scale).to(dtype)


def _statistics(dataset: Dataset) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation as tensors (C,) float32, where the data lies."""
    device = dataset.test_images.device
    mean, std = (torch.tensor(value, dtype=torch.float32, device=device) for value in (dataset.mean, dataset.std))
    return mean, std


def _epoch(dataset: Dataset, seed: int, epoch: int) -> tuple[Tensor, Tensor, Tensor]:
    """The order of images (N,), and per position the crop's offsets (N, 2) and whether to mirror (N,)."""
    count = len(dataset.train_labels)
    order = torch.randperm(count, generator=_generator("order", seed, epoch))
    last = 2 * dataset.padding + 1
    offsets = torch.randint(last, (count, 2), generator=_generator("crop", seed, epoch))
    flips = torch.rand(count, generator=_generator("flip", seed, epoch)) < 0.5
    return order, offsets, flips & dataset.flip


def stream_seed(stream: str, *position: int) -> int:
    """The seed of a generator for one use at one position, as (seed, epoch).

    The first 4 bytes, little-endian, of SHA-256 of "stream position ..." (torch uses 32 bits of a seed), so that
    neighbouring positions have nothing in common.
    """
    digest = hashlib.sha256(" ".join(map(str, (stream, *position))).encode()).digest()
    return int.from_bytes(digest[:4], "little")


def _generator(stream: str, seed: int, epoch: int) -> torch.Generator:
    """A CPU generator of its own for one use in one epoch."""
    return torch.Generator().manual_seed(stream_seed(stream, seed, epoch))


def _resize(images: Tensor, size: int) -> Tensor:
    if images.shape[2:] == (size, size):
        return images
    return torch.cat(
        [
            functional.interpolate(chunk.float(), (size, size), mode="bilinear", antialias=True)
            .round_()
            .clamp_(0, 255)
            .to(torch.uint8)
            for chunk in images.split(RESIZE_CHUNK)
        ]
    )


def _digits(root: str | os.PathLike) -> Content:
    """scikit-learn's digits, grey levels 0..16 scaled to 0..255, split with equal shares of each class."""
    import numpy as np
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    classes = [str(name) for name in digits.target_names]
    return classes, *_split(images, digits.target, sources.DIGITS.images[1])


def _cifar(root: str | os.PathLike, kind: str) -> Content:
    from slimming.vision import datasets

    train, test = (getattr(datasets, kind)(root, train=part) for part in (True, False))
    splits = ((split.data.transpose(0, 3, 1, 2), split.targets) for split in (train, test))
    return train.classes, *splits


def _svhn(root: str | os.PathLike) -> Content:
    import numpy as np

    from slimming.vision import datasets

    extra, train, test = (datasets.SVHN(root, split) for split in ("extra", "train", "test"))
    images = np.empty((len(train) + len(extra), *train.data.shape[1:]), dtype=np.uint8)
    np.concatenate([train.data, extra.data], out=images)
    labels = np.concatenate([train.labels, extra.labels])
    return [str(digit) for digit in range(10)], (images, labels), (test.data, test.labels)


def _held_out(root: str | os.PathLike, source: sources.Source) -> Content:
    """The training images of the data set that `source` is the validation of, some of them set aside as test images."""
    classes, training, _ = _READERS[source.name.removesuffix("-validation")](root)
    return classes, *_split(*training, source.images[1])


def _split(images: ArrayLike, labels: ArrayLike, held_out: int) -> tuple[Split, Split]:
    """`held_out` images set aside, with equal shares of each class."""
    from sklearn.model_selection import train_test_split

    kept, aside, kept_labels, aside_labels = train_test_split(
        images, labels, test_size=held_out, stratify=labels, random_state=SPLIT_SEED
    )
    return (kept, kept_labels), (aside, aside_labels)


_READERS: dict[str, Callable[[str | os.PathLike], Content]] = {
    "digits": _digits,
    "cifar10": partial(_cifar, kind="CIFAR10"),
    "cifar100": partial(_cifar, kind="CIFAR100"),
    "svhn": _svhn,
    "digits-validation": partial(_held_out, source=sources.DIGITS_VALIDATION),
    "cifar10-validation": partial(_held_out, source=sources.CIFAR10_VALIDATION),
}
