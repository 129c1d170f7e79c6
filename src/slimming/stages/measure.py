"""Stage `measure`: what the networks of a run are worth and what they cost, from their checkpoints.

So a new figure trains nothing again. A record is the draft beside a checkpoint (stages.job), and what is measured.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import torch

from slimming import data, networks, records, tensorfile
from slimming.errors import InputError
from slimming.measuring import accuracy, cost, latency
from slimming.networks.base import Network
from slimming.origin import doubts, origin
from slimming.stages import table
from slimming.stages.job import made, start

FACTOR_EDGES = [round(-8 + 0.1 * step, 1) for step in range(91)]  # log10 |gamma|; smaller and larger count at the ends


def measure(paths: Iterable[str | os.PathLike], prepared: str | os.PathLike, folder: Path) -> None:
    """Measure the networks in the checkpoints at `paths`, all of one run: writes <checkpoint's stem>.json for each.

    Of a network that was not made, the record says why. Raises InputError for checkpoints of several runs, and one
    whose draft is missing or another's.
    """
    first, dataset, dense = None, None, {}
    for path in map(Path, paths):
        draft = records.read(path.with_suffix(".json"))
        if "missing" in draft:
            records.write(folder / f"{path.stem}.json", draft)
            continue
        net, run, header = made(path)
        if dataset is None:
            first, dataset = run, start(run, prepared)
            dense = cost.count(networks.from_spec(networks.whole(net.spec)), tuple(dataset.test_images.shape[1:]))
        if run != first:
            raise InputError(f"{path}: of the run {run.slug}, others of {first.slug}; measure each run on its own")
        if draft["checkpoint"]["sha256"] != tensorfile.sha256(path):
            raise InputError(f"{path}: not the network that {path.with_suffix('.json')} speaks of; make both again")
        measured = figures(net.to(dataset.test_labels.device), dataset, path)
        channels, kept = (sum(layer[key] for layer in header["layers"]) for key in ("channels", "kept"))
        measured["ratio_reached"] = 1 - kept / channels
        # Dense and freshly initialised: but for its shifts, which are zero, nothing of it is.
        sizes = dense | {"nonzero": dense["parameters"], "macs_nonzero": dense["macs"]}
        measured["reached"] = {name: 1 - measured[name] / size for name, size in sizes.items()}
        # Blalock et al. (2020): of sizes without zeros, original by new.
        for name, count in (("compression_ratio", "nonzero"), ("speedup", "macs_nonzero")):
            measured[name] = sizes[count] / measured[count] if measured[count] else None
        measured["readers"] = cost.readers(net)
        history = draft["history"]
        tested = [value for value in history.get("test_accuracy", ()) if value is not None]
        measured["accuracy_best"] = max(measured["accuracy"], *tested) if history else None
        measured["provenance"] = origin(device=run.device, threads=run.threads)
        warnings = [*dict.fromkeys([*draft["warnings"], *doubts()])]
        record = draft | {"measured": measured, "warnings": warnings}
        record["checkpoint"] = draft["checkpoint"] | {"path": path.as_posix()}
        if not table.STAGES[header["stage"]].parent:
            record["factors"] = histogram(net)
        records.write(folder / f"{path.stem}.json", record)
        print(f"{path.stem}: accuracy {measured['accuracy']:.4f}, {measured['parameters']} parameters", flush=True)


def figures(net: Network, dataset: data.Dataset, checkpoint: str | os.PathLike) -> dict:
    """Accuracy, loss, cost, bytes and latency of a network whose checkpoint is stored at `checkpoint`.

    Raises InputError if the network was built for other images or classes.
    """
    image = tuple(dataset.test_images.shape[1:])
    if (net.spec["in_channels"], net.spec["num_classes"]) != (image[0], len(dataset.classes)):
        raise InputError(f"{checkpoint}: built for other images than those of {dataset.name}; measure it on its own")
    return (
        accuracy.evaluate(net, dataset)
        | cost.count(net, image)
        | {"bytes": Path(checkpoint).stat().st_size, "latency_ms": latency.measure(net, image)}
    )


def histogram(net: Network) -> dict:
    """Counts of log10 |scaling factor| over all sites, between FACTOR_EDGES."""
    gamma = torch.cat([norm.weight.detach().abs().cpu() for norm in networks.prunable(net).values()]).double()
    logs = gamma.log10().clamp(FACTOR_EDGES[0], FACTOR_EDGES[-1])
    counts = torch.histogram(logs, torch.tensor(FACTOR_EDGES, dtype=torch.float64)).hist
    return {"log10_edges": FACTOR_EDGES, "counts": [int(count) for count in counts]}
