"""Records of a study that never ran: plausible random numbers, to test reporting without training."""

from __future__ import annotations

import hashlib
import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slimming import ledger, records
from slimming.stages import table

METHODS = {
    "none": {"name": "none"},
    "l1": {"name": "l1", "lam": 0.002},
    "lp-0.5": {"name": "lp", "p": 0.5, "lam": 0.002},
    "lp-0.75": {"name": "lp", "p": 0.75, "lam": 0.002},
    "tl1-1": {"name": "tl1", "a": 1.0, "lam": 0.002},
    "mcp-500": {"name": "mcp", "a": 500.0, "lam": 0.002},
    "scad-500": {"name": "scad", "a": 500.0, "lam": 0.002},
}
SITES = {"vgg19": 16, "densenet16": 13, "resnet20": 19, "resnet164": 19}
RATIOS = (0.2, 0.4, 0.6, 0.8)
FINETUNED = (0.4, 0.8)
READER = {"form": None, "rank": None, "kernels": 64, "kernels_nonzero": 60}
PLANNED = [stage.name for stage in table.made_by("prune")]
EPOCHS = 15
CLASSES = 10
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def write(
    root: Path,
    study: str = "synthetic",
    datasets: Sequence[str] = ("digits",),
    networks: Sequence[str] = ("vgg19", "densenet16", "resnet20"),
    methods: Sequence[str] = tuple(METHODS),
    seeds: Sequence[int] = (1, 2, 3),
    ratios: Sequence[float] = RATIOS,
    finetuned: Sequence[float] = FINETUNED,
    scratch: Sequence[float] = (),
    variants: bool = False,
) -> list[Path]:
    """Write the records of a study below `root` as the jobs lay them out, and return their paths."""
    paths = []
    for dataset, network, method, seed in itertools.product(datasets, networks, methods, seeds):
        folder = root / "results" / study / "records" / dataset / network / method / f"seed{seed}"
        made = {"trained": (0.0,), "pruned": ratios, "finetuned": finetuned}
        made |= dict.fromkeys(table.VARIANTS, ratios if variants else ())
        made |= {stage.name: scratch for stage in table.made_by("scratch")}
        for stage, ratio in [(each, ratio) for each in table.STAGES for ratio in made[each]]:
            path = folder / f"{table.stem(stage, ratio)}.json"
            records.write(path, record(study, dataset, network, method, seed, stage, ratio))
            paths.append(path)
    return paths


def small_study(folder: Path, records_too: bool = True, **grid: object) -> Path:
    """A folder with the ledger of a small study, and the records that it names if these are kept."""
    methods = ("none", "l1", "lp-0.75", "tl1-1")
    paths = write(folder, networks=("vgg19", "resnet20"), methods=methods, seeds=(1, 2), **grid)
    directory = folder / "results" / "synthetic"
    ledger.write("synthetic", paths, directory)
    if not records_too:
        shutil.rmtree(directory / "records")
    return directory


def forgo(path: Path, reason: str) -> None:
    """Let the record at `path` say that its network was not made."""
    made = records.read(path)
    run = {key: made["run"][key] for key in ("dataset", "network", "method_slug", "seed")}
    kept = {key: made[key] for key in ("schema", "study", "stage", "ratio")}
    records.write(path, kept | {"run": run, "missing": reason})


