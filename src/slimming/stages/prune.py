"""Stage `prune`: a trained network at every ratio of the study, right after the surgery."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from slimming import methods, pruning, tensorfile
from slimming.pruning import calibration
from slimming.stages.compression import Work
from slimming.stages.job import Job, made, start


def prune(
    checkpoint: str | os.PathLike,
    prepared: str | os.PathLike,
    ratios: Sequence[float],
    folder: Path,
    variants: Sequence[str] = (),
    budget: str | None = None,
    round_to: int = 1,
) -> None:
    """Prune one trained network at every ratio: writes pruned-<ratio>.safetensors and a draft for each.

    variants: stages of table.VARIANTS, written likewise, with the same channels removed. "compensated" folds their
    constants into the next layers; "recalibrated" takes BatchNorm's statistics anew.
    budget: what a ratio is a share of, one of pruning.budget.COUNTS; None: what the method counts. round_to: widths
    stay multiples of it.
    """
    net, run, _ = made(checkpoint, "trained")
    Path(checkpoint).with_suffix(".resume").unlink(missing_ok=True)  # being asked to prune it says that it is finished
    parent = tensorfile.sha256(checkpoint)
    dataset = start(run, prepared)
    method = methods.get(**run.method)
    image = tuple(dataset.test_images.shape[1:])
    asked = pruning.Budget(budget or method.counts, image, round_to)
    work = Work(run, dataset, folder, parent, asked)
    for stage, ratio in itertools.product(["pruned", *variants], ratios):
        plan = work.plan(method, net, ratio)
        small = pruning.apply(net, plan, compensate=image if stage == "compensated" else None)
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
        took = work.spent[ratio] | {"ratio_of": asked.of, "round_to": round_to}
        took |= {"found": plan.found} if plan.found else {}
        Job(run, folder, stage, ratio, parent).finish(small, layers, warnings=_floored(layers), compression=took)
        print(
            f"{stage}, ratio {ratio:g}: {sum(map(len, plan.values()))} of {sum(plan.channels.values())} channels kept",
            flush=True,
        )
    work.forget()


def _floored(layers: list[dict]) -> list[str]:
    names = [layer["site"] for layer in layers if layer["floored"]]
    if not names:
        return []
    return [f"the ranking left {', '.join(names)} without channels; the best one was kept"]
