"""The bench measures what it says, end to end; how fast anything is, is asserted nowhere."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from benchmarks import conventional, report
from benchmarks.speed import Team
from benchmarks.worker import Job

from slimming import data, methods, networks
from slimming.settings import Machine, Schedule
from slimming.training import loop

ROOT = Path(__file__).parents[2]


def digits(folder):
    data.prepare("digits", folder, folder / "digits.safetensors")
    return data.load(folder / "digits.safetensors")


@pytest.mark.slow
def test_small_bench_runs_every_part_and_keeps_what_it_found(tmp_path):
    output = tmp_path / "bench.json"
    command = [sys.executable, "-m", "benchmarks", "--small", "--threads", "1", "--output", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text())
    assert set(report.PARTS) < set(found)
    assert found["provenance"]["machine"]["processor"]
    peaks, compared, profiled = found["speed"]
    assert all(value > 1e8 for value in peaks.values())
    ours, theirs = (compared[loop]["images_per_second"] for loop in ("engine", "conventional"))
    assert compared["ratio"] == pytest.approx(ours / theirs)  # of a single slice each
    assert compared["share_of_peak"] == pytest.approx(
        ours * compared["flops"] / max(peaks["matmul_bf16"], peaks["convolution_bf16"])
    )
    assert min(compared[loop]["memory"] for loop in ("engine", "conventional")) > 50e6
    assert any("conv" in one["operation"].lower() for one in profiled["operations"])
    (startup,), (planning,), (study,) = (found[part] for part in ("startup", "planning", "study"))
    assert 0 < startup["help_seconds"] < startup["job_seconds"]
    assert planning["jobs"] > 200
    assert study["ratio"] == study["conventional"] / study["engine"]
    assert f"{study['ratio']:.2f}x" in done.stdout


@pytest.mark.parametrize("loop", ["engine", "conventional"])
def test_worker_trains_as_long_as_it_is_asked_to(loop):
    job = Job(loop=loop, network="vgg11", width=0.0625, image_size=8, machine=Machine())
    with Team(job, 2) as team:
        longer, shorter = team.slice(0.4), team.slice(0)
        workers = team.workers
        assert shorter["images_per_second"] > 0
        assert longer["memory"] <= shorter["memory"]  # the peak since the start
    assert [worker.returncode for worker in workers] == [0, 0]


def test_conventional_training_learns_and_fills_the_same_history(tmp_path):
    dataset, outcomes = digits(tmp_path), {}
    for name, train in (("conventional", conventional.train), ("engine", loop.train)):
        torch.manual_seed(0)
        net = networks.build("vgg11", in_channels=1, width=0.125)
        method = methods.get("l1", lam=1e-3)
        outcomes[name] = train(net, dataset, Schedule(epochs=4), method, 1, 4, tmp_path / name, "test").history
    ours, theirs = outcomes["engine"], outcomes["conventional"]
    assert list(ours) == list(theirs)
    assert ours["lr"] == theirs["lr"]
    assert ours["test_accuracy"][-1] == pytest.approx(theirs["test_accuracy"][-1], abs=0.05)
    assert theirs["test_accuracy"][-1] > 0.9
    assert theirs["accuracy"][-1] == pytest.approx(ours["accuracy"][-1], abs=0.05)


def test_conventional_batches_are_the_augmented_images(tmp_path):
    dataset = digits(tmp_path)
    images, labels = next(iter(conventional.training_batches(dataset, 1437)))
    assert images.shape == (1437, 1, 8, 8)
    assert labels.bincount().tolist() == dataset.train_labels.bincount().tolist()
    ours = torch.cat([batch for batch, _ in data.batches(dataset, 500, 1, 0)])
    assert images.mean().item() == pytest.approx(ours.mean().item(), abs=0.02)
    assert images.std().item() == pytest.approx(ours.std().item(), abs=0.02)


@pytest.mark.parametrize(("part", "hint"), [("sped", "did you mean 'speed'?"), ("startup", "no Snakefile here")])
def test_unknown_part_and_wrong_folder_are_refused_in_one_line(part, hint, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", part],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("slimming: error: ")
    assert hint in line


@pytest.mark.slow
def test_what_is_asked_of_a_gpu_is_measured_on_a_cpu_too(tmp_path):
    output = tmp_path / "gpu.json"
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--small", "--seconds", "999"]
    command += ["--output", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text())
    assert [figure["difference"] for figure in found["parity"]] == [0]
    assert [figure["network"] for figure in found["speed"]] == ["vgg11", "vgg11"]
    assert [figure["runs"] for figure in found["together"]] == [1, 2]
    assert all(figure["images_per_second"] > 0 for part in ("speed", "together") for figure in found[part])


def test_what_is_asked_of_a_gpu_ends_with_its_time(tmp_path):
    output = tmp_path / "gpu.json"
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--small", "--seconds", "-1"]
    subprocess.run([*command, "--output", str(output)], cwd=ROOT, check=True)
    assert json.loads(output.read_text())["left out"] == 5