def record(study: str, dataset: str, network: str, method: str, seed: int, stage: str, ratio: float) -> dict:
    """One record; the same arguments give the same numbers."""
    identity = f"{study}/{dataset}/{network}/{method}/{seed}/{stage}/{ratio}"
    digest = hashlib.sha256(identity.encode()).hexdigest()
    rng = np.random.default_rng(int(digest[:12], 16))
    accuracy = _accuracy(method, stage, ratio, rng)
    layers = _layers(network, method, stage, ratio, rng)
    channels = sum(layer["kept"] for layer in layers)
    share = channels / sum(layer["channels"] for layer in layers)
    dense = {"vgg19": 320_000, "densenet16": 21_000}.get(network, 45_000)
    epochs = 0 if stage in table.UNTRAINED else EPOCHS
    parameters, macs = int(dense * share**1.8) + 500, int(60 * dense * share**1.6) + 5000
    planned = {"ratio_of": "channels", "round_to": 1, "seconds": 0.02, "passes": 0.0}
    return {
        "schema": records.SCHEMA,
        "study": study,
        "stage": stage,
        "ratio": ratio,
        "run": {
            "study": study,
            "dataset": dataset,
            "image_size": 16,
            "network": network,
            "architecture": {"name": network, "width": 0.125},
            "method": METHODS.get(method, {"name": method.partition("-")[0], "lam": 0.0001}),
            "method_slug": method,
            "seed": seed,
            "schedule": {
                "epochs": EPOCHS,
                "batch_size": 64,
                "lr": 0.1,
                "milestones": [0.5, 0.75],
                "weight_decay": 1e-4,
            },
            "threads": 1,
        },
        "measured": {
            "accuracy": accuracy,
            "accuracy_top5": (1 + accuracy) / 2,
            "accuracy_best": min(1.0, accuracy + 0.004) if epochs else None,
            "accuracy_per_class": np.clip(accuracy + rng.normal(0, 0.02, CLASSES), 0, 1).tolist(),
            "loss": 2.4 * (1 - accuracy) + 0.05,
            "parameters": parameters,
            "nonzero": parameters - 10,
            "macs": macs,
            "macs_nonzero": macs,
            "compression_ratio": (dense + 500) / (parameters - 10),
            "speedup": (60 * dense + 5000) / macs,
            "bytes": 4 * int(dense * share**1.8) + 9000,
            "channels": channels,
            "ratio_reached": 1 - share,
            "readers": {layer["site"]: READER for layer in layers},
            "latency_ms": {
                batch: {"median": m, "q25": 0.96 * m, "q75": 1.07 * m, "repeats": 200}
                for batch, m in (
                    ("1", 0.4 + share * rng.uniform(1, 1.1)),
                    ("64", 4 + 16 * share * rng.uniform(1, 1.1)),
                )
            },
        },
        "history": _history(epochs, accuracy, rng) if epochs else {},
        "layers": layers,
        **({"factors": _factors(method, rng)} if stage == "trained" else {}),
        **({"compression": planned} if stage in PLANNED else {}),
        **({"training": {"epochs": epochs, "seconds": float(rng.uniform(5, 9))}} if epochs else {}),
        "warnings": [f"{method} with lam=0.0001 cannot act_here: 50% & more"] if method == "mcp-500" else [],
        "checkpoint": {"path": f"results/{study}/checkpoints/{digest[:8]}.safetensors", "sha256": digest},
        "parent": None if stage == "trained" else digest[::-1],
        "provenance": {
            "command": "slimming train",
            "commit": COMMIT,
            "versions": {"python": "3.11.0", "torch": "2.13.0"},
            "machine": {"processor": "Example(R) CPU_1 & co", "cores": 2, "system": "Linux x86_64"},
            "device": "cpu",
            "threads": 1,
            "started": f"2026-01-01T00:00:{seed:02d}+00:00",
        },
    }


def _accuracy(method: str, stage: str, ratio: float, rng: np.random.Generator) -> float:
    top = 0.975 + rng.normal(0, 0.006)
    if stage not in ("trained", *table.UNTRAINED):
        top -= 0.02 * ratio**2
    if stage in table.UNTRAINED:
        knee = {"none": 0.15, "l1": 0.5, "tl1": 0.72, "lp": 0.62}.get(method.partition("-")[0], 0.42)
        top = 0.1 + (top - 0.1) / (1 + np.exp((ratio - knee - rng.normal(0, 0.03)) / 0.05))
    if stage in table.VARIANTS:
        top += 0.3 * (0.97 - top)
    return float(np.clip(top, 0, 1))


def _layers(network: str, method: str, stage: str, ratio: float, rng: np.random.Generator) -> list[dict]:
    sites, widths = SITES.get(network, 40), (8, 16, 32, 64)
    layers = []
    for position in range(sites):
        channels = widths[position * len(widths) // sites]
        tilt = 0.7 + 0.6 * position / sites
        kept = channels if stage == "trained" else round(channels * (1 - min(1, ratio * tilt * rng.uniform(0.9, 1.1))))
        layers.append({"site": f"norms.{position}", "channels": channels, "kept": max(1, kept), "floored": kept < 1})
    return layers


def _factors(method: str, rng: np.random.Generator) -> dict:
    centre = {"none": -0.3, "l1": -1.2, "lp": -3.0, "tl1": -2.6}.get(method.partition("-")[0], -0.9)
    values = np.concatenate([rng.normal(centre, 0.5, 300), rng.normal(-0.35, 0.15, 200)])
    counts, edges = np.histogram(np.clip(values, -6, 1), bins=56, range=(-6, 1))
    return {"log10_edges": edges.round(6).tolist(), "counts": counts.tolist()}


def _history(epochs: int, accuracy: float, rng: np.random.Generator) -> dict:
    epoch = np.arange(1, epochs + 1)
    rise = accuracy * (1 - np.exp(-epoch / 3)) + rng.normal(0, 0.01, epochs)
    return {
        "lr": [0.1 if e <= epochs / 2 else 0.01 for e in epoch],
        "loss": (2.3 * np.exp(-epoch / 3) + 0.02 + rng.uniform(0, 0.02, epochs)).tolist(),
        "accuracy": np.clip(rise + 0.01, 0, 1).tolist(),
        "test_loss": (2.3 * np.exp(-epoch / 3) + 0.1 + rng.uniform(0, 0.03, epochs)).tolist(),
        "test_accuracy": np.clip(rise, 0, 1).tolist(),
    }
