"""On a real Slurm a study ends in the bits of a local run, whatever is stopped, and repeats no finished work."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import psutil
import pytest

from cluster.conftest import EPOCHS, Project
from cluster.slurm import Slurm
from slimming import tensorfile
from slimming.errors import InputError
from slimming.store import provenance

PROFILE = [
    *("--set-resources", "train:gpu=1", "finetune:gpu=1"),  # the study computes on a CPU; Slurm counts all the same
    *("--workflow-profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "2"),
]
METHODS = ("none", "l1", "tl1-1")
LEDGER = "results/tiny/ledger.csv"
SAME = ["dataset", "network", "method", "seed", "ratio", "stage", "accuracy", "loss", "checkpoint_sha256"]

pytestmark = [pytest.mark.timeout(600), pytest.mark.tools]


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


class Study:
    """The study on Slurm in a project of its own, and what its trainings have done so far."""

    def __init__(self, project: Project, slurm: Slurm):
        self.project, self.slurm = project, slurm

    def start(self, *arguments: str) -> None:
        self.snakemake = self.project.start(*PROFILE, *arguments)

    def until(self, ready: Callable[[], object], what: str, seconds: float = 240) -> object:
        """The first true value of `ready()` while Snakemake runs."""
        deadline = time.monotonic() + seconds
        while not (value := ready()):
            assert self.snakemake.poll() is None, self.project.printed()[-6000:]
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            time.sleep(0.05)
        return value

    def finish(self) -> None:
        assert self.snakemake.wait() == 0, self.project.printed()[-6000:]

    def kill(self) -> None:
        """Kill Snakemake; a job that it is just sending to Slurm gets there."""
        process = psutil.Process(self.snakemake.pid)
        process.suspend()  # it starts nothing after its children were counted
        children = process.children(recursive=True)
        self.snakemake.kill()
        self.snakemake.wait()
        assert not psutil.wait_procs(children, timeout=60)[1]

    def freeze(self, count: int) -> list[str]:
        """Stop so many trainings in the middle; their methods."""
        frozen: list[str] = []
        while len(frozen) < count:
            begun = self.until(lambda: [each for each in self.saved() if each not in frozen], "a training")
            frozen.append(begun[0])
            training = self.process(frozen[-1])
            os.kill(training, signal.SIGSTOP)
            # A slow disk makes a training save seldom, by the clock. The clock runs on while the training stands, so
            # that a state with whole epochs is saved long before the end.
            while not self.saved()[frozen[-1]]:
                os.kill(training, signal.SIGCONT)
                time.sleep(0.2)
                os.kill(training, signal.SIGSTOP)
                time.sleep(1)
        return frozen

    def calls(self) -> Iterator[tuple[str, int, str]]:
        """(Slurm job, process, method) of every training that was started, in order."""
        for job, process, *command in self.project.called():
            if command[1:2] == ["train"]:
                yield job, int(process), json.loads(" ".join(command[2 : command.index("--data")]))["method_slug"]

    def saved(self) -> dict[str, int]:
        """Whole epochs in the saved state of every training that has saved one, by method."""
        found = {}
        for method in dict.fromkeys(method for _, _, method in self.calls()):
            with contextlib.suppress(InputError):  # none yet, or no more
                found[method] = tensorfile.read(self.folder("checkpoints", method) / "trained.resume")[1]["epoch"]
        return found

    def finished(self) -> Counter:
        """How many jobs of each stage Snakemake has seen finish."""
        return Counter(re.findall(r"^Finished jobid: \d+ \(Rule: (\w+)\)", self.project.printed(), re.MULTILINE))

    def started(self) -> Counter:
        """How many jobs of each stage have started."""
        return Counter(command[0] for _, _, _, *command in self.project.called() if command)

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


def disturb(study: Study) -> None:
    """A job is cancelled, one times out, the node is drained, and Snakemake is killed while jobs run."""
    study.start(LEDGER)
    study.cancelled, study.late = study.freeze(2)
    study.node("drain")
    study.slurm("scancel", study.job(study.cancelled))
    end = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 2))
    study.slurm("scontrol", "update", f"jobid={study.job(study.late)}", f"endtime={end}")
    study.until(lambda: len(study.slurm.jobs("--states=pending")) == 3, "both to be sent again")
    assert not study.slurm.jobs("--states=running")
    study.node("resume")
    study.until(lambda: "continuing at epoch" in study.log(study.cancelled), "the first to go on")
    training = study.process(study.cancelled)
    os.kill(training, signal.SIGSTOP)
    study.until(lambda: study.finished()["train"], "Snakemake to see another training finish")
    study.kill()
    while len(study.slurm.jobs("--states=pending,running,completing")) > 1:  # the others finish unseen
        time.sleep(0.2)
    study.seen, study.before = study.finished(), study.started()
    study.project.snakemake("--unlock")
    study.start(LEDGER)
    study.until(lambda: "waiting for another process" in study.log(study.cancelled), "the frozen one to be sent again")
    os.kill(training, signal.SIGCONT)
    study.finish()
    study.complete = study.started()
    study.start(LEDGER)
    study.finish()


def preempt(study: Study) -> None:
    """Two trainings in one Slurm job, which Slurm puts back into the queue in the middle of one."""
    trained = [f"results/tiny/checkpoints/digits/vgg11/{method}/seed1/trained.json" for method in ("l1", "none")]
    study.start(*trained, "--group-components", "training=2")
    (study.frozen,) = study.freeze(1)
    job = study.job(study.frozen)
    study.slurm("scontrol", "requeue", job)
    study.until(lambda: study.slurm.jobs("--states=pending"), "the job to be back in the queue")
    study.slurm("scontrol", "update", f"jobid={job}", "starttime=now")  # Slurm would wait for two minutes
    study.finish()


@pytest.fixture(scope="module")
def studies(slurm, tmp_path_factory):
    """The study disturbed, then two of its trainings preempted."""
    disturbed, preempted = (
        Study(Project(tmp_path_factory.mktemp(name), slurm.environment), slurm) for name in ("disturbed", "preempted")
    )
    with Most(slurm) as most, disturbed.project, preempted.project:
        disturb(disturbed)
        preempt(preempted)
    return disturbed, preempted, most


def ledger(path: Path) -> pd.DataFrame:
    return pd.read_csv(path)[SAME]


def made(folder: Path) -> dict[str, bytes]:
    """Content of every checkpoint in a results folder."""
    paths = (folder / "checkpoints").rglob("*.safetensors")
    return {str(path.relative_to(folder / "checkpoints")): path.read_bytes() for path in paths}


def test_disturbed_study_has_the_bits_of_a_local_run(studies, by_hand):
    disturbed, _, _ = studies
    pd.testing.assert_frame_equal(ledger(disturbed.project.root / LEDGER), ledger(by_hand / "ledger.csv"))
    assert made(disturbed.project.root / "results/tiny") == made(by_hand)


def test_preempted_trainings_have_the_bits_of_a_local_run(studies, by_hand):
    _, preempted, _ = studies
    checkpoints = made(preempted.project.root / "results/tiny")
    assert len(checkpoints) == 2
    assert checkpoints.items() <= made(by_hand).items()


def test_stopped_trainings_go_on_where_their_state_was_saved(studies):
    disturbed, preempted, _ = studies
    for study, method in ((disturbed, disturbed.cancelled), (disturbed, disturbed.late), (preempted, preempted.frozen)):
        epochs = study.epochs(method)
        assert set(epochs) == set(range(1, EPOCHS + 1))
        assert epochs[1] == 1
        assert "continuing at epoch" in study.log(method)
        assert "starting over" not in study.log(method)


def test_what_snakemake_saw_finish_is_not_repeated(studies):
    disturbed, _, _ = studies
    assert disturbed.started().keys() == {"train", "prune", "finetune", "measure"}  # nor do local rules become jobs
    for stage, times in (disturbed.complete - disturbed.before).items():
        assert times + disturbed.seen[stage] <= len(METHODS)
    assert disturbed.started() == disturbed.complete


def test_jobs_that_finished_unseen_have_provenance(studies):
    root = studies[0].project.root
    known = provenance.read(root / "results/tiny/jobs.json").products()
    folders = (root / "data/prepared", root / "results/tiny/checkpoints", root / "results/tiny/records")
    stored = {str(path.relative_to(root)) for folder in folders for path in folder.rglob("*.*")}
    assert len(stored) == 1 + 3 * 3 * len(METHODS)
    assert stored <= known.keys()


def test_no_more_gpu_jobs_run_at_once_than_there_are_gpus(studies):
    _, _, most = studies
    assert most.count == 2


def test_group_of_trainings_takes_turns_on_one_gpu(studies):
    _, preempted, _ = studies
    running, jobs, gpus = set(), defaultdict(set), set()
    for job, process, what, *command in preempted.project.called():
        if command[:1] == ["train"]:
            running.add(process)
            jobs[job].add(" ".join(command))
            gpus.add(what)
        assert len(running) <= 1
        running -= {process} if what == "end" else set()
    assert max(map(len, jobs.values())) == 2
    assert len(gpus) == 1


def test_finished_study_leaves_no_states_locks_or_unfinished_files(studies):
    for study in studies[:2]:
        left = [path.name for path in (study.project.root / "results").rglob("*") if path.is_file()]
        assert not [name for name in left if name.endswith((".resume", ".lock"))]
        assert not list(study.project.root.glob(".snakemake/locks/*"))
