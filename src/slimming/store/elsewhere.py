"""The project in another, temporary folder, where the workflow makes things again without touching what is stored."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

from slimming.errors import SlimmingError

PROJECT = ("Snakefile", "workflow", "profiles", "config", "src", "paper")


def copy(name: str, place: Path, leave: Iterable[str] = ()) -> None:
    """Copy a file or folder of the project to the same path in `place`, without what `leave` names."""
    source, target = Path(name), place / name
    left = {os.path.abspath(path) for path in leave}

    def ignore(folder: str, names: list[str]) -> set[str]:
        return {item for item in names if item == "__pycache__" or os.path.abspath(Path(folder, item)) in left}

    if source.is_dir():
        shutil.copytree(source, target, ignore=ignore, dirs_exist_ok=True)
    elif source.is_file() and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def check_out(commit: str, place: Path) -> None:
    """Write the project as it was at `commit` into `place`."""
    packed = subprocess.run(["git", "archive", commit, *PROJECT], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(place, filter="data")


def snakemake(config: str | os.PathLike, targets: Iterable[str], place: str | os.PathLike, show: bool = False) -> None:
    """Make `targets` of the study in the file `config` in the folder `place`, with the code that lies there.

    show: let Snakemake say on standard error how far it is. Raises SlimmingError with the end of its output.
    """
    command = [sys.executable, "-m", "snakemake", *targets, "--cores", "all", "--configfile", os.path.abspath(config)]
    command += ["--quiet", "rules", "host", "reason"] if show else []
    asked = {"cwd": place, "env": environment(place), "text": True, "stdout": subprocess.PIPE}
    done = subprocess.run(command, stderr=None if show else subprocess.PIPE, **asked)
    if done.returncode:
        reason = " ".join((done.stderr or "see above").split())[-500:]
        raise SlimmingError(f"{config}: cannot be made again: {reason}")


def slimming(*command: str, place: str | os.PathLike) -> None:
    """Run `slimming` in the folder `place`, with the code that lies there. Raises SlimmingError with what it says."""
    asked = {"cwd": place, "env": environment(place), "text": True, "capture_output": True}
    done = subprocess.run([sys.executable, "-m", "slimming.cli", *command], **asked)
    if done.returncode:
        raise SlimmingError(f"slimming {command[0]} fails: {' '.join(done.stderr.split())[-500:]}")


def environment(place: str | os.PathLike) -> dict[str, str]:
    """For commands in the folder `place`: they find the code that lies there, and this Python's programs."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    return {**os.environ, "PYTHONPATH": str(Path(place, "src")), "PATH": path} | _history(place)


def _history(place: str | os.PathLike) -> dict[str, str]:
    """Lets git speak of this repository's history in the folder `place`, for what the paper says of commits."""
    asked = ["git", "rev-parse", "--absolute-git-dir"]
    done = subprocess.run(asked, capture_output=True, text=True)
    if done.returncode:
        return {}
    return {"GIT_DIR": done.stdout.strip(), "GIT_WORK_TREE": str(place), "GIT_OPTIONAL_LOCKS": "0"}
