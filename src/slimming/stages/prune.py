"""Stage `prune`: a trained network at every ratio of the study, measured right after the surgery."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from slimming import calibration, methods, pruning, tensorfile
from slimming.stages.job import Job, made, start


def prune(
    checkpoint: str | os.PathLike,
    prepared: str | os.PathLike,
    ratios: Sequence[float],
    folders: tuple[Path, Path],
    variants: Sequence[str] = (),
) -> None:
    """Prune one trained network at every ratio: writes pruned-<ratio>.safetensors and .json for each.

    variants: stages of records.VARIANTS, written likewise, with the same channels removed. "compensated" folds their
    constants into the next layers; "recalibrated" takes BatchNorm's statistics anew.
    """
    net, run, _ = made(checkpoint, "trained")
    Path(checkpoint).with_suffix(".resume").unlink(missing_ok=True)  # being asked to prune it says that it is finished
    parent = tensorfile.sha256(checkpoint)
    dataset = start(run, prepared)
    method = methods.get(**run.method)
    scores, image = method.scores(net), tuple(dataset.test_images.shape[1:])
    for stage, ratio in itertools.product(["pruned", *variants], ratios):
        plan = pruning.plan(scores, ratio, removals=method.removals(net, ratio))
        small = pruning.apply(method.sparsify(net, ratio), plan, compensate=image if stage == "compensated" else None)
        if stage == "recalibrated":
            # On orders and crops that the training has not seen.
            small = calibration.recalibrate(small, dataset, run.seed, epoch=run.schedule.epochs)
        layers = [
            {
                "site": site,
                "channels": plan.channels[site],
                "kept": len(kept),
                "floored": site in plan.floored,
            }
            for site, kept in plan.items()
        ]
        Job(run, folders, stage, ratio, parent).finish(small, dataset, layers, warnings=_floored(layers))
        print(
            f"{stage}, ratio {ratio:g}: {sum(map(len, plan.values()))} of {sum(plan.channels.values())} channels kept",
            flush=True,
        )


def _floored(layers: list[dict]) -> list[str]:
    names = [layer["site"] for layer in layers if layer["floored"]]
    if not names:
        return []
    return [f"the ranking left {', '.join(names)} without channels; the best one was kept"]
