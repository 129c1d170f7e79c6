"""The page on networks and images of one's own works as written, from a folder of images to the report."""

import csv
import re

import numpy as np
from PIL import Image
from project import ROOT

from slimming import checkpoints, foreign

PAGE = ROOT / "docs/use-your-own-network.md"


def draw(folder, count):
    """Images of bars that lie or stand, of several sizes."""
    generator = np.random.default_rng(0)
    for name in ("lying", "standing"):
        (folder / name).mkdir(parents=True)
        for place in range(count):
            pixels = generator.integers(0, 100, (24 + place % 5, 24, 3), dtype=np.uint8)
            line = generator.integers(4, 20)
            pixels[(slice(line, line + 2),) if name == "lying" else (slice(None), slice(line, line + 2))] += 150
            Image.fromarray(pixels).save(folder / name / f"{place}.png")


def test_an_own_network_on_own_images_goes_from_training_to_report(fresh):
    text = PAGE.read_text(encoding="utf-8")
    code, yaml = (re.search(rf"```{kind}\n(.*?)```", text, re.DOTALL)[1] for kind in ("python", "yaml"))
    (fresh.root / "networks.py").write_text(code, encoding="utf-8")
    (fresh.root / "config/own.yaml").write_text(yaml, encoding="utf-8")
    draw(fresh.root / "pictures", 80)
    fresh.snakemake("page", "tables", "figures", study="config/own.yaml")
    assert (fresh.root / "results/own/report.html").is_file()
    with (fresh.root / "results/own/ledger.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    stages = {"trained", "pruned", "recalibrated", "finetuned"}
    wanted = {(data, net, stage) for data in ("digits", "pets") for net in ("own", "coupled") for stage in stages}
    assert {(row["dataset"], row["network"], row["stage"]) for row in rows} == wanted
    trained = [float(row["accuracy"]) for row in rows if row["dataset"] == "digits" and row["stage"] == "trained"]
    assert min(trained) > 0.5
    macs = {(row["dataset"], row["network"], row["stage"]): int(row["macs"]) for row in rows}
    for data, net, stage in wanted:
        assert macs[data, net, stage] <= (1 if stage == "trained" else 0.5) * macs[data, net, "trained"]
    # Nothing runs again, until the function changes.
    assert "Nothing to be done" in fresh.snakemake("page", study="config/own.yaml")
    before = fresh.snakemake("--dry-run", "page", study="config/own.yaml")
    (fresh.root / "networks.py").write_text(code.replace("nn.SiLU()", "nn.ReLU()"), encoding="utf-8")
    after = fresh.snakemake("--dry-run", "page", study="config/own.yaml")
    assert "train" not in before
    assert re.search(r"train +4", after)
    (path,) = (fresh.root / "results/own/checkpoints/pets/coupled/l1/seed1").glob("pruned-0.5.safetensors")
    (fresh.root / "networks.py").write_text(code, encoding="utf-8")
    small, _ = checkpoints.load(path, foreign.get(f"{fresh.root}/networks.py:resnet18"))
    assert small.model[0].out_channels < 8 or small.spec["channels"]
