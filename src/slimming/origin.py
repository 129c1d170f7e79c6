"""Origin: what makes a figure, as records keep it. Command, commit, code, versions, machine.

The commit is that of this package's own source tree or none: a package that was installed inside another repository
does not come from that one's commit. What is not known of the code is a warning, and the digest of the code stands
there in any case. Not for what Snakemake remembers of jobs: that is store.provenance.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parent
TREE = PACKAGE.parent.parent
SOURCE = "src/slimming/"  # where the package lies in its own tree
VECTORS = re.compile(r"avx|amx|fma|sse4|asimd|sve|bf16|i8mm")
PACKAGES = ("slimming", "torch", "numpy", "safetensors")


class Commit(NamedTuple):
    """The commit of this package's source tree, "+" at its end for changes not committed; "" and why for none."""

    name: str
    doubt: str


def origin(device: str, threads: int) -> dict:
    """What makes a figure on `device` with so many threads of the CPU, as a JSON-able mapping."""
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "commit": commit().name,
        "code": code(),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "machine": {
            "processor": _processor(),
            "instructions": _instructions(),
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "device": device,
        "threads": threads,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def doubts() -> list[str]:
    """What a record should warn of, one line each: that no commit has the code that runs."""
    found = commit()
    return [f"no commit of the code is known ({found.doubt}); its digest is {code()}"] if found.doubt else []


@functools.cache
def commit() -> Commit:
    """The commit of the tree that this package runs from."""
    git = ["git", "-C", str(PACKAGE)]
    asked = {"capture_output": True, "text": True, "errors": "replace"}
    try:
        head = subprocess.run([*git, "rev-parse", "--show-prefix", "HEAD"], **asked)
        if head.returncode:
            return Commit("", _refusal(head.stderr))
        prefix, name = head.stdout.splitlines()
        tracked = subprocess.run([*git, "ls-files", "--error-unmatch", "__init__.py"], **asked)
        if prefix != SOURCE or tracked.returncode:
            return Commit("", "the package is installed, and runs from no source tree of its own")
        changed = subprocess.run([*git, "status", "--porcelain", "--", "."], **asked)
    except OSError:
        return Commit("", "git is not installed")
    if changed.returncode:
        return Commit("", _refusal(changed.stderr))
    return Commit(name + ("+" if changed.stdout.strip() else ""), "")


def _refusal(said: str) -> str:
    """Why git names no commit, in one line."""
    said = " ".join(said.split())
    if "dubious ownership" in said:
        return f"git does not read the tree of another user; run: git config --global --add safe.directory {TREE}"
    if "not a git repository" in said:
        return "the package lies in no git repository"
    return f"git: {said.removeprefix('fatal: ')}"


@functools.cache
def code() -> str:
    """Sixteen hexadecimal digits of the text of all files of this package, whatever their line ends.

    Of the text and not of what it means (slimming.code): every job asks for it, and parsing all files takes long.
    """
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            text = path.read_bytes().replace(b"\r\n", b"\n")
            digest.update(f"{path.relative_to(PACKAGE).as_posix()} {len(text)}\n".encode() + text)
    return digest.hexdigest()[:16]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # run from the source tree
        return "not installed"


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or "unknown"


def _instructions() -> str:
    """The vector instructions that kernels are chosen by: processors of one name may differ in these, and in bits."""
    flags = (_cpuinfo("flags") or _cpuinfo("Features")).split()
    return " ".join(sorted(flag for flag in flags if VECTORS.match(flag))) or "unknown"


@functools.cache
def _cpuinfo(key: str) -> str:
    """What Linux says of the first processor; "" where it says nothing."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
