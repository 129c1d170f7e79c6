"""Stage `train`: one run from scratch, or the network that another run has trained in the same way."""

from __future__ import annotations

import os
from pathlib import Path

from slimming import data, methods, networks, records, tensorfile
from slimming.errors import InputError
from slimming.networks.base import Network
from slimming.stages.job import Job, made, seeded, start
from slimming.study import Run


def train(run: Run, prepared: str | os.PathLike, folder: Path) -> None:
    """Train one run from scratch: writes trained.safetensors and its draft into `folder`."""
    job = Job(run, folder, "trained")
    dataset = start(run, prepared)
    method = methods.get(**run.method).training()
    net = method.network(_fresh(run, dataset))
    gammas = [norm.weight for norm in networks.prunable(net).values()]
    warnings = method.cautions(gammas[0][0].item())
    for warning in warnings:
        print(f"warning: {warning}", flush=True)
    with job.alone():
        outcome = job.train(net, dataset, method, run.schedule.epochs, first=0, prepared=prepared)
        job.finish(net, _whole(net), warnings=warnings, **outcome)


def take(run: Run, prepared: str | os.PathLike, folder: Path) -> None:
    """Take the network of a run as it is, with the weights that somebody gave it: writes what `train` writes."""
    net = _fresh(run, start(run, prepared))
    Job(run, folder, "trained").finish(net, _whole(net))


def _fresh(run: Run, dataset: data.Dataset) -> Network:
    with seeded(run):
        return networks.made(run.architecture, len(dataset.classes), tuple(dataset.train_images.shape[1:]))


def _whole(net: Network) -> list[dict]:
    """The layers of a record, where nothing is gone."""
    return [
        {"site": site, "channels": norm.num_features, "kept": norm.num_features, "floored": False}
        for site, norm in networks.prunable(net).items()
    ]


def share(run: Run, checkpoint: str | os.PathLike, folder: Path) -> None:
    """Take over the network in `checkpoint`, trained in another run: writes what `train` writes, with its history.

    Raises InputError for a network that this run would have trained otherwise.
    """
    net, other, header = made(checkpoint, "trained")
    ours, theirs = (methods.get(**some.method).training() for some in (run, other))
    same = other.model_copy(update={"method": run.method, "method_slug": run.method_slug})
    if ours != theirs or same != run:
        raise InputError(f"{checkpoint}: of the run {other.slug}, which is trained otherwise than {run.slug}")
    draft = records.read(Path(checkpoint).with_suffix(".json"))
    outcome = {key: draft[key] for key in ("history", "training", "data", "warnings")}
    # The checkpoint is that of a training of its own, to the byte; whose it was is the record's to say.
    outcome["parent"] = tensorfile.sha256(checkpoint)
    Job(run, folder, "trained").finish(net, header["layers"], **outcome)
