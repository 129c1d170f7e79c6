"""What every stage of a run shares: where it writes, how it trains and resumes, and the record it leaves."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from slimming import (
    checkpoints,
    code,
    data,
    devices,
    engine,
    locks,
    measure,
    methods,
    records,
    sources,
    study,
    tensorfile,
    training,
)
from slimming.errors import InputError
from slimming.networks.base import Network
from slimming.study import Run


class Job:
    """Where a job writes: checkpoint and record of a stage and ratio, and the state that an interrupted one resumes."""

    def __init__(self, run: Run, folders: tuple[Path, Path], stage: str, ratio: float = 0.0, parent: str | None = None):
        self.run, self.stage, self.ratio, self.parent = run, stage, ratio, parent
        stem = records.stem(stage, ratio)
        self.checkpoint = folders[0] / f"{stem}.safetensors"
        self.resume = folders[0] / f"{stem}.resume"
        self.record = folders[1] / f"{stem}.json"
        self.diverged = folders[1] / f"{stem}.diverged.json"
        self.provenance = records.provenance(device=run.device, threads=run.threads)

    def alone(self) -> AbstractContextManager[None]:
        """For all of a training: a Snakemake that was killed leaves its jobs behind, and the next one sends them again.

        The second waits, and goes on where the first has stopped.
        """
        return locks.alone(self.resume.with_suffix(".lock"), f"at work on {self.run.slug} {self.resume.stem}")

    def header(self, layers: list[dict]) -> dict:
        """What the checkpoint itself says: nothing of time or machine, so that its bytes can be repeated."""
        return {
            "study": self.run.study,
            "stage": self.stage,
            "ratio": self.ratio,
            "run": self.run.model_dump(mode="json", exclude_none=True),
            "parent": self.parent,
            "layers": layers,
        }

    def finish(self, net: Network, dataset: data.Dataset, layers: list[dict], **extra: object) -> None:
        """Save the checkpoint, measure the network in it, and write the record.

        The state of the training stays: whoever runs the jobs may not learn that this one has finished, and repeat it.
        """
        header = self.header(layers)
        checkpoints.save(self.checkpoint, net, header)
        # Not `net`: a training leaves another memory format than a surgery, and it shows in the latency.
        stored, _ = checkpoints.load(self.checkpoint)
        measured = measure.measure(stored.to(dataset.test_labels.device), dataset, self.checkpoint)
        channels, kept = (sum(layer[key] for layer in layers) for key in ("channels", "kept"))
        measured["ratio_reached"] = 1 - kept / channels
        history = extra.get("history") or {}
        measured["accuracy_best"] = max(measured["accuracy"], *history["test_accuracy"]) if history else None
        checkpoint = {"path": self.checkpoint.as_posix(), "sha256": tensorfile.sha256(self.checkpoint)}
        record = header | {"schema": records.SCHEMA, "measured": measured, "provenance": self.provenance}
        record |= {"history": history, "warnings": [], "checkpoint": checkpoint, **extra}
        records.write(self.record, record)
        self.diverged.unlink(missing_ok=True)
        for file in (self.checkpoint, self.resume):
            for left in file.parent.glob(f".{file.name}.*"):  # by a kill in mid-write
                shutil.rmtree(left)

    def train(
        self,
        net: Network,
        dataset: data.Dataset,
        method: methods.Method,
        epochs: int,
        first: int,
        prepared: str | os.PathLike,
    ) -> dict:
        """Train `net` in place on what `start` loaded from the file `prepared`; history and figures of the training.

        A divergence leaves a record before it raises.
        """
        schedule = self.run.schedule
        images = tensorfile.sha256(prepared)
        stage = {"trained": "train", "finetuned": "finetune"}.get(self.stage, "scratch")
        files = code.closure(f"stages.{stage}", *code.kind(self.run))
        identity = " ".join(
            [self.stage, f"{self.ratio:g} {epochs} {self.parent} {images}", self.run.settings(), *files]
        )
        try:
            state = training.train(
                net,
                dataset,
                schedule,
                method,
                self.run.seed,
                epochs,
                self.resume,
                identity,
                first_epoch=first,
                machine=self.run,
            )
        except training.DivergedError as error:
            failure = {"schema": records.SCHEMA, "error": str(error), "history": error.history}
            records.write(self.diverged, self.header([]) | failure | {"provenance": self.provenance})
            self.resume.unlink(missing_ok=True)  # or a repaired method would go on from there
            raise training.DivergedError(f"{self.run.slug}: {error} (see {self.diverged})", error.history) from error
        shown = epochs * len(dataset.train_labels)
        figures = {"epochs": epochs, "seconds": state.seconds, "images_per_second": shown / state.seconds}
        return {"history": state.history, "training": figures, "data": images}


@contextlib.contextmanager
def seeded(run: Run) -> Iterator[None]:
    """A network built in here is initialised from the run's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        yield


def start(run: Run, prepared: str | os.PathLike) -> data.Dataset:
    """Fix what decides a run's bits, and load its data."""
    if run.device == "cuda":
        devices.claim()
    engine.set_up(run)
    dataset = data.load(prepared, run.device)
    size = run.image_size or sources.get(run.dataset).image_size
    if (dataset.name, dataset.image_size) != (run.dataset, size):
        raise InputError(
            f"{prepared} holds {dataset.name} at {dataset.image_size} pixels, "
            f"the run {run.slug} asks for {run.dataset} at {size}"
        )
    return dataset


def made(checkpoint: str | os.PathLike, stage: str) -> tuple[Network, Run, dict]:
    """The network that `stage` left in `checkpoint`, its run and its header. InputError for any other checkpoint."""
    net, header = checkpoints.load(checkpoint)
    if header.get("stage") != stage:
        raise InputError(f"{checkpoint}: a {stage} network is expected here, not {header.get('stage', 'another')}")
    return net, study.parse_run(json.dumps(header["run"])), header
