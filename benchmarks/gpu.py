"""`python -m benchmarks.gpu`: what a GPU gives the engine, and whether it computes what a CPU does, in three minutes.

    parity    20 steps in float32 on the CPU and on the device: the largest difference of a weight, relative
    graph     5 steps as a replayed graph and directly: whether gradients are equal
    speed     images a second of one training: the conventional loop, the engine directly, as a graph, compiled
    together  of 1, 2, 4 and 8 trainings at once, in turns and, where it starts, under NVIDIA's MPS

Every figure is in the file as soon as it is measured, and no part is begun when the time is over. `--device cpu` shows
that it runs: graphs are left out there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed import Team
from benchmarks.worker import Job, dataset
from slimming import data, networks, tensorfile
from slimming.origin import origin
from slimming.settings import Machine, Schedule
from slimming.training.engine import Differentiation, set_up
from slimming.training.flat import FlatParameters

NETWORKS = ("vgg19", "densenet40", "resnet164")
SMALL = ("vgg11",)
STEPS, TOLERANCE = 20, 1e-4
NARROW = 0.25  # width of what a CPU computes, too
TEAMS = (1, 2, 4, 8)


class Training:
    """A training of `network` that can be stepped, on images that lie on the device `where`.

    mode: how gradients are computed, "graph", "direct" or "compiled".
    """

    def __init__(
        self, network: str, width: float, image_size: int, machine: Machine, mode: str = "graph", where: str = "cpu"
    ):
        set_up(machine)
        torch.manual_seed(1)
        net = networks.build(network, width=width)
        net.to(machine.device, memory_format=torch.channels_last)
        self.flat = FlatParameters(net.train(), machine.precision)
        sums = torch.zeros(2, dtype=torch.float64, device=machine.device)
        machine = machine.model_copy(update={"compile": mode == "compiled"})
        self.differentiate = Differentiation(net, self.flat, None, sums, machine)
        if mode == "direct":
            self.differentiate.graph = None
        self.device, self.images = machine.device, dataset(image_size, where)
        self.epoch = 0
        self.batches = iter(())

    def step(self) -> None:
        """The same batches on every device."""
        batch = next(self.batches, None)
        if batch is None:
            self.batches = data.batches(self.images, Schedule().batch_size, 1, self.epoch)
            self.epoch, batch = self.epoch + 1, next(self.batches)
        self.differentiate(*(part.to(self.device) for part in batch))
        self.flat.update(0.01, 0.9, 1e-4)


def parity(network: str, image_size: int, device: str, threads: int) -> dict:
    values = []
    for where in ("cpu", device):
        training = Training(network, NARROW, image_size, Machine(device=where, threads=threads))
        for _ in range(STEPS):
            training.step()
        values.append(training.flat.values.detach().cpu())
    one, other = values
    difference = ((one - other).abs().max() / one.abs().max()).item()
    return {"network": network, "steps": STEPS, "difference": difference, "within": difference <= TOLERANCE}


def graph(network: str, image_size: int, precision: str, threads: int) -> dict:
    machine = Machine(device="cuda", threads=threads, precision=precision)
    direct, replayed = (Training(network, NARROW, image_size, machine, mode) for mode in ("direct", "graph"))
    equal = True
    for _ in range(5):
        direct.step()
        replayed.step()
        equal &= torch.equal(direct.flat.gradients, replayed.flat.gradients)
    return {"network": network, "precision": precision, "equal": equal}


def speed(network: str, width: float, image_size: int, machine: Machine, mode: str, seconds: float) -> dict:
    """Images a second of one training in this process; batches lie on the device, as a training's do."""
    training = Training(network, width, image_size, machine, mode, machine.device)
    wait = torch.cuda.synchronize if machine.device == "cuda" else lambda: None
    begin = time.perf_counter()
    for _ in range(6):
        training.step()
    wait()
    started, steps, now = time.perf_counter(), 0, 0.0
    while now < seconds:
        for _ in range(10 if machine.device == "cuda" else 1):
            training.step()
            steps += 1
        wait()
        now = time.perf_counter() - started
    rate = steps * Schedule().batch_size / now
    return {"network": network, "mode": mode, "images_per_second": rate, "seconds_to_start": started - begin}


