"""A copy of the project in an empty folder, and a tiny study that ran there to the end."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "workflow", "profiles", "config", "src", "paper")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info", "generated", "paper.pdf")

TINY = """
name: tiny
datasets: {digits: }
networks: {vgg11: {width: 0.0625}}
lam: 0.005
methods: [none, l1, {name: mcp, a: 200}]
seeds: [1]
ratios: [0.3, 0.5]
compensate: true
finetune: {ratios: [0.5], epochs: 1}
scratch: {ratios: [0.5]}
schedule: {epochs: 1}
"""


class Project:
    """A folder with the project in it, where `snakemake` runs the tiny study."""

    def __init__(self, root: Path):
        self.root = root

    def snakemake(self, *arguments: str, study: str = "tiny.yaml", check: bool = True) -> str:
        """What snakemake prints, on both streams."""
        command = [sys.executable, "-m", "snakemake", *arguments, "--cores", "1", "--configfile", study]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PYTHONPATH": str(self.root / "src"), "PATH": path}
        done = subprocess.run(
            command, cwd=self.root, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert done.returncode == 0 or not check, done.stdout[-5000:]
        return done.stdout

    def planned(self, *arguments: str) -> dict[str, int]:
        """The jobs that would run now, {rule: count}."""
        lines = self.snakemake("--dry-run", *arguments).splitlines()
        if "Job stats:" not in lines:
            return {}
        start = lines.index("Job stats:") + 3
        rows = [line.split() for line in lines[start : lines.index("", start)]]
        return {rule: int(count) for rule, count in rows if rule not in ("total", "all")}

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.root / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))


def project(root: Path) -> Project:
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, root / part, ignore=LEFT_OUT)
        else:
            shutil.copy2(source, root / part)
    (root / "tiny.yaml").write_text(TINY)
    return Project(root)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """The tiny study, run to the end. Tests look at it and leave it as it is."""
    made = project(tmp_path_factory.mktemp("finished"))
    made.snakemake()
    return made


@pytest.fixture
def again(finished, tmp_path) -> Project:
    """A copy of the finished study, times included, to change things in."""
    shutil.copytree(finished.root, tmp_path / "again")
    return Project(tmp_path / "again")


@pytest.fixture
def fresh(tmp_path) -> Project:
    """The project before anything ran."""
    (tmp_path / "fresh").mkdir()
    return project(tmp_path / "fresh")
