"""A tiny run and a folder in which its stages work, through the real command line."""

import subprocess
import sys
from pathlib import Path

from slimming import records
from slimming.stages import table
from slimming.study import Study, parse

SLIMMING = Path(sys.executable).with_name("slimming")
STUDY = {
    "name": "tiny",
    "datasets": {"digits": {}},
    "networks": {"vgg11": {"width": 0.125}},
    "methods": [{"name": "mcp", "a": 100, "lam": 1e-3}],  # its knee 0.1 lies below the initial factors 0.5
    "seeds": [1],
    "ratios": [0, 0.5, 0.95],
    "compensate": True,
    "recalibrate": True,
    "finetune": {"ratios": [0.5]},
    "scratch": {"ratios": [0.5]},
    "schedule": {"epochs": 2},
}
STEMS = {table.stem(*step): step for step in parse(STUDY, "study").steps()}


class Work:
    """A folder in which stages of one run work, with its prepared data."""

    def __init__(self, folder: Path, prepared: Path, **keys):
        self.study: Study = parse(STUDY | keys, "study")
        (self.run,) = self.study.runs()
        self.checkpoints = folder / "checkpoints" / self.run.slug
        self.records = folder / "records" / self.run.slug
        self.folder, self.prepared = folder, prepared

    def command(self, stage: str, *arguments: str | Path) -> list[str]:
        return [stage, *map(str, [*arguments, "--data", self.prepared, "--checkpoints", self.checkpoints])]

    def train(self) -> list[str]:
        return self.command("train", self.run.settings())

    def prune(self) -> list[str]:
        ratios = [f"{ratio:g}" for ratio in self.study.ratios]
        variants = [option for stage in table.made_by("prune") for option in stage.options]
        return self.command("prune", self.checkpoints / "trained.safetensors", "--ratios", *ratios, *variants)

    def finetune(self) -> list[str]:
        return self.command("finetune", self.checkpoints / "pruned-0.5.safetensors")

    def scratch(self, budget: str = "epochs") -> list[str]:
        return self.command("scratch", self.checkpoints / "pruned-0.5.safetensors", "--budget", budget)

    def measure(self, *stems: str) -> list[str]:
        paths = [self.checkpoints / f"{stem}.safetensors" for stem in stems]
        return ["measure", *map(str, [*paths, "--data", self.prepared, "--records", self.records])]

    def every_stage(self) -> list[list[str]]:
        trainings = [self.finetune(), self.scratch(), self.scratch("compute")]
        return [self.train(), self.prune(), *trainings, self.measure(*STEMS)]

    def checkpoint(self, stem: str) -> bytes:
        return (self.checkpoints / f"{stem}.safetensors").read_bytes()

    def draft(self, stem: str) -> dict:
        return records.read(self.checkpoints / f"{stem}.json")

    def record(self, stem: str) -> dict:
        return records.read(self.records / f"{stem}.json")

    def files(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file()}


def slimming(*command: str, **options) -> subprocess.CompletedProcess:
    """`slimming` in a process of its own."""
    return subprocess.run([SLIMMING, *command], **{"capture_output": True, "text": True, **options})
