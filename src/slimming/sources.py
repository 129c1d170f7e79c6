"""Where each data set comes from, what it is, and how its files get here: a table and one function, `fetch`.

Study checks names against it, so it imports no torch. Not for reading the files: data.prepare does that.

File names, MD5 sums and primary addresses are torchvision's (datasets/cifar.py, datasets/svhn.py). CIFAR's
mirror is the one that PaddlePaddle's data sets use (python/paddle/vision/datasets/cifar.py), with the same
sums; none of SVHN is known. Means and standard deviations of CIFAR and SVHN are those of the paper's code.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from slimming.errors import InputError, unknown

CHUNK = 1 << 16  # bytes read at a time
SILENCE = 30  # seconds without a byte after which a connection counts as broken


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
    """What a data set is. `mean` and `std` are per channel, as fractions of the largest pixel value."""

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


def _cifar(name: str, classes: int, archive: File, folder: str, members: dict[str, str]) -> Source:
    """CIFAR-100 is normalised with CIFAR-10's figures, as in the paper's code."""
    hosts = ("https://www.cs.toronto.edu/~kriz/", "https://dataset.bj.bcebos.com/cifar/")
    return Source(
        name=name,
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
    )


DIGITS = Source(  # the files ship with scikit-learn
    name="digits",
    images=(1437, 360),
    classes=10,
    channels=1,
    image_size=8,
    mean=(0.3054,),  # of the pixels of the 1437 training images that data.prepare chooses, at 8x8
    std=(0.3760,),
    padding=0,
    flip=False,
)
CIFAR10 = _cifar(
    "cifar10",
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
CIFAR100 = _cifar(
    "cifar100",
    100,
    File("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),
    "cifar-100-python",
    {
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    },
)
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
)


def _validation(source: Source, held_out: int) -> Source:
    """`source` for choosing settings: `held_out` of its training images take the place of its test images."""
    return replace(source, name=f"{source.name}-validation", images=(source.images[0] - held_out, held_out))


DIGITS_VALIDATION = _validation(DIGITS, 287)
CIFAR10_VALIDATION = _validation(CIFAR10, 5000)
SOURCES = {source.name: source for source in (DIGITS, CIFAR10, CIFAR100, SVHN, DIGITS_VALIDATION, CIFAR10_VALIDATION)}


def get(name: str) -> Source:
    """The data set of that name; InputError with the nearest known name if there is none."""
    try:
        return SOURCES[name]
    except KeyError:
        raise unknown("data set", name, SOURCES) from None


def fetch(source: Source, root: str | os.PathLike) -> None:
    """Make sure that the files of `source` lie whole under `root`, where torchvision looks for them.

    Files with the right MD5 are taken first, then an archive with the right MD5, then the network: the
    addresses in order, each continuing what another, or a process that was killed, has left. A file whose MD5
    differs is never moved into place.

    Raises InputError, which says what to put where, if no address serves a file, or if `root`
    cannot be written.
    """
    root = Path(root)
    missing = [download for download in source.downloads if not _at_hand(download.wanted, root)]
    try:
        for download in missing:
            root.mkdir(parents=True, exist_ok=True)
            if not _at_hand([download.file], root):
                _download(download, root, missing)
            if download.members:
                _extract(root / download.file.path, root)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot write under {root}: {reason}; free space or choose a place") from error


def _at_hand(files: Iterable[File], root: Path) -> bool:
    return all((root / file.path).is_file() and _md5(root / file.path) == file.md5 for file in files)


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _extract(archive: Path, root: Path) -> None:
    import tarfile

    with tarfile.open(archive) as tar:
        tar.extractall(root, filter="data")


def _download(download: Download, root: Path, missing: Iterable[Download]) -> None:
    """Fetch one file; the error names all that are missing, so that they can be brought in one go."""
    target = root / download.file.path
    part = target.with_name(f"{target.name}.part")
    failures = []
    for address in download.addresses:
        failure = _complete(part, download.file.md5, address)
        if not failure:
            part.replace(target)
            return
        failures.append(f"{address} ({failure})")
    files = [other.file for other in missing if not _at_hand([other.file], root)]
    wanted = ", ".join(f"{file.path} (md5 {file.md5})" for file in files)
    raise InputError(f"cannot download {target.name}: put {wanted} into {root}; tried {', '.join(failures)}")


def _complete(part: Path, md5: str, address: str) -> str:
    """Continue `part` from one address until it is whole; what prevented it, or an empty string."""
    from http.client import HTTPException
    from ssl import SSLError
    from urllib.error import URLError

    own = not part.exists()  # whether all of `part` is from this address
    while True:
        before = _size(part)
        try:
            _continue(part, address)
        except (URLError, HTTPException, ConnectionError, TimeoutError, SSLError) as error:
            if _size(part) > before:
                continue
            return " ".join(str(error).split())
        if _md5(part) == md5:
            return ""
        part.unlink()
        if own:
            return "its md5 differs"
        own = True


def _continue(part: Path, address: str) -> None:
    """Append to `part` what is missing of it, or all anew from a server that cannot send a part of a file."""
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    before = _size(part)
    try:
        response = urlopen(Request(address, headers={"Range": f"bytes={before}-"}), timeout=SILENCE)
    except HTTPError as error:
        if error.code == 416 and before:  # range not satisfiable: there is no more
            return
        raise
    with response, part.open("ab" if response.status == 206 else "wb") as stream:
        done = stream.tell()
        length = response.headers["Content-Length"]
        total = done + int(length) if length else None
        for piece in _pieces(response, part.stem, done, total):
            stream.write(piece)
    if total and _size(part) < total:
        raise ConnectionError(f"the connection broke after {_size(part)} of {total} bytes")


def _pieces(stream: BinaryIO, name: str, done: int, total: int | None) -> Iterator[bytes]:
    """The bytes of `stream`, with a progress bar on a terminal and a line at every tenth in a log."""
    from tqdm import tqdm

    tenths = 0
    with tqdm(desc=name, initial=done, total=total, unit="B", unit_scale=True, disable=None) as bar:
        while piece := stream.read(CHUNK):
            yield piece
            bar.update(len(piece))
            done += len(piece)
            if bar.disable and total and 10 * done // total > tenths:
                tenths = 10 * done // total
                print(f"downloading {name}: {done} of {total} bytes", file=sys.stderr, flush=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
