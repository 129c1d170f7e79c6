"""How the files of a data set get here: those at hand first, then archives, then the network, checked by MD5."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from slimming.datasets.base import Download, File, Source
from slimming.errors import InputError

CHUNK = 1 << 16  # bytes read at a time
SILENCE = 30  # seconds without a byte after which a connection counts as broken


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
