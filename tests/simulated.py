"""Ledgers whose truth is known: rows made up for a purpose, without records behind them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from slimming.schema import KEY, TABLES

DENSE = 10_000  # parameters


def rows(method: str, seed: int, curve: Mapping[tuple[str, float], tuple[float, int]], **panel: str) -> list[dict]:
    """Rows of one run from {(stage, ratio): (accuracy, parameters)}."""
    where = {"dataset": "digits", "network": "vgg11"} | panel | {"method": method, "seed": seed}
    return [
        {**where, "stage": stage, "ratio": ratio, "accuracy": accuracy, "parameters": parameters}
        for (stage, ratio), (accuracy, parameters) in curve.items()
    ]


def write(folder: Path, cells: pd.DataFrame | list[dict]) -> Path:
    """Write a ledger of `cells`: KEY, accuracy and parameters; bytes are four times those. Returns `folder`."""
    frame = pd.DataFrame(cells)
    filled = frame.assign(
        loss=1.0,
        nonzero=frame.get("nonzero", frame["parameters"]),
        macs=100 * frame["parameters"],
        bytes=4 * frame["parameters"],
        channels=10,
        ratio_reached=frame["ratio"],
        device="cpu",
        threads=1,
        checkpoint_sha256="0" * 64,
        record="made/up.json",
    )
    columns = list(TABLES["ledger"].columns)
    folder.mkdir(parents=True, exist_ok=True)
    filled.reindex(columns=columns).sort_values(KEY).to_csv(folder / "ledger.csv", index=False)
    return folder


def panels(folder: Path, differences: np.ndarray, methods: tuple[str, str] = ("l1", "tl1-1")) -> Path:
    """Write a ledger of (panels, seeds) differences in points: the second method minus the first, right after pruning.

    Each row of `differences` is a data set of its own. Seeds share a part that pairing must take out.
    """
    count, seeds = differences.shape
    index = pd.MultiIndex.from_product([range(count), range(1, seeds + 1)], names=["panel", "seed"])
    common = np.random.default_rng(99).normal(0.5, 0.02, count * seeds)
    frames = [
        pd.DataFrame({"accuracy": common + shift, "method": method}, index=index).reset_index()
        for method, shift in zip(methods, (0, differences.ravel() / 100), strict=True)
    ]
    cells = pd.concat(frames)
    names = {"dataset": cells["panel"].map("simulated{:05d}".format), "network": "vgg11"}
    return write(folder, cells.assign(**names, stage="pruned", ratio=0.5, parameters=DENSE).drop(columns="panel"))
