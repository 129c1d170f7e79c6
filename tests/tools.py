"""Tools that pip does not bring: where they lie here, or why a test that needs them is skipped."""

from __future__ import annotations

import shutil

import pytest

PACKAGES = {  # of Debian, {tool: package}
    "latexmk": "latexmk texlive-science",
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
    "sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
    "munged": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "squeue": "slurm-client",
    "srun": "slurm-client",
}


def present(*names: str) -> bool:
    return not _absent(names)


def need(*names: str) -> None:
    """Skip the test, or what the fixture is for, where one of the tools is absent."""
    if absent := _absent(names):
        pytest.skip(_reason(absent))


def needs(*names: str) -> pytest.MarkDecorator:
    """The mark that does it for a test or a module."""
    absent = _absent(names)
    return pytest.mark.skipif(bool(absent), reason=_reason(absent))


def _absent(names: tuple[str, ...]) -> list[str]:
    return [name for name in names if not shutil.which(name)]


def _reason(absent: list[str]) -> str:
    packages = " ".join(dict.fromkeys(PACKAGES[name] for name in absent))
    return f"needs {', '.join(absent)}, not found on PATH (Debian: apt-get install {packages})"
