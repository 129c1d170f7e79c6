"""Trainings that share a machine spread over its GPUs, and a killed one gives its place back."""

import os
import signal
import subprocess
import sys
from collections import Counter

import pytest

import tiny
from slimming import study
from slimming.errors import InputError
from slimming.stages import devices, job

CLAIM = """
import os, sys
from pathlib import Path
from slimming.stages import devices
devices.LOCKS = Path(sys.argv[1])
print(devices.claim(), os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def claim(tmp_path):
    """Start a process that claims a GPU of those visible and holds it; the process, and what it printed."""
    processes = []

    def start(visible: str | None) -> tuple[subprocess.Popen, list[str]]:
        environment = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
        environment |= {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
        process = subprocess.Popen(
            [sys.executable, "-c", CLAIM, str(tmp_path / "locks")],
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        processes.append(process)
        return process, process.stdout.readline().split()

    yield start
    for process in processes:
        process.communicate()


def test_jobs_spread_evenly_over_the_visible_gpus(claim):
    given = [claim("4,5,7")[1] for _ in range(6)]
    assert Counter(device for device, _ in given) == {"4": 2, "5": 2, "7": 2}
    assert all(device == environment for device, environment in given)


def test_place_of_a_killed_job_is_taken_by_the_next(claim):
    first, (device, _) = claim("0,1")
    claim("0,1")
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert claim("0,1")[1][0] == device == "0"


def test_gpu_that_the_batch_system_assigned_is_kept(claim):
    assert [claim("3")[1] for _ in range(2)] == [["None", "3"]] * 2


def test_training_on_a_gpu_claims_it_before_anything_else(tmp_path, monkeypatch):
    """There is none here, so the claim is all that a training leaves."""
    monkeypatch.setattr(devices, "LOCKS", tmp_path / "locks")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    (run,) = study.parse(tiny.STUDY | {"device": "cuda"}, "study").runs()
    with pytest.raises((InputError, RuntimeError)):
        job.start(run, tmp_path / "none.safetensors")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4"
    assert [path.name for path in (tmp_path / "locks").iterdir()] == ["4.0"]


def test_machine_without_gpus_is_left_as_it_is(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices.claim() is None
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
