"""One Slurm for all tests, and the study that runs on it: three runs, and their bits as made by hand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.slurm import Slurm, need
from slimming import cli, data, study

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "workflow", "profiles", "config", "src", "paper")
SLIMMING = Path(sys.executable).with_name("slimming")
EPOCHS = 40
STUDY = f"""
name: tiny
datasets: {{digits: }}
networks: {{vgg11: {{width: 0.0625}}}}
lam: 0.005
methods: [none, l1, tl1]
seeds: [1]
ratios: [0.5]
finetune: {{ratios: [0.5], epochs: 2}}
schedule: {{epochs: {EPOCHS}}}
"""
# Jobs of Slurm have no network, not even loopback, leave a line with process and GPU when they start and end, and write
# to a log that Snakemake does not remove before another attempt.
WRAPPER = """#!/bin/sh
[ -z "$SLURM_JOB_ID" ] && exec {slimming} "$@"
trap : TERM
method=$(echo "$*" | sed -n 's/.*"method_slug": "\\([^"]*\\)".*/\\1/p')
unshare --net {slimming} "$@" 2>> "{root}/$1-$method.log" &
echo "$SLURM_JOB_ID $! gpu=$CUDA_VISIBLE_DEVICES $*" >> {calls}
wait $!
code=$?
echo "$SLURM_JOB_ID $! end" >> {calls}
exit $code
"""


class Project:
    """A copy of the project in which `snakemake` runs the study through a profile."""

    def __init__(self, root: Path, environment: dict[str, str]):
        self.root, self.calls = root, root / "calls"
        self.started: list[subprocess.Popen] = []
        for part in PARTS:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy2
            copy(ROOT / part, root / part)
        (root / "tiny.yaml").write_text(STUDY)
        (root / "bin").mkdir()
        wrapper = root / "bin/slimming"
        wrapper.write_text(WRAPPER.format(slimming=SLIMMING, calls=self.calls, root=root))
        wrapper.chmod(0o755)
        path = os.pathsep.join([str(root / "bin"), environment["PATH"], str(SLIMMING.parent)])
        self.environment = environment | {"PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1", "PATH": path}

    def __enter__(self) -> Project:
        return self

    def __exit__(self, *_: object) -> None:
        """A test that fails leaves no snakemake behind."""
        for process in self.started:
            process.kill()
            process.wait()

    def start(self, *arguments: str) -> subprocess.Popen:
        """A snakemake that makes the ledger, its output in `snakemake.log`."""
        command = [sys.executable, "-m", "snakemake", "--configfile", "tiny.yaml", *arguments]
        with (self.root / "snakemake.log").open("a") as output:
            process = subprocess.Popen(command, cwd=self.root, env=self.environment, stdout=output, stderr=output)
        self.started.append(process)
        return process

    def snakemake(self, *arguments: str, check: bool = True) -> str:
        """Run snakemake to its end; what it printed so far."""
        code = self.start(*arguments).wait()
        assert code == 0 or not check, self.printed()[-6000:]
        return self.printed()

    def printed(self) -> str:
        return (self.root / "snakemake.log").read_text()

    def called(self) -> list[list[str]]:
        """Start and end of every stage in a Slurm job: job, process, then "gpu=..." and the command, or "end"."""
        return [line.split() for line in self.calls.read_text().splitlines()] if self.calls.exists() else []


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    need()
    running = Slurm(tmp_path_factory.mktemp("slurm"))
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def by_hand(tmp_path_factory) -> Path:
    """The results folder of the study, made here by one stage after another."""
    root = tmp_path_factory.mktemp("by-hand")
    (root / "tiny.yaml").write_text(STUDY)
    asked = study.load(root / "tiny.yaml")
    prepared = root / "digits.safetensors"
    data.prepare("digits", root, prepared)
    for run in asked.runs():
        folders = {kind: root / kind / run.slug for kind in ("checkpoints", "records")}
        trained, pruned = (folders["checkpoints"] / f"{stem}.safetensors" for stem in ("trained", "pruned-0.5"))
        options = {key: ["--data", prepared, f"--{key}", folder] for key, folder in folders.items()}
        for command in (
            ["train", run.settings()],
            ["prune", trained, "--ratios", "0.5"],
            ["finetune", pruned, "--epochs", "2"],
        ):
            assert cli.main([str(word) for word in (*command, *options["checkpoints"])]) == 0
        measured = sorted(folders["checkpoints"].glob("*.safetensors"))
        assert cli.main([str(word) for word in ("measure", *measured, *options["records"])]) == 0
    assert cli.main(["ledger", asked.settings(), "--records", str(root / "records"), "--output", str(root)]) == 0
    return root
