"""On a real Slurm a study ends in the bits of a local run, whatever is stopped, and repeats no finished work."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from cluster.conftest import EPOCHS, Project
from cluster.slurm import Slurm
from slimming import tensorfile
from slimming.errors import InputError

PROFILE = [
    *("--workflow-profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "2"),
    *("--set-resources", "train:gpu=1", "finetune:gpu=1"),  # the study computes on a CPU; Slurm counts all the same
]
LEDGER = "results/tiny/ledger.csv"
SAME = ["dataset", "network", "method", "seed", "ratio", "stage", "accuracy", "loss", "checkpoint_sha256"]

pytestmark = pytest.mark.timeout(600)


def until(ready: Callable[[], object], what: str, seconds: float = 240) -> object:
    """The first true value of `ready()`."""
    deadline = time.monotonic() + seconds
    while not (value := ready()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)
    return value


class Most:
    """The largest number of Slurm jobs that held a GPU at the same time, watched from another thread."""

    def __init__(self, slurm: Slurm):
        self.slurm, self.count, self.over = slurm, 0, threading.Event()
        self.thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self.over.wait(0.2):
            listed = self.slurm.jobs("--states=running", "--Format=tres-per-job")
            self.count = max(self.count, sum("gpu:1" in line for line in listed))

    def __enter__(self) -> Most:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()


class Disturbed:
    """The study on Slurm while a job is cancelled, one times out, the node is drained, and Snakemake is killed."""

    def __init__(self, project: Project, slurm: Slurm):
        self.project, self.slurm = project, slurm

    def run(self) -> None:
        first = self.project.start(*PROFILE, LEDGER)
        self.cancelled, self.stopped = until(lambda: len(self.midway()) == 2 and self.midway(), "two trainings")
        self.node("drain")
        self.slurm("scancel", self.job(self.cancelled))
        end = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 2))
        self.slurm("scontrol", "update", f"jobid={self.job(self.stopped)}", f"endtime={end}")
        until(lambda: len(self.slurm.jobs("--states=pending")) == 2, "both sent again")
        assert not self.slurm.jobs("--states=running")
        self.node("resume")
        until(lambda: "continuing at epoch" in self.log(self.cancelled), "the first of them to go on")
        training = self.process(self.cancelled)
        os.kill(training, signal.SIGSTOP)
        first.kill()
        first.wait()
        self.project.snakemake("--unlock")
        second = self.project.start(*PROFILE, LEDGER)
        until(lambda: "waiting for another process" in self.log(self.cancelled), "the same training sent again")
        os.kill(training, signal.SIGCONT)
        assert second.wait() == 0, self.project.printed()[-6000:]

    def calls(self) -> Iterator[tuple[str, int, str]]:
        """(Slurm job, process, method) of every training that was started, in order."""
        for job, process, *command in self.project.called():
            if command[1:2] == ["train"]:
                yield job, int(process), json.loads(" ".join(command[2 : command.index("--data")]))["method_slug"]

    def midway(self) -> list[str]:
        """Methods whose training has saved a state after its first epoch and has not finished."""
        found = []
        for method in dict.fromkeys(method for _, _, method in self.calls()):
            try:
                _, header = tensorfile.read(self.folder("checkpoints", method) / "trained.resume")
            except InputError:
                continue
            if 0 < header["epoch"] < EPOCHS:
                found.append(method)
        return found

    def folder(self, kind: str, method: str) -> Path:
        return self.project.root / f"results/tiny/{kind}/digits/vgg11/{method}/seed1"

    def job(self, method: str) -> str:
        return [job for job, _, called in self.calls() if called == method][-1]

    def process(self, method: str) -> int:
        return [process for _, process, called in self.calls() if called == method][-1]

    def node(self, state: str) -> None:
        self.slurm("scontrol", "update", f"nodename={self.slurm.node}", f"state={state}", "reason=test")

    def log(self, method: str) -> str:
        path = self.project.root / f"train-{method}.log"
        return path.read_text() if path.exists() else ""

    def epochs(self, method: str) -> Counter:
        """How often each epoch of a training was trained."""
        return Counter(map(int, re.findall(r"^epoch (\d+)/", self.log(method), re.MULTILINE)))


@pytest.fixture(scope="module")
def studies(slurm, tmp_path_factory):
    """The study twice, one after the other: disturbed, and undisturbed with two trainings a Slurm job."""
    disturbed = Disturbed(Project(tmp_path_factory.mktemp("disturbed"), slurm.environment), slurm)
    paired = Project(tmp_path_factory.mktemp("paired"), slurm.environment)
    with Most(slurm) as most, paired, disturbed.project:
        disturbed.run()
        paired.snakemake(*PROFILE, LEDGER, "--group-components", "training=2", "finetuning=2")
    return disturbed, paired, most


def ledger(path: Path) -> pd.DataFrame:
    return pd.read_csv(path)[SAME]


def test_disturbed_study_has_the_bits_of_a_local_run(studies, by_hand):
    disturbed, _, _ = studies
    pd.testing.assert_frame_equal(ledger(disturbed.project.root / LEDGER), ledger(by_hand / "ledger.csv"))
    wanted = {
        str(path.relative_to(by_hand / "checkpoints")): path.read_bytes()
        for path in (by_hand / "checkpoints").rglob("*.safetensors")
    }
    assert disturbed.project.checkpoints() == wanted


def test_stopped_trainings_go_on_where_their_state_was_saved(studies):
    disturbed, _, _ = studies
    for method in (disturbed.cancelled, disturbed.stopped):
        epochs = disturbed.epochs(method)
        assert set(epochs) == set(range(1, EPOCHS + 1))
        assert epochs[1] == 1
        assert "starting over" not in disturbed.log(method)
        # What is trained twice came after the last state that was saved: in three attempts less than one training.
        assert sum(epochs.values()) < 2 * EPOCHS


def test_no_more_gpu_jobs_run_at_once_than_there_are_gpus(studies):
    _, _, most = studies
    assert most.count == 2


def test_group_of_trainings_takes_turns_on_one_gpu(studies, by_hand):
    _, paired, _ = studies
    pd.testing.assert_frame_equal(ledger(paired.root / LEDGER), ledger(by_hand / "ledger.csv"))
    running, most, jobs, gpus = set(), 0, set(), set()
    for job, process, what, *command in paired.called():
        if command[:1] == ["train"]:
            running.add(process)
            jobs.add(job)
            gpus.add(what)
        running -= {process} if what == "end" else set()
        most = max(most, len(running))
    assert (len(jobs), len(gpus), most) == (1, 1, 1)


def test_jobs_have_no_network_and_local_rules_never_become_jobs(studies):
    _, paired, _ = studies
    called = {command[0] for _, _, _, *command in paired.called() if command}
    assert called == {"train", "prune", "finetune"}


def test_finished_study_leaves_no_states_locks_or_unfinished_files(studies):
    for project in (studies[0].project, studies[1]):
        left = [path.name for path in (project.root / "results").rglob("*") if path.is_file()]
        assert not [name for name in left if name.endswith((".resume", ".lock"))]
        assert not list(project.root.glob(".snakemake/locks/*"))
