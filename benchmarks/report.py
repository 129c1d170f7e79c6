"""The bench as a whole: which parts run, what is printed, and the JSON that keeps it with the machine's description."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import yaml

from slimming import tensorfile
from slimming.errors import unknown
from slimming.origin import origin
from slimming.settings import Machine

PARTS = ("speed", "startup", "planning", "study")


class Scale(NamedTuple):
    """How much is measured: networks, widths, pixels, seconds a slice, slices, study, factors of its grid."""

    networks: Sequence[str]
    widths: Sequence[float]
    image_size: int
    seconds: float
    repeats: int
    large: str
    factors: Sequence[int]


FULL = Scale(("vgg19", "densenet40", "resnet164"), (1.0, 0.25), 32, 5.0, 4, "config/paper.yaml", (1, 10))
SMALL = Scale(("vgg11",), (0.125,), 8, 0.05, 1, "config/quick.yaml", (1,))


def bench(parts: Sequence[str], machine: Machine, output: Path | None, small: bool = False) -> None:
    """Measure the named `parts` (of PARTS), print a line each as it comes, and write everything to `output`.

    machine: device, precision and compilation of the engine; threads are those of one job that has the machine alone.
    small: a scale at which nothing is worth knowing but that it runs.
    """
    scale = SMALL if small else FULL
    for part in parts:
        if part not in _PARTS:
            raise unknown("part of the bench", part, PARTS)
    made = {"provenance": origin(machine.device, machine.threads), "load": os.getloadavg()}
    for part in parts:
        print(f"\n{part}", flush=True)
        made[part] = []
        for text, row in _PARTS[part](scale, machine):
            print(f"  {text}", flush=True)
            made[part].append(row)
        if output:  # after every part, for the last may take long
            tensorfile.write_text(output, json.dumps(made, indent=1) + "\n")
            print(f"  written to {output}", flush=True)


def _speed(scale: Scale, machine: Machine) -> Iterator[tuple[str, Any]]:
    from benchmarks import speed

    peaks = _apart(speed.peaks, machine, scale.seconds)
    yield "peak, GFLOP/s: " + ", ".join(f"{name} {value / 1e9:.0f}" for name, value in peaks.items()), peaks
    peak = max(value for name, value in peaks.items() if name.endswith(machine.precision))
    alone = machine.model_copy(update={"threads": 1})
    layouts = [(1, machine), (machine.threads, alone)] if machine.threads > 1 else [(1, machine)]
    if machine.device == "cuda":
        layouts = [(1, alone), (8, alone)]
    for name in scale.networks:
        for width in scale.widths:
            flops = _apart(speed.flops, name, width, scale.image_size)
            for team, each in layouts:
                row = speed.compare(name, width, scale.image_size, team, each, scale.seconds, scale.repeats)
                theirs, ours = row["conventional"], row["engine"]
                row |= {"flops": flops, "share_of_peak": ours["images_per_second"] * flops / peak}
                yield (
                    f"{name:10} width {width:<5g} {team} job(s) of {each.threads} thread(s): "
                    f"{theirs['images_per_second']:7.0f} -> {ours['images_per_second']:7.0f} images/s = "
                    f"{row['ratio']:.2f}x ({row['cpu_ratio']:.2f}x a CPU second), {row['share_of_peak']:4.0%} of peak, "
                    f"memory {theirs['memory'] / 2**20:.0f} -> {ours['memory'] / 2**20:.0f} MiB",
                    row,
                )
            operations = _apart(speed.profile, name, width, scale.image_size, alone)
            most = ", ".join(f"{one['operation'].removeprefix('aten::')} {one['share']:.0%}" for one in operations[:5])
            yield f"{'':10} time goes to {most}", {"network": name, "width": width, "operations": operations}


def _apart(function: Callable, *arguments: Any) -> Any:
    """The function's result from a process of its own, so that this one stays as it is for those started later."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _startup(scale: Scale, machine: Machine) -> Iterator[tuple[str, Any]]:
    from benchmarks import jobs

    with TemporaryDirectory() as folder:
        row = jobs.startup(jobs.project(Path(folder)), yaml.safe_load(Path("config/quick.yaml").read_text()))
    text = f"slimming --help {row['help_seconds']:.2f} s; a training job beside its training {row['job_seconds']:.2f} s"
    yield text, row


def _planning(scale: Scale, machine: Machine) -> Iterator[tuple[str, Any]]:
    from benchmarks import jobs

    with TemporaryDirectory() as folder:
        config = yaml.safe_load(Path(scale.large).read_text())
        for row in jobs.planning(jobs.project(Path(folder)), config, scale.factors):
            yield (
                f"{row['jobs']} jobs: {row['seconds']:.1f} s, {row['milliseconds_per_job']:.2f} ms of CPU a job, "
                f"{row['memory'] / 2**20:.0f} MiB",
                row,
            )


def _study(scale: Scale, machine: Machine) -> Iterator[tuple[str, Any]]:
    from benchmarks import jobs

    config = yaml.safe_load(Path("config/quick.yaml").read_text()) | {"seeds": [1]}
    if scale is SMALL:
        config |= {
            "networks": {"vgg11": {"width": 0.125}},
            "lam": 0.005,
            "methods": ["none"],
            "schedule": {"epochs": 1},
        }
    with TemporaryDirectory() as folder:
        row = jobs.whole(jobs.project(Path(folder)), config)
    seconds = f"{row['conventional']:.0f} -> {row['engine']:.0f} s = {row['ratio']:.2f}x"
    yield f"quick study, one seed, from start to ledger: {seconds}", row


_PARTS = {"speed": _speed, "startup": _startup, "planning": _planning, "study": _study}
