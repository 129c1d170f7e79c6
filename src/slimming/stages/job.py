"""What every stage of a run shares: where it writes, how it trains and resumes, and the draft of a record it leaves."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from slimming import checkpoints, code, data, datasets, methods, records, study, tensorfile
from slimming.errors import InputError
from slimming.networks.base import Network
from slimming.origin import doubts, origin
from slimming.stages import devices, locks, table
from slimming.study import Run
from slimming.training import engine, loop


class Job:
    """Where a job writes: checkpoint and draft of a stage and ratio, and the state that an interrupted one resumes."""

    def __init__(self, run: Run, folder: Path, stage: str, ratio: float = 0.0, parent: str | None = None):
        self.run, self.stage, self.ratio, self.parent = run, stage, ratio, parent
        self.stem = table.stem(stage, ratio)
        self.checkpoint, self.resume, self.draft, self.diverged = (
            folder / f"{self.stem}.{ending}" for ending in ("safetensors", "resume", "json", "diverged.json")
        )
        self.provenance = origin(device=run.device, threads=run.threads)

    def alone(self) -> AbstractContextManager[None]:
        """For all of a training: a Snakemake that was killed leaves its jobs behind, and the next one sends them again.

        The second waits, and goes on where the first has stopped.
        """
        return locks.alone(self.resume.with_suffix(".lock"), f"at work on {self.run.slug} {self.stem}")

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

    def finish(self, net: Network, layers: list[dict], **extra: object) -> None:
        """Save the checkpoint, and beside it the draft of its record: all but what is measured, `extra` included.

        The state of the training stays: whoever runs the jobs may not learn that this one has finished, and repeat it.
        """
        header = self.header(layers)
        checkpoints.save(self.checkpoint, net, header)
        draft = header | {"schema": records.SCHEMA, "provenance": self.provenance, "history": {}}
        draft |= {"checkpoint": {"sha256": tensorfile.sha256(self.checkpoint)}, **extra}
        draft["warnings"] = [*dict.fromkeys([*extra.get("warnings", ()), *doubts()])]
        records.write(self.draft, draft)
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
        files = code.closure(f"stages.{table.STAGES[self.stage].rule}", *code.kind(self.run))
        identity = " ".join(
            [self.stage, f"{self.ratio:g} {epochs} {self.parent} {images}", self.run.settings(), *files]
        )
        try:
            state = loop.train(
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
        except loop.DivergedError as error:
            failure = {"schema": records.SCHEMA, "error": str(error), "history": error.history}
            records.write(self.diverged, self.header([]) | failure | {"provenance": self.provenance})
            self.resume.unlink(missing_ok=True)  # or a repaired method would go on from there
            raise loop.DivergedError(f"{self.run.slug}: {error} (see {self.diverged})", error.history) from error
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
    size = run.image_size or datasets.get(run.dataset).image_size
    if (dataset.name, dataset.image_size) != (run.dataset, size):
        raise InputError(
            f"{prepared} holds {dataset.name} at {dataset.image_size} pixels, "
            f"the run {run.slug} asks for {run.dataset} at {size}"
        )
    return dataset


def made(checkpoint: str | os.PathLike, stage: str | None = None) -> tuple[Network, Run, dict]:
    """The network in `checkpoint`, its run and its header. InputError if no stage, or another than `stage`, left it."""
    net, header = checkpoints.load(checkpoint)
    if header.get("stage") not in ([stage] if stage else table.STAGES):
        raise InputError(
            f"{checkpoint}: a {stage or 'stored'} network is expected here, not {header.get('stage', 'another')}"
        )
    return net, study.parse_run(json.dumps(header["run"])), header
