"""Images a second of the engine and of the conventional loop, taking turns on one machine, and the peak of memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from benchmarks.worker import Job, dataset
from slimming import data, networks
from slimming.measuring.cost import macs
from slimming.settings import Machine, Schedule
from slimming.training.engine import Differentiation, set_up
from slimming.training.flat import FlatParameters

SIDE = 2048  # of the square matrices whose product is the machine's peak


def peaks(machine: Machine, seconds: float) -> dict[str, float]:
    """The best FLOP/s of a square matrix product and of a 3x3 convolution with 256 channels, in either precision."""
    torch.set_num_threads(machine.threads)
    best = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        one, other = (torch.randn(SIDE, SIDE, device=machine.device).to(dtype) for _ in range(2))
        best[f"matmul_{name}"] = 2 * SIDE**3 / _best(lambda a=one, b=other: a @ b, seconds, machine)
        x = torch.randn(64, 256, 8, 8, device=machine.device).to(dtype).to(memory_format=torch.channels_last)
        weight = torch.randn(256, 256, 3, 3, device=machine.device).to(dtype).to(memory_format=torch.channels_last)
        time_taken = _best(lambda x=x, w=weight: torch.conv2d(x, w, padding=1), seconds, machine)
        best[f"convolution_{name}"] = 2 * weight.numel() * 64 * 64 / time_taken
    return best


def _best(run: Callable[[], object], seconds: float, machine: Machine) -> float:
    """The shortest of the calls of `run` that fit into some seconds."""
    wait = torch.cuda.synchronize if machine.device == "cuda" else lambda: None
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        begin = time.perf_counter()
        run()
        wait()
        times.append(time.perf_counter() - begin)
    return min(times)


class Team:
    """Workers that train the same thing at the same time, one process each."""

    def __init__(self, job: Job, size: int):
        command = [sys.executable, "-m", "benchmarks.worker", job.model_dump_json()]
        self.workers = [
            subprocess.Popen(
                command, cwd=Path(__file__).parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(size)
        ]

    def __enter__(self) -> Team:
        for _ in self._answers():
            pass
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.stdin.close()
            worker.stdout.close()
            worker.wait()

    def slice(self, seconds: float) -> dict:
        """Train together for some seconds: images a second of all, images a CPU second, memory of one in bytes."""
        for worker in self.workers:
            print(seconds, file=worker.stdin, flush=True)
        done = [json.loads(line) for line in self._answers()]
        rate = sum(one["steps"] * Schedule().batch_size / one["seconds"] for one in done)
        images = sum(one["steps"] for one in done) * Schedule().batch_size
        per_cpu_second = images / sum(one["cpu_seconds"] for one in done)
        memory = max(one["memory"] for one in done)
        return {"images_per_second": rate, "images_per_cpu_second": per_cpu_second, "memory": memory}

    def _answers(self) -> Iterator[str]:
        for worker in self.workers:
            line = worker.stdout.readline()
            if not line:
                raise RuntimeError(f"a worker ended with status {worker.wait()}; see its message above")
            yield line


def compare(
    network: str, width: float, image_size: int, team: int, machine: Machine, seconds: float, repeats: int
) -> dict:
    """Median, least and most images a second of both loops, `repeats` slices each in turn, and their ratio.

    The ratio in images a CPU second tells the same of jobs of one thread, and a busy machine changes it little.

    team: jobs at a time. Both loops run with the same threads and device; the precision is the engine's alone.
    """
    jobs = {
        loop: Job(loop=loop, network=network, width=width, image_size=image_size, machine=machine)
        for loop in ("conventional", "engine")
    }
    with Team(jobs["conventional"], team) as one, Team(jobs["engine"], team) as other:
        teams = {"conventional": one, "engine": other}
        slices: dict[str, list[dict]] = {loop: [] for loop in teams}
        for _ in range(repeats):
            for loop, made in slices.items():
                made.append(teams[loop].slice(seconds))
    found = {loop: _summary(made) for loop, made in slices.items()}
    pairs = [*zip(slices["engine"], slices["conventional"], strict=True)]
    ratios = {
        name: statistics.median(ours[rate] / theirs[rate] for ours, theirs in pairs)
        for name, rate in (("ratio", "images_per_second"), ("cpu_ratio", "images_per_cpu_second"))
    }
    setting = {"network": network, "width": width, "jobs": team, **machine.model_dump()}
    return setting | found | ratios


def _summary(slices: Sequence[dict]) -> dict:
    rates = [made["images_per_second"] for made in slices]
    return {
        "images_per_second": statistics.median(rates),
        "least": min(rates),
        "most": max(rates),
        "images_per_cpu_second": statistics.median(made["images_per_cpu_second"] for made in slices),
        "memory": max(made["memory"] for made in slices),
    }


def flops(network: str, width: float, image_size: int) -> int:
    """Floating point operations of convolutions and linear layers for one image in training."""
    net = networks.build(network, num_classes=10, width=width)
    return 6 * macs(net, (3, image_size, image_size))  # two each, forward, and twice that backward


def profile(network: str, width: float, image_size: int, machine: Machine, steps: int = 3) -> list[dict]:
    """Where the engine's time goes: {operation, share, calls} of the operations that take most, of their own time."""
    from torch.profiler import ProfilerActivity

    set_up(machine)
    net = networks.build(network, num_classes=10, width=width).to(machine.device, memory_format=torch.channels_last)
    flat = FlatParameters(net.train(), machine.precision)
    differentiate = Differentiation(
        net, flat, None, torch.zeros(2, dtype=torch.float64, device=machine.device), machine
    )
    batches = data.batches(dataset(image_size, machine.device), Schedule().batch_size, 1, 0)

    def step() -> None:
        differentiate(*next(batches))
        flat.update(0.1, 0.9, 1e-4)

    for _ in range(4):
        step()
    activities = [ProfilerActivity.CUDA if machine.device == "cuda" else ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities) as made:
        for _ in range(steps):
            step()
    own = "self_device_time_total" if machine.device == "cuda" else "self_cpu_time_total"
    operations = made.key_averages()
    total = sum(getattr(operation, own) for operation in operations)
    most = sorted(operations, key=lambda operation: -getattr(operation, own))[:12]
    return [
        {"operation": one.key, "share": round(getattr(one, own) / total, 4), "calls": one.count // steps}
        for one in most
    ]
