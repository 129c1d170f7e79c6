"""A finished project as a git repository with its results in DVC, and what reads it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from conftest import ROOT, Project

IDENTITY = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "A. Nonymous"), ("EMAIL", "nobody@example.org"))
}


MEMORY = ".dvc/tmp/site"  # what DVC remembers of remotes; by default in /var/tmp, for all repositories


class Repository(Project):
    """A working copy; `dvc` and `git` run in it."""

    def call(self, *command: str, check: bool = True, **extra: str) -> str:
        """What a command prints on both streams."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, **IDENTITY, "PYTHONPATH": str(self.root / "src"), "PATH": path, **extra}
        environment["DVC_SITE_CACHE_DIR"] = str(self.root / MEMORY)
        done = subprocess.run(
            command, cwd=self.root, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert done.returncode == 0 or not check, done.stdout[-5000:]
        return done.stdout

    def git(self, *arguments: str, **options) -> str:
        return self.call("git", *arguments, **options)

    def dvc(self, *arguments: str, **options) -> str:
        return self.call(sys.executable, "-m", "dvc", *arguments, **options)

    def slimming(self, *arguments: str, **options) -> str:
        return self.call(sys.executable, "-m", "slimming.cli", *arguments, **options)

    def snakemake(self, *arguments: str, study: str = "config/tiny.yaml", check: bool = True) -> str:
        return super().snakemake(*arguments, study=study, check=check)

    def clone(self, root: Path) -> Repository:
        self.git("clone", "--quiet", str(self.root), str(root))
        return Repository(root)


def publish(finished: Project, root: Path) -> Repository:
    """A copy of the finished tiny study at `root`, committed to git and DVC, not yet pushed."""
    shutil.copytree(finished.root, root)
    for part in (".dvc", ".dvcignore", ".gitignore", ".gitattributes", "dvc.yaml", "CITATION.cff"):
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, root / part, ignore=shutil.ignore_patterns("tmp", "cache", "config.local"))
        elif source.exists():
            shutil.copy(source, root / part)
    made = Repository(root)
    (root / "tiny.yaml").rename(root / "config/tiny.yaml")
    made.edit("dvc.yaml", "[quick, cifar10-cpu]", "[tiny]")
    made.edit("dvc.yaml", "[digits, cifar10]", "[digits]")
    made.edit("dvc.yaml", "  - results/cifar10-cpu/metrics\n", "")
    text = (root / "dvc.yaml").read_text()
    (root / "dvc.yaml").write_text(
        text[: text.index("  - Accuracy right after pruning (cifar")].replace("quick", "tiny")
    )
    made.git("init", "--quiet", "--initial-branch", "main")
    made.dvc("commit", "--force")
    made.git("add", "--all")
    made.git("commit", "--quiet", "--message", "The tiny study")
    return made
