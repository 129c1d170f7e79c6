"""One network, without a study file and without Snakemake: from a network and images to a small network and a page.

It is a study of one run, and its folder looks like one: checkpoints/, records/, the ledger, report.html, the exported
file. A step whose product lies there, made with the same settings, is not done again; an interrupted training goes on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from slimming import checkpoints, data, ledger, networks
from slimming import study as studies
from slimming.errors import InputError
from slimming.reporting import page
from slimming.stages import export, finetune, measure, prune, train
from slimming.study import Run

NETWORK = "network"


class Asked(NamedTuple):
    """What one network is to become.

    network     its settings as in a study: {"build": ..., "state_dict": ..., "selection": ...}
    images      {"name": of a published data set}, or {"folder" or "npz": ..., "image_size": ...}
    method      as in a study: {"name": "l1", "lam": 1e-4}
    epochs      of training with the method; 0: the weights are taken as they are
    finetuned   epochs of fine-tuning; 0: none
    """

    network: dict[str, Any]
    images: dict[str, Any]
    method: dict[str, Any]
    budget: str
    ratio: float
    epochs: int
    finetuned: int
    lr: float
    kind: str


def compress(asked: Asked, folder: str | os.PathLike) -> Iterator[str]:
    """Do all that `asked` asks for in `folder`; a line for each step, and in the end what came out.

    InputError as the stages raise it, and for weights that are to be taken as they are but are not there.
    """
    folder = Path(folder)
    run = _run(asked)
    networks.allow(run.architecture["name"])
    steps = ["trained", f"pruned-{asked.ratio:g}", f"recalibrated-{asked.ratio:g}"]
    steps += [f"finetuned-{asked.ratio:g}"] if asked.finetuned else []
    places = {name: folder / "checkpoints" / run.slug / f"{name}.safetensors" for name in steps}
    place, prepared = places["trained"].parent, folder / f"{run.dataset}.safetensors"
    start = train.train if asked.epochs else train.take
    work: list[tuple[str, Callable[[], None]]] = [
        ("trained", lambda: start(run, prepared, place)),
        (
            steps[2],
            lambda: prune.prune(places["trained"], prepared, [asked.ratio], place, ["recalibrated"], asked.budget),
        ),
    ]
    if asked.finetuned:
        work.append((steps[3], lambda: finetune.finetune(places[steps[1]], prepared, asked.finetuned, place)))
    if not prepared.is_file():
        data.prepare(run.dataset, folder, prepared)
    yield f"images: {prepared}"
    fresh = False
    for name, make in work:
        fresh = fresh or not _stands(places[name], run)
        if fresh:
            make()
        yield f"{name}: {places[name]}"
    records = folder / "records" / run.slug
    measure.measure([places[name] for name in steps], prepared, records)
    ledger.write(run.study, [records / f"{name}.json" for name in steps], folder)
    page.write(folder, folder / "report.html")
    yield f"report: {folder / 'report.html'}"
    small = places[steps[-1]]
    yield from export.lines(export.export(small, prepared, asked.kind, folder / f"{NETWORK}.{asked.kind}"))


def _run(asked: Asked) -> Run:
    images = dict(asked.images)
    name = images.pop("name", "images")
    content = {
        "name": "compressed",
        "datasets": {name: images},
        "networks": {NETWORK: asked.network},
        "methods": [asked.method],
        "seeds": [1],
        "ratios": [asked.ratio],
        "budget": asked.budget,
        "threads": os.cpu_count(),
        "schedule": {"epochs": max(1, asked.epochs), "lr": asked.lr},
    }
    (run,) = studies.parse(content, "compress").runs()
    if not asked.epochs and not run.architecture.get("state_dict"):
        raise InputError("without weights (--state-dict) the network has to be trained: give --epochs")
    return run


def _stands(path: Path, run: Run) -> bool:
    """Whether the checkpoint lies there, of the same run."""
    if not path.is_file():
        return False
    _, header = checkpoints.load(path)
    return header["run"] == run.model_dump(mode="json", exclude_none=True)
