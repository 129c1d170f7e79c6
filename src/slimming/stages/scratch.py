"""Stage `scratch`: the shape of a pruned network with fresh weights, to tell what the inherited ones are worth."""

from __future__ import annotations

import os
from pathlib import Path

from slimming import methods, networks, tensorfile
from slimming.measuring import cost
from slimming.networks.base import Network
from slimming.stages import table
from slimming.stages.job import Job, made, seeded, start

BUDGETS = {stage.options[-1]: stage.name for stage in table.made_by("scratch")}


def scratch(checkpoint: str | os.PathLike, prepared: str | os.PathLike, budget: str, folder: Path) -> None:
    """Train the shape of one pruned network from scratch, without a penalty: writes scratch[-compute]-<ratio>.

    budget: "epochs" for as many as the training had, "compute" for round(epochs * MACs dense / MACs pruned). They are
    Scratch-E and Scratch-B of Liu et al., "Rethinking the value of network pruning" (2019).
    """
    pruned, run, header = made(checkpoint, "pruned")
    job = Job(run, folder, BUDGETS[budget], header["ratio"], tensorfile.sha256(checkpoint))
    dataset = start(run, prepared)
    epochs = run.schedule.epochs
    if budget == "compute":
        image = tuple(dataset.train_images.shape[1:])
        dense = cost.of_spec(networks.whole(pruned.spec), "macs", image)
        epochs = round(epochs * dense / cost.macs(pruned, image))
    with seeded(run):
        net = fresh(pruned)
    with job.alone():
        outcome = job.train(net, dataset, methods.get("none"), epochs, first=0, prepared=prepared)
        job.finish(net, header["layers"], **outcome)


def fresh(pruned: Network) -> Network:
    """The shape of `pruned` with initial weights; which channels its gathers choose belongs to the shape."""
    net = networks.from_spec(pruned.spec)
    for site in net.sites:
        if site.select:
            net.get_submodule(site.select).load_state_dict(pruned.get_submodule(site.select).state_dict())
    return net
