"""The project in a folder of its own, as a git repository, with a tiny study to run in it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "workflow", "profiles", "config", "src", "paper", ".gitignore")
STUDY = "config/tiny.yaml"
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info", "paper.pdf")

IDENTITY = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "A. Nonymous"), ("EMAIL", "nobody@example.org"))
}

TINY = """
name: tiny
datasets: {digits: }
networks: {vgg11: {width: 0.0625}}
lam: 0.005
methods: [none, l1, {name: mcp, a: 200}]
seeds: [1]
ratios: [0.3, 0.5]
compensate: true
recalibrate: true
finetune: {ratios: [0.5], epochs: 1}
scratch: {ratios: [0.5]}
schedule: {epochs: 1}
"""


class Project:
    """A folder with the project in it, where `snakemake` runs the tiny study."""

    def __init__(self, root: Path):
        self.root = root

    def call(self, *command: str, check: bool = True, **extra: str) -> str:
        """What a command prints on both streams."""
        streams = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        done = subprocess.run(command, cwd=self.root, env=self.environment(**extra), **streams)
        assert done.returncode == 0 or not check, done.stdout[-5000:]
        return done.stdout

    def environment(self, **extra: str) -> dict[str, str]:
        """For commands in the folder: they find the code that lies there, and this Python's programs."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, **IDENTITY, "PYTHONPATH": str(self.root / "src"), "PATH": path, **extra}

    def git(self, *arguments: str, **options) -> str:
        return self.call("git", *arguments, **options)

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def snakemake(self, *arguments: str, study: str = STUDY, check: bool = True) -> str:
        command = [sys.executable, "-m", "snakemake", *arguments, "--cores", "1", "--configfile", study]
        return self.call(*command, check=check)

    def planned(self, *arguments: str) -> dict[str, int]:
        """The jobs that would run now, {rule: count}."""
        lines = self.snakemake("--dry-run", *arguments).splitlines()
        rows = [row.groups() for row in map(re.compile(r" (\w+) +(\d+) *").fullmatch, lines) if row]
        return {rule: int(count) for rule, count in rows if rule not in ("total", "all")}

    def depending(self, rule: str) -> dict[str, int]:
        """The jobs of a rule, and those that make something of what these make, {rule: count}."""
        return self.planned("--forcerun", rule)

    def reword(self, path: str) -> None:
        """Change what a file of the package says, and nothing that it does."""
        file = self.root / path
        file.write_text("# A comment.\n" + file.read_text())

    def change(self, path: str) -> None:
        """Change what a file of the package means, wherever it is read."""
        with (self.root / path).open("a") as stream:
            stream.write("\nCHANGED = True\n")

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
    (root / STUDY).write_text(TINY)
    made = Project(root)
    made.git("init", "--quiet", "--initial-branch", "main")
    made.commit("The project")
    return made