def together(job: Job, size: int, seconds: float, shared: str) -> dict:
    with Team(job, size) as team:
        return {"network": job.network, "loop": job.loop, "runs": size, "shared": shared, **team.slice(seconds)}


@contextlib.contextmanager
def service() -> Iterator[bool]:
    """NVIDIA's Multi-Process Service for what starts meanwhile; False where it does not start."""
    control = shutil.which("nvidia-cuda-mps-control")
    if control is None:
        yield False
        return
    with tempfile.TemporaryDirectory() as folder:
        places = dict.fromkeys(("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"), folder)
        os.environ.update(places)
        started = subprocess.run([control, "-d"], capture_output=True).returncode == 0
        try:
            yield started
        finally:
            if started:
                subprocess.run([control], input=b"quit\n", capture_output=True)
            for name in places:
                del os.environ[name]


def parts(device: str, threads: int, small: bool) -> Iterator[tuple[str, Callable[[], dict]]]:
    """(part, what measures one figure of it), the most telling first."""
    size, width, seconds = (8, NARROW, 0.2) if small else (32, 1.0, 3.0)
    machine = Machine(device=device, threads=threads, precision="bf16")
    modes, chosen = ("graph", "direct") if device == "cuda" else ("direct",), SMALL if small else NETWORKS
    for network in chosen:
        yield "parity", lambda n=network: parity(n, size, device, threads)
    for network in chosen if device == "cuda" else ():
        for precision in ("fp32", "bf16"):
            yield "graph", lambda n=network, p=precision: graph(n, size, p, threads)
    for mode in modes:
        for network in chosen:
            yield "speed", lambda n=network, m=mode: speed(n, width, size, machine, m, seconds)

    def job(loop: str, network: str) -> Job:
        return Job(loop=loop, network=network, width=width, image_size=size, machine=machine)

    for network in chosen:
        yield "speed", lambda n=network: together(job("conventional", n), 1, seconds, "alone")
    for count in TEAMS[:2] if small else TEAMS:
        yield "together", lambda c=count: together(job("engine", chosen[0]), c, seconds, "in turns")
    if device == "cuda":
        for count in TEAMS[1:]:
            yield "together", lambda c=count: served(job("engine", chosen[0]), c, seconds)
        yield "speed", lambda: speed(chosen[0], width, size, machine, "compiled", seconds)


def served(job: Job, size: int, seconds: float) -> dict:
    with service() as started:
        return together(job, size, seconds, "MPS") if started else {"runs": size, "shared": "MPS", "lacking": "MPS"}


def main() -> None:
    asked = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    asked.add_argument("--output", type=Path, required=True, metavar="FILE")
    asked.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    asked.add_argument("--seconds", type=float, default=170, help="no part is begun later (default: 170)")
    asked.add_argument("--small", action="store_true", help="only to see that it runs")
    options = asked.parse_args()
    threads = 1 if options.device == "cuda" else len(os.sched_getaffinity(0))
    found: dict[str, Any] = {"provenance": origin(device=options.device, threads=threads)}
    begin = time.monotonic()
    for part, measure in parts(options.device, threads, options.small):
        if time.monotonic() - begin > options.seconds:
            found["left out"] = found.get("left out", 0) + 1
        else:
            try:
                figure = measure()
            except RuntimeError as error:  # of a device; the others are worth having
                figure = {"failed": " ".join(str(error).split())[:300]}
            found.setdefault(part, []).append(figure)
            print(part, json.dumps(figure), flush=True)
        found["seconds"] = round(time.monotonic() - begin, 1)
        tensorfile.write_text(options.output, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
