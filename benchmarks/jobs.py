"""Wall time of what a user starts: the command line, one job, a whole study, and the planning of a large one.

Everything runs in a copy of the project's workflow in a temporary folder, as processes of its own.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from slimming.errors import InputError
from slimming.study import parse

WORKFLOW = ("Snakefile", "workflow", "profiles", "config", "src", "paper")
CONVENTIONAL = "from benchmarks.conventional import main; main()"
REPEATS = 3
HERE = Path(__file__).parent


def project(folder: Path) -> Path:
    """A copy of the workflow in the working directory. InputError if there is none."""
    for name in WORKFLOW:
        if not Path(name).exists():
            raise InputError(f"no {name} here: run this in the project's folder")
        copy = shutil.copy2 if Path(name).is_file() else shutil.copytree
        copy(name, folder / name)
    return folder


def timed(command: Sequence[str], folder: Path, loop: str = "engine") -> dict:
    """Seconds and CPU seconds of a command, with the peak of its memory in bytes, and what it printed.

    loop: "conventional" puts a `slimming` first in PATH that trains with the conventional loop.
    """
    shims = folder / f"bin-{loop}"
    code = "import sys; from slimming.cli import main; sys.exit(main())" if loop == "engine" else CONVENTIONAL
    if not shims.exists():
        shims.mkdir()
        shim = shims / "slimming"
        shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(code)} "$@"\n')
        shim.chmod(0o755)
    path = os.pathsep.join([str(shims), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join([str(folder / "src"), str(HERE.parent)])}
    output = folder / "output.txt"
    with output.open("w") as stream:
        begin = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=stream, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    text = output.read_text()
    if process.returncode:
        raise RuntimeError(f"{shlex.join(command)} failed:\n{text[-2000:]}")
    return {
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "memory": usage.ru_maxrss * 1024,
        "output": text,
    }


def startup(folder: Path, config: Mapping) -> dict:
    """The best of some: seconds of `slimming --help`, and what a training job costs beside its training.

    The second is a whole job (start, imports, data, checkpoint) less its training.
    """
    study = parse({**config, "schedule": {**config.get("schedule", {}), "epochs": 1}}, "bench")
    run = study.runs()[0]
    data = folder / "data.safetensors"
    timed(["slimming", "prepare", run.dataset, "--output", str(data)], folder)
    files = ["--data", str(data), "--checkpoints", "checkpoints"]
    fixed = []
    for _ in range(REPEATS):
        whole = timed(["slimming", "train", run.settings(), *files], folder)["seconds"]
        fixed.append(whole - json.loads((folder / "checkpoints/trained.json").read_text())["training"]["seconds"])
    return {
        "help_seconds": min(timed(["slimming", "--help"], folder)["seconds"] for _ in range(REPEATS)),
        "job_seconds": min(fixed),
    }


def planning(folder: Path, config: Mapping, times: Sequence[int] = (1, 10)) -> list[dict]:
    """What `snakemake --dry-run` costs for a study, and for the same with so many times as many seeds."""
    found = []
    for factor in times:
        content = {**config, "seeds": list(range(1, factor * len(config["seeds"]) + 1))}
        (folder / "study.yaml").write_text(yaml.safe_dump(content))
        made = timed(["snakemake", "--dry-run", "--quiet", "rules", "--configfile", "study.yaml"], folder)
        jobs = int(re.search(r"^ ?total +(\d+)", made["output"], re.MULTILINE)[1])
        milliseconds = 1000 * made["cpu_seconds"] / jobs
        found.append({key: made[key] for key in ("seconds", "cpu_seconds", "memory")})
        found[-1] |= {"jobs": jobs, "milliseconds_per_job": milliseconds}
    return found


def whole(folder: Path, config: Mapping) -> dict:
    """Seconds of a study from start to ledger, with the conventional loop and with the engine, on all cores."""
    (folder / "study.yaml").write_text(yaml.safe_dump(dict(config)))
    command = ["snakemake", "ledger", "--cores", "all", "--quiet", "rules", "--configfile", "study.yaml"]
    found = {}
    for loop in ("conventional", "engine"):
        for made in ("results", "data", ".snakemake"):
            shutil.rmtree(folder / made, ignore_errors=True)
        found[loop] = timed(command, folder, loop)["seconds"]
    return found | {"ratio": found["conventional"] / found["engine"]}
