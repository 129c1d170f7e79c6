"""One training in a process of its own that runs in slices, so that several can take turns on one machine.

    python -m benchmarks.worker '{"loop": "engine", "network": "vgg19", ...}'

Says "ready", then for every line on its input that holds a number trains that many seconds and answers with a line of
JSON: steps, seconds, CPU seconds, and the peak of its memory so far. Ends with its input.
"""

from __future__ import annotations

import io
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks import conventional
from slimming import data, methods, networks
from slimming.methods.penalised import Penalised
from slimming.settings import Machine, Model, Schedule
from slimming.training import engine, loop

WARM_UP = 5  # steps
IMAGES = 6400  # of an epoch; a hundred steps at batch 64


class Job(Model):
    """What one worker trains: a network on random images of CIFAR-10's shape, with an l1 penalty."""

    loop: str  # "engine" or "conventional"
    network: str
    width: float
    image_size: int
    machine: Machine


@dataclass
class Slices:
    """`tick`, called after every step, ends a slice when its time is over, and waits until another is asked for."""

    left: int = WARM_UP
    steps: int = 0
    end: float = 0.0
    begin: float = 0.0
    cpu_begin: float = 0.0
    wait: Callable[[], None] = field(default=lambda: None)

    def tick(self) -> None:
        if self.left:
            self.left -= 1
            if self.left == 0:
                print("ready", flush=True)
                self._next()
            return
        self.steps += 1
        now = time.perf_counter()
        if now < self.end:
            return
        self.wait()
        seconds, cpu_seconds = time.perf_counter() - self.begin, time.process_time() - self.cpu_begin
        made = {"steps": self.steps, "seconds": seconds, "cpu_seconds": cpu_seconds, "memory": peak_memory()}
        print(json.dumps(made), flush=True)
        self._next()

    def _next(self) -> None:
        line = sys.stdin.readline()
        if not line:
            os._exit(0)  # in the midst of a training, with nothing to save
        self.steps, self.begin, self.cpu_begin = 0, time.perf_counter(), time.process_time()
        self.end = self.begin + float(line)


def peak_memory() -> int:
    """The most memory that this process ever held, in bytes."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    # Linux's ru_maxrss begins with what the parent held when it started this process.
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


@dataclass(frozen=True, kw_only=True)
class Sliced(Penalised):
    """A penalised method that is told of every step's end."""

    slices: Slices

    def after_step(self, _: object) -> None:
        self.slices.tick()


def dataset(size: int, device: str) -> data.Dataset:
    """Random images, augmented as CIFAR-10's are."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, 3, size, size), dtype=torch.uint8, generator=generator).to(device)
    labels = torch.randint(0, 10, (IMAGES,), generator=generator).to(device)
    classes = [str(label) for label in range(10)]
    # Padding is an eighth of the image on each side, as for CIFAR-10; the statistics matter to no speed.
    return data.Dataset(
        "random",
        size,
        classes,
        (0.5,) * 3,
        (0.25,) * 3,
        size // 8,
        True,
        {},
        images,
        labels,
        images[:100],
        labels[:100],
    )


def work(job: Job) -> None:
    slices = Slices(wait=torch.cuda.synchronize if job.machine.device == "cuda" else lambda: None)
    net = networks.build(job.network, num_classes=10, width=job.width)
    penalised = methods.get("l1", lam=1e-4)
    if job.loop == "conventional":
        torch.set_num_threads(job.machine.threads)
        images = dataset(job.image_size, "cpu")
        running = conventional.Loop(net.to(job.machine.device), Schedule(), conventional.subgradient(penalised))
        while True:
            for batch, labels in conventional.training_batches(images, Schedule().batch_size):
                running.step(batch, labels)
                slices.tick()
    engine.set_up(job.machine)
    method = Sliced(slug="l1", penalty=penalised.penalty, lam=penalised.lam, slices=slices)
    images = dataset(job.image_size, job.machine.device)
    # What every epoch says of its random labels would only stand between the bench's lines.
    with TemporaryDirectory() as folder, redirect_stderr(io.StringIO()):
        state = Path(folder, "state")
        loop.train(net, images, Schedule(), method, 1, 10**6, state, "bench", machine=job.machine)


if __name__ == "__main__":
    work(Job.model_validate_json(sys.argv[1]))
