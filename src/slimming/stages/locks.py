"""Locks between the processes of one user that end with the process that holds them, however it ends.

They are the kernel's (flock), so a killed process or a dead machine leaves nothing to clean up: a network file system
gives them up once the machine's lease has run out. Not Snakemake's lock on the folder, which `snakemake --unlock`
releases.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from slimming.errors import InputError

UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # a file system without locks


@contextmanager
def alone(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path`, waiting for whoever holds it; the file is gone afterwards.

    A file system without locks gets a warning: there the user sees to it that nobody else is doing `what`. Raises
    InputError where nothing can be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _locked(path, what)
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror}; choose another place, or who may write there"
        ) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _locked(path: Path, what: str) -> int:
    while True:
        descriptor = attempt(path)
        if descriptor is None:
            print(f"waiting for another process that is {what} ({path})", file=sys.stderr, flush=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)  # the holder before us has removed the file


def attempt(path: Path) -> int | None:
    """An open descriptor that holds the lock file `path` until it is closed; None if another one holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        print(f"warning: {path}: this file system has no locks; start no job twice", file=sys.stderr)
    return descriptor
