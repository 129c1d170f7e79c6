"""The stages of a run as data: rules, ledger, claims, figures, page and plans read this table, and none names its own.

A stage is a line here, the command that makes it, and the study's key that asks for it. Imports no torch.
"""

from __future__ import annotations

from typing import NamedTuple


class Stage(NamedTuple):
    """A step of a run that leaves a network.

    name     in file names, in the ledger
    parent   the stage whose network it starts from; None: from none
    rule     the workflow's rule and the command (`slimming <rule>`) that make it
    options  of the command, where it makes several stages
    key      of the study, which asks for it: true or false for all ratios, or a mapping with its own; None: always made
    trains   whether it has epochs
    words    what captions and axes call it
    """

    name: str
    parent: str | None
    rule: str
    options: tuple[str, ...]
    key: str | None
    trains: bool
    words: str


_TABLE = (
    # The dense network.
    Stage("trained", None, "train", (), None, True, "before pruning"),
    # The same without the channels that a ratio removes.
    Stage("pruned", "trained", "prune", (), None, False, "right after pruning"),
    # With the same channels removed, and their constants folded into the biases of what reads them.
    Stage("compensated", "trained", "prune", ("--compensate",), "compensate", False, "compensated"),
    # With the same channels removed, and the statistics of BatchNorm layers taken anew.
    Stage("recalibrated", "trained", "prune", ("--recalibrate",), "recalibrate", False, "recalibrated"),
    # The pruned network trained again without a penalty.
    Stage("finetuned", "pruned", "finetune", (), "finetune", True, "after fine-tuning"),
    # The pruned network's shape with fresh weights, trained without a penalty for the epochs of the training.
    Stage("scratch", "pruned", "scratch", ("--budget", "epochs"), "scratch", True, "scratch (epochs)"),
    # The same for more epochs, so that it costs as much compute as the training.
    Stage("scratch-compute", "pruned", "scratch", ("--budget", "compute"), "scratch", True, "scratch (compute)"),
)
STAGES = {stage.name: stage for stage in _TABLE}
LATER = tuple(name for name, stage in STAGES.items() if stage.parent)  # these have a ratio
VARIANTS = tuple(name for name, stage in STAGES.items() if stage.rule == "prune" and stage.key)  # of pruning
UNTRAINED = tuple(name for name, stage in STAGES.items() if not stage.trains)
RULES = tuple(dict.fromkeys(stage.rule for stage in _TABLE))


def made_by(rule: str) -> list[Stage]:
    """The stages that a rule makes."""
    return [stage for stage in _TABLE if stage.rule == rule]


def stem(stage: str, ratio: float = 0.0) -> str:
    """Name, without suffix, of a stage's checkpoint and record: "trained", "pruned-0.5", "finetuned-0.5"."""
    return f"{stage}-{ratio:g}" if STAGES[stage].parent else stage
