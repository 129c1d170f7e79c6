"""Which GPU a job uses where several share a machine: Snakemake counts GPUs but assigns none.

A batch system assigns them in CUDA_VISIBLE_DEVICES, and that is respected. Elsewhere jobs spread evenly: each holds a
lock file named after the GPU and a place on it, and takes the first free one, all first places before any second.
How many jobs run at once is not decided here but by Snakemake's resource `gpu` (profiles/gpu).
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from slimming.stages import locks

LOCKS = Path(tempfile.gettempdir(), f"slimming-gpus-{os.getuid()}")  # of this machine: never on a shared file system


def claim() -> str | None:
    """Choose this process's GPU, until it ends, and name it in CUDA_VISIBLE_DEVICES; None where there is no choice.

    To be called before CUDA is initialised.
    """
    known = visible()
    if len(known) < 2:
        return None
    LOCKS.mkdir(mode=0o700, exist_ok=True)
    device = _first_free(known)
    os.environ["CUDA_VISIBLE_DEVICES"] = device
    return device


def visible() -> Sequence[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES or the device files tell."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    return [str(number) for number, _ in enumerate(Path("/dev").glob("nvidia[0-9]*"))]


def _first_free(known: Sequence[str]) -> str:
    for place in itertools.count():
        for device in known:
            # The descriptor stays open, and the place taken, until the process ends.
            if locks.attempt(LOCKS / f"{device.replace('/', '_')}.{place}") is not None:
                return device
    raise AssertionError("endless")
