"""Stage `train`: one run from scratch."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from slimming import methods, networks
from slimming.networks.base import Network
from slimming.stages.job import Job, seeded, start
from slimming.study import Run

FACTOR_EDGES = [round(-8 + 0.1 * step, 1) for step in range(91)]  # log10 |gamma|; smaller and larger count at the ends


def train(run: Run, prepared: str | os.PathLike, folders: tuple[Path, Path]) -> None:
    """Train one run from scratch: writes trained.safetensors and trained.json."""
    job = Job(run, folders, "trained")
    dataset = start(run, prepared)
    method = methods.get(**run.method)
    with seeded(run):
        channels = dataset.train_images.shape[1]
        net = networks.build(num_classes=len(dataset.classes), in_channels=channels, **run.architecture)
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
        job.finish(net, dataset, layers, factors=_histogram(net), warnings=warnings, **outcome)


def _histogram(net: Network) -> dict:
    """Counts of log10 |scaling factor| over all sites, between FACTOR_EDGES."""
    gamma = torch.cat([norm.weight.detach().abs() for norm in networks.prunable(net).values()]).double()
    logs = gamma.log10().clamp(FACTOR_EDGES[0], FACTOR_EDGES[-1])
    counts = torch.histogram(logs, torch.tensor(FACTOR_EDGES, dtype=torch.float64)).hist
    return {"log10_edges": FACTOR_EDGES, "counts": [int(count) for count in counts]}
