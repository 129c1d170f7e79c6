"""Stage `analyse`: what the networks of a run do, from their checkpoints, by the analyses that a study asks for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from slimming import analyses, records, tensorfile
from slimming.errors import InputError
from slimming.origin import origin
from slimming.stages.job import made, start


def analyse(paths: Iterable[str | os.PathLike], prepared: str | os.PathLike, folder: Path, names: list[str]) -> None:
    """Analyse the networks in the checkpoints at `paths`, of one run: writes <checkpoint's stem>.json for each.

    The first is the network before pruning, with which the others are compared. Of a network that was not made, the
    file says why. Raises InputError for checkpoints of several runs, and for a first one that was pruned.
    """
    first, dense = None, None
    for path in map(Path, paths):
        draft = records.read(path.with_suffix(".json"))
        if "missing" in draft:
            records.write(folder / f"{path.stem}.json", draft)
            continue
        net, run, header = made(path)
        if dense is None:
            if header["stage"] != "trained":
                raise InputError(f"{path}: {header['stage']}; give the trained network of its run before it")
            first, dense, dataset = run, net, start(run, prepared)
        if run != first:
            raise InputError(f"{path}: of the run {run.slug}, others of {first.slug}; analyse each run on its own")
        net.to(dataset.test_labels.device)
        found = {name: analyses.get(name).analyse(net, dense, dataset) for name in names}
        record = {key: draft[key] for key in ("schema", "run", "stage", "ratio") if key in draft}
        record |= {"analyses": found, "provenance": origin(device=run.device, threads=run.threads)}
        record["checkpoint"] = {"path": path.as_posix(), "sha256": tensorfile.sha256(path)}
        records.write(folder / f"{path.stem}.json", record)
        print(f"{path.stem}: {', '.join(f'{len(rows)} rows of {name}' for name, rows in found.items())}", flush=True)
