"""Stage `train`: one run from scratch."""

from __future__ import annotations

import os
from pathlib import Path

from slimming import methods, networks
from slimming.stages.job import Job, seeded, start
from slimming.study import Run


def train(run: Run, prepared: str | os.PathLike, folder: Path) -> None:
    """Train one run from scratch: writes trained.safetensors and its draft into `folder`."""
    job = Job(run, folder, "trained")
    dataset = start(run, prepared)
    method = methods.get(**run.method)
    with seeded(run):
        channels = dataset.train_images.shape[1]
        net = method.network(networks.build(num_classes=len(dataset.classes), in_channels=channels, **run.architecture))
    gammas = [norm.weight for norm in networks.prunable(net).values()]
    warnings = method.cautions(gammas[0][0].item())
    for warning in warnings:
        print(f"warning: {warning}", flush=True)
    layers = [
        {"site": site, "channels": norm.num_features, "kept": norm.num_features, "floored": False}
        for site, norm in networks.prunable(net).items()
    ]
    with job.alone():
        outcome = job.train(net, dataset, method, run.schedule.epochs, first=0, prepared=prepared)
        job.finish(net, layers, warnings=warnings, **outcome)
