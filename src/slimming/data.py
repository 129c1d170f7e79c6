"""Images ready for training: read once into one file, memory-mapped by every job, batches made as tensors.

`prepare` writes a data set's file, `load` opens it, `batches` and `evaluation_batches` serve it on the device
where it lies. Pixels stay uint8 until after the crop. Not for fetching and reading files: that is datasets'.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from slimming import datasets, tensorfile
from slimming.datasets.download import fetch
from slimming.errors import InputError

RESIZE_CHUNK = 4096  # images turned into floating point at a time


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
    padding of the augmentation in proportion.

    Raises InputError if the name is unknown or files can neither be found nor fetched.
    """
    source = datasets.get(name)
    fetch(source, root)
    size = image_size or source.image_size
    classes, (train_images, train_labels), (test_images, test_labels) = source.read(source, root)
    mean, std = (source.mean, source.std) if source.mean else _moments(train_images)
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
        "mean": mean,
        "std": std,
        "padding": round(source.padding * size / source.image_size),
        "flip": source.flip,
        "md5": {file.path: file.md5 for download in source.downloads for file in download.wanted},
    }
    tensorfile.write(output, tensors, header)


def _moments(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of every channel of uint8 images (N, C, H, W), as fractions of 255."""
    counts = [np.bincount(images[:, channel].ravel(), minlength=256) for channel in range(images.shape[1])]
    values = np.arange(256) / 255
    means = [float(np.average(values, weights=count)) for count in counts]
    variances = [
        float(np.average((values - mean) ** 2, weights=count)) for mean, count in zip(means, counts, strict=True)
    ]
    return [round(mean, 6) for mean in means], [round(max(value, 1e-6) ** 0.5, 6) for value in variances]


def load(path: str | os.PathLike, device: str | torch.device = "cpu") -> Dataset:
    """The data set in a file that `prepare` wrote; on the CPU all processes that load it share its pages.

    Raises InputError if the file is missing, truncated, altered, or holds something else.
    """
    tensors, header = tensorfile.read(path)
    if tensors.keys() | header.keys() != {field.name for field in fields(Dataset)}:
        raise InputError(f"{path}: not a data set; make one with `slimming prepare`")
    return Dataset(**header, **{name: tensor.to(device) for name, tensor in tensors.items()})


def part(dataset: Dataset, indices: Tensor) -> Dataset:
    """`dataset` with the training images at `indices` (n,) int64 alone."""
    images, labels = (held.index_select(0, indices) for held in (dataset.train_images, dataset.train_labels))
    return replace(dataset, train_images=images, train_labels=labels)


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
