"""Tensors and a JSON header in one safetensors file: written whole or not at all, verified when read.

safetensors' bytes depend on nothing but the content, and loading them runs no code. The format notices a
truncated file but not an altered one, so the header carries a SHA-256 of the content.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from slimming.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


def write_aside(path: str | os.PathLike, write: Callable[[Path], None]) -> None:
    """Let `write` fill a file in a temporary folder beside `path`, then move it into place.

    Raises InputError when the file system refuses (a full disk, say); an existing file is then unchanged.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            aside = Path(folder, path.name)
            aside.touch()
            mode = aside.stat().st_mode
            write(aside)
            aside.chmod(mode)  # safetensors writes for the owner alone, but others share data and checkpoints
            with aside.open("rb") as stream:
                os.fsync(stream.fileno())
            aside.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"cannot write {path}: {reason}; nothing was changed, free space or choose another place"
        ) from error


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all."""
    write_aside(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a whole file, as hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _own(tensor: Tensor) -> Tensor:
    """The tensor itself, or a copy where it is a view of a larger one: safetensors refuses shared memory."""
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


def _sealed(tensors: Mapping[str, Tensor], header: Mapping) -> str:
    """The header as JSON with a SHA-256 over it and every tensor's name, dtype, shape and bytes, in order of name."""
    import torch

    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return json.dumps({"header": header, "sha256": digest.hexdigest()}, sort_keys=True)


def write(path: str | os.PathLike, tensors: Mapping[str, Tensor], header: Mapping) -> None:
    """Write named tensors with a JSON-able header, atomically."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    plain = {name: _own(tensor.detach().cpu().contiguous()) for name, tensor in tensors.items()}
    # One metadata entry only: safetensors keeps several in no fixed order, and the bytes would vary.
    metadata = {"slimming": _sealed(plain, header)}

    def save(aside: Path) -> None:
        try:
            save_file(plain, aside, metadata=metadata)
        except SafetensorError as error:  # that is how it reports what the file system refuses
            raise OSError(str(error)) from error

    write_aside(path, save)


def read(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict]:
    """The tensors (memory-mapped, on the CPU) and the header of a file that `write` made.

    Raises InputError if the file is missing, truncated, altered, or not one of ours.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, RuntimeError) as error:  # torch's own, where the file changes meanwhile
        raise InputError(f"{path}: truncated or not a safetensors file ({error}); make it again") from error
    if "slimming" not in metadata:
        raise InputError(f"{path}: not written by slimming (its header is missing)")
    try:
        header = json.loads(metadata["slimming"])["header"]
        whole = _sealed(tensors, header) == metadata["slimming"]
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise InputError(f"{path}: altered since it was written (checksum differs); make it again")
    return tensors, header
