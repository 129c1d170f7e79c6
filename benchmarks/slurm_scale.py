"""A study of 10 000 jobs on a real Slurm on this machine: planned, tried dry, and sent with jobs that only sleep.

    python benchmarks/slurm_scale.py [--seeds 2500] [--seconds 60]

Needs root, Slurm and MUNGE (see .ci/run). What it measures, and what limits a study at which size, stands in
profiles/README.md. Jobs through Snakemake are sent to a drained node, so that only the sending is measured; the jobs
that run are sent by sbatch itself, as many and as small.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from cluster.slurm import Slurm, missing  # noqa: E402

STUDY = """
name: scale
datasets: {{digits: }}
networks: {{vgg11: {{width: 0.0625}}}}
methods: [none]
seeds: {seeds}
ratios: [0.3, 0.5]
finetune: {{ratios: [0.3, 0.5]}}
schedule: {{epochs: 1}}
"""


def timed(command: list[str], **options) -> tuple[float, str]:
    """Seconds that a command took, and what it printed."""
    start = time.monotonic()
    done = subprocess.run(command, text=True, capture_output=True, check=True, **options)
    return time.monotonic() - start, done.stdout


def processor_seconds(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def send_with_snakemake(slurm: Slurm, study: Path, seconds: float) -> None:
    """Send trainings through the profile to a node that starts none, for so many seconds at most."""
    command = ["snakemake", "--workflow-profile", "profiles/slurm", "--configfile", str(study), "--jobs", "20000"]
    begin = time.monotonic()
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=slurm.environment, **silent) as process:
        while not slurm.jobs():
            time.sleep(0.2)
        first, sent = time.monotonic(), 0
        while time.monotonic() < first + seconds and (now := len(slurm.jobs())) != sent:
            sent = now
            time.sleep(5)
        took = time.monotonic() - first
        process.kill()
    print(f"through Snakemake: first after {first - begin:.0f} s, {sent} in {took:.0f} s, {sent / took:.1f} a second")
    subprocess.run(["snakemake", "--unlock", "--configfile", str(study)], capture_output=True)
    slurm("scancel", "--user=root")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2500, help="runs; each makes four jobs")
    parser.add_argument("--seconds", type=float, default=60.0, help="of sending through Snakemake, and of running jobs")
    options = parser.parse_args()
    if reason := missing():
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder, "project")
        for part in ("workflow", "profiles", "config", "paper", "src"):
            shutil.copytree(ROOT / part, project / part)
        shutil.copy(ROOT / "Snakefile", project)
        os.chdir(project)
        study = project / "scale.yaml"
        study.write_text(STUDY.format(seeds=list(range(options.seeds))))
        slurm = Slurm(Path(folder))
        slurm.start()
        try:
            measure(slurm, study, options)
        finally:
            slurm.stop()


def measure(slurm: Slurm, study: Path, options: argparse.Namespace) -> None:
    jobs = 4 * options.seeds
    took, _ = timed(["slimming", "plan", str(study), "--profile", "profiles/slurm"])
    print(f"plan: {jobs} jobs in {took:.1f} s")
    dry = [
        "snakemake",
        "--workflow-profile",
        "profiles/slurm",
        "--configfile",
        str(study),
        "--dry-run",
        "--quiet",
        "all",
    ]
    took, _ = timed(dry, env=slurm.environment)
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"dry run: {took:.0f} s, at most {memory:.0f} MB of memory", flush=True)

    slurm("scontrol", "update", f"nodename={slurm.node}", "state=drain", "reason=scale")
    send_with_snakemake(slurm, study, options.seconds)

    controller = slurm.processes[1].pid
    before, start = processor_seconds(controller), time.monotonic()
    sleep = ["sbatch", "--mem=1", "--output=/dev/null", "--wrap=sleep 1"]
    with ThreadPoolExecutor(2) as senders:  # as many as the plugin has
        list(senders.map(lambda _: slurm(*sleep), range(jobs)))
    took = time.monotonic() - start
    load = (processor_seconds(controller) - before) / took
    print(f"sbatch: {jobs} jobs in {took:.0f} s, {jobs / took:.0f} a second, controller at {load:.0%} of a core")
    took, _ = timed(["squeue", "--format=%i|%T", "--states=all", "--noheader"], env=slurm.environment)
    print(f"squeue of {jobs} jobs: {took:.2f} s", flush=True)

    slurm("scontrol", "update", f"nodename={slurm.node}", "state=resume")
    before = processor_seconds(controller)
    time.sleep(options.seconds)
    load = (processor_seconds(controller) - before) / options.seconds
    done = len(slurm.jobs("--states=completed"))
    print(f"run: {done} jobs of 1 s in {options.seconds:.0f} s on 8 slots, controller at {load:.0%} of a core")
    told = [line.strip() for line in slurm("sdiag").splitlines() if "Mean cycle" in line or "Max cycle" in line]
    print(f"controller (microseconds): {'; '.join(told)}")


if __name__ == "__main__":
    main()
