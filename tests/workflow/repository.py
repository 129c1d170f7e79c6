"""A finished project as a git repository with its results in DVC, and what reads it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import yaml
from project import ROOT, Project

NETWORK = "results/tiny/checkpoints/digits/vgg11/l1/seed1/pruned-0.5.safetensors"
MEMORY = ".dvc/tmp/site"  # what DVC remembers of remotes; by default in /var/tmp, for all repositories


class Repository(Project):
    """A working copy; `dvc` and `git` run in it."""

    def call(self, *command: str, **options) -> str:
        return super().call(*command, DVC_SITE_CACHE_DIR=str(self.root / MEMORY), **options)

    def dvc(self, *arguments: str, **options) -> str:
        return self.call(sys.executable, "-m", "dvc", *arguments, **options)

    def slimming(self, *arguments: str, **options) -> str:
        return self.call(sys.executable, "-m", "slimming.cli", *arguments, **options)

    def copy(self, root: Path) -> Repository:
        shutil.copytree(self.root, root, symlinks=True)
        return Repository(root)

    def clone(self, root: Path) -> Repository:
        self.git("clone", "--quiet", str(self.root), str(root))
        return Repository(root)


def publish(finished: Project, root: Path) -> Repository:
    """A copy of the finished tiny study at `root`, committed to git and DVC, not yet pushed."""
    shutil.copytree(finished.root, root)
    for part in (".dvc", ".dvcignore", ".gitattributes", "dvc.yaml", "CITATION.cff"):
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, root / part, ignore=shutil.ignore_patterns("tmp", "cache", "config.local"))
        elif source.exists():
            shutil.copy(source, root / part)
    asked = yaml.safe_load((root / "dvc.yaml").read_text().replace("quick", "tiny"))
    asked["stages"]["data"]["foreach"], asked["stages"]["study"]["foreach"] = ["digits"], ["tiny"]
    asked["metrics"], asked["plots"] = ["results/tiny/metrics"], asked["plots"][:1]
    (root / "dvc.yaml").write_text(yaml.safe_dump(asked))
    made = Repository(root)
    made.dvc("commit", "--force")
    made.commit("The tiny study")
    return made


def alter(path: Path) -> None:
    """Change a byte of a file, also of one that DVC has made read-only."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.chmod(0o644)
    path.write_bytes(content)
