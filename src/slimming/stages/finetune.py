"""Stage `finetune`: a pruned network trained again with the full schedule and no penalty."""

from __future__ import annotations

import os
from pathlib import Path

from slimming import methods, tensorfile
from slimming.stages.job import Job, made, start


def finetune(checkpoint: str | os.PathLike, prepared: str | os.PathLike, epochs: int | None, folder: Path) -> None:
    """Train one pruned network again with the full schedule and no penalty: writes finetuned-<ratio>."""
    net, run, pruned = made(checkpoint, "pruned")
    job = Job(run, folder, "finetuned", pruned["ratio"], tensorfile.sha256(checkpoint))
    dataset = start(run, prepared)
    # Epochs go on counting, so that fine-tuning does not see the orders and crops of the training again.
    first = run.schedule.epochs
    method = methods.get(**run.method).finetuning()
    with job.alone():
        outcome = job.train(net, dataset, method, epochs or first, first, prepared)
        job.finish(net, pruned["layers"], **outcome)
