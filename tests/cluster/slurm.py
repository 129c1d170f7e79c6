"""A Slurm of our own on this machine: one node that claims eight cores and two GPUs, apart from the system's.

Configuration, keys, sockets, ports and state lie in one folder; nothing is read from or written to /etc or /var.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

import tools

DAEMONS = ("munged", "slurmctld", "slurmd")
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=1
MinJobAge=3600
MaxJobCount=50000
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=64000 Gres=gpu:fake:2 State=UNKNOWN
PartitionName=gpu Nodes=ALL Default=YES State=UP
"""
GPUS = "Name=gpu Type=fake File=/dev/null\nName=gpu Type=fake File=/dev/zero\n"  # any two files will do
# The plugin takes SLURM_CONF away from the srun in its jobs.
SRUN = '#!/bin/sh\nSLURM_CONF={configuration} exec {srun} "$@"\n'


def need() -> None:
    """Skip the test where Slurm cannot run."""
    tools.need(*DAEMONS, "sbatch", "squeue", "srun")
    if os.geteuid():
        pytest.skip("needs root: slurmd starts jobs as their user")


class Slurm:
    """The running daemons. `environment` is what their clients need."""

    def __init__(self, folder: Path):
        self.folder, self.node = folder, os.uname().nodename
        configuration = folder / "slurm.conf"
        for name in ("state", "spool", "bin"):
            (folder / name).mkdir()
        ports = _free_ports(2)
        configuration.write_text(CONFIGURATION.format(host=self.node, ports=ports, folder=folder))
        (folder / "gres.conf").write_text(GPUS)
        (folder / "cgroup.conf").write_text("IgnoreSystemd=yes\n")
        key = folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(1024))
        srun = folder / "bin/srun"
        srun.write_text(SRUN.format(configuration=configuration, srun=shutil.which("srun")))
        srun.chmod(0o755)
        self.environment = os.environ | {
            "SLURM_CONF": str(configuration),
            "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        }
        self.processes: list[subprocess.Popen] = []

    def start(self) -> None:
        paths = {name: f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "pid", "log", "seed")}
        self._daemon("munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket", *paths.values())
        self._wait(lambda: (self.folder / "munge.socket").exists())
        self._daemon("slurmctld", "-D")
        self._daemon("slurmd", "-D")
        self._wait(lambda: "idle" in self("sinfo", "--noheader", "--format=%t", check=False))

    def stop(self) -> None:
        """End all jobs, then the daemons in the reverse order of their start."""
        self("scancel", "--user=root", check=False)
        deadline = time.monotonic() + 20
        while self("squeue", "--noheader", check=False) and time.monotonic() < deadline:
            time.sleep(0.2)
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self.processes):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def __call__(self, *command: str, check: bool = True) -> str:
        """What a Slurm command prints."""
        done = subprocess.run(command, env=self.environment, text=True, capture_output=True)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout

    def jobs(self, *options: str) -> list[str]:
        """The jobs that squeue lists, one line each."""
        return self("squeue", "--noheader", *options).splitlines()

    def _daemon(self, name: str, *options: str) -> None:
        with (self.folder / f"{name}.out").open("w") as output:
            command = [shutil.which(name), *options]
            self.processes.append(subprocess.Popen(command, env=self.environment, stdout=output, stderr=output))

    def _wait(self, ready) -> None:
        deadline = time.monotonic() + 60
        while not ready():
            logs = {name: self.folder / f"{name}.out" for name in DAEMONS}
            told = "\n".join(log.read_text()[-2000:] for log in logs.values() if log.exists())
            assert all(process.poll() is None for process in self.processes), told
            assert time.monotonic() < deadline, told
            time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
