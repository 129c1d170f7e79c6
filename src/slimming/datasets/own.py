"""Images of somebody's own, as a study names them: a folder with one folder a class, or an .npz file.

folder: pictures/{train,test}/<class>/*.png      or pictures/<class>/*.png, of which a share is set aside for testing
npz: pictures.npz with x_train, y_train, x_test, y_test, or train_images, train_labels, test_images, test_labels:
     uint8, (N, H, W) or (N, H, W, channels)

Images of a folder are scaled until their shorter side has `image_size` pixels, and their middle is taken. They need not
have one format or size. Mean and deviation are those of the training images.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from slimming.datasets.base import Content, Source, Split, split
from slimming.errors import InputError

LARGEST = 224  # pixels
ENDINGS = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
TESTS = ("test", "val", "validation")  # names of a folder's second part
ARRAYS = (("x_train", "y_train", "x_test", "y_test"), ("train_images", "train_labels", "test_images", "test_labels"))
NAMED = 5  # files in a message


def source(name: str, settings: Mapping[str, Any]) -> Source:
    """The data set `name` in settings["folder"] or settings["npz"]; image_size, test, flip, padding as a study says.

    What it holds is counted, and not read. InputError for a place that holds no images in classes.
    """
    size = settings.get("image_size")
    if "npz" in settings:
        classes, counts, channels, side = _look_into(Path(settings["npz"]), settings.get("test", 0.2))
        size = size or side
    else:
        files = _listed(Path(settings["folder"]))
        classes, channels = sorted(files[0]), 3
        whole = [sum(map(len, part.values())) for part in files]
        aside = whole[1] if len(whole) > 1 else round(settings.get("test", 0.2) * whole[0])
        counts = (whole[0] - (0 if len(whole) > 1 else aside), aside)
    if not size:
        raise InputError(f"datasets.{name}: image_size is missing; images of a folder are scaled to it")
    if size > LARGEST:
        raise InputError(f"datasets.{name}: image_size is {LARGEST} at most, not {size}")
    return Source(
        name=name,
        images=counts,
        classes=len(classes),
        channels=channels,
        image_size=size,
        mean=(),
        std=(),
        padding=settings.get("padding", size // 8),
        flip=settings.get("flip", True),
        read=_read_npz if "npz" in settings else _read_folder,
        place=json.dumps(dict(settings), sort_keys=True),
    )


def listing(settings: Mapping[str, Any]) -> str:
    """A digest of names, sizes and times of the files: what changes when images do."""
    place = Path(settings.get("folder") or settings["npz"])
    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    stats = [(file.as_posix(), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    return hashlib.sha256(repr(stats).encode()).hexdigest()[:16]


def _listed(folder: Path) -> list[dict[str, list[Path]]]:
    """{class: its files}, of the training images and, where they are apart, of the test images."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder")
    second = [folder / name for name in TESTS if (folder / name).is_dir()]
    parts = [folder / "train", second[0]] if (folder / "train").is_dir() and second else [folder]
    found = [{path.name: _images(path) for path in sorted(part.iterdir()) if path.is_dir()} for part in parts]
    for part, classes in zip(parts, found, strict=True):
        if len(classes) < 2 or classes.keys() != found[0].keys():
            raise InputError(f"{part}: has the classes {', '.join(classes) or 'none'}; a folder a class is expected")
        for name, files in classes.items():
            if not files:
                raise InputError(f"{part / name}: holds no image ({', '.join(sorted(ENDINGS))})")
    return found


def _images(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in ENDINGS]


def _read_folder(source: Source, root: str | os.PathLike) -> Content:
    import numpy as np

    settings = json.loads(source.place)
    parts, faults = _listed(Path(settings["folder"])), []
    classes = sorted(parts[0])
    splits: list[Split] = []
    for part in parts:
        pairs = [(path, label) for label, name in enumerate(classes) for path in part[name]]
        images = np.zeros((len(pairs), source.channels, source.image_size, source.image_size), np.uint8)
        for place, (path, _) in enumerate(pairs):
            try:
                images[place] = _decoded(path, source.image_size)
            except (OSError, ValueError, SyntaxError) as error:  # SyntaxError: of broken PNG files
                faults.append(f"{path} ({error})")
        splits.append((images, np.array([label for _, label in pairs])))
    if faults:
        more = f" and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
        raise InputError(f"cannot be read: {', '.join(faults[:NAMED])}{more}; mend or remove them")
    return classes, *(splits if len(splits) > 1 else split(*splits[0], source.images[1]))


def _decoded(path: Path, size: int) -> Any:
    """(3, size, size) uint8."""
    import numpy as np
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    return np.asarray(ImageOps.fit(upright, (size, size), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


def _look_into(path: Path, share: float) -> tuple[list[str], tuple[int, int], int, int]:
    """Classes, counts, channels and pixels of an .npz file, from the headers of its arrays and its labels."""
    import numpy as np

    with _opened(path) as arrays:
        names = _names(path, arrays)
        labels = arrays[names[1]].ravel()
        shapes = dict(_shapes(path))
    shape = shapes[names[0]]
    if len(shape) not in (3, 4) or shape[1] != shape[2]:
        raise InputError(f"{path}: {names[0]} has the shape {shape}, not (N, side, side) or (N, side, side, channels)")
    classes = [str(label) for label in np.unique(labels)]
    tests = shapes[names[2]][0] if len(names) > 2 else round(share * shape[0])
    counts = (shape[0] - (0 if len(names) > 2 else tests), tests)
    return classes, counts, shape[3] if len(shape) == 4 else 1, shape[1]


def _read_npz(source: Source, root: str | os.PathLike) -> Content:
    import numpy as np

    path = Path(json.loads(source.place)["npz"])
    with _opened(path) as arrays:
        names = _names(path, arrays)
        held = [arrays[name] for name in names]
    classes, splits = np.unique(held[1]), []
    for images, labels in zip(held[::2], held[1::2], strict=True):
        if images.dtype != np.uint8 or not np.isin(labels, classes).all() or len(images) != len(labels):
            raise InputError(f"{path}: images are uint8, with one label each, of the classes of the training images")
        images = images[..., None] if images.ndim == 3 else images
        splits.append((images.transpose(0, 3, 1, 2), np.searchsorted(classes, labels.ravel())))
    return [str(name) for name in classes], *(splits if len(splits) > 1 else split(*splits[0], source.images[1]))


def _opened(path: Path) -> Any:
    import numpy as np

    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no .npz file ({' '.join(str(error).split())[:100]})") from error


def _names(path: Path, arrays: Mapping[str, Any]) -> tuple[str, ...]:
    for names in ARRAYS:
        for wanted in (names, names[:2]):
            if {*wanted} <= {*arrays}:
                return wanted
    raise InputError(f"{path}: has the arrays {', '.join(arrays)}; {' or '.join(map(', '.join, ARRAYS))} are expected")


def _shapes(path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """{array: shape}, from headers."""
    import zipfile

    import numpy as np

    readers = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as stream:
                shape, _, _ = readers[np.lib.format.read_magic(stream)[0]](stream)
            yield name.removesuffix(".npy"), shape
