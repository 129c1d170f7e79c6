"""Analyses in a study: from networks to tables, verdicts and figures, and again where their code changes."""

from __future__ import annotations

import csv

import pytest

STUDY = """
name: looked
datasets: {digits: }
networks: {vgg11: {width: 0.0625}}
methods: [none]
seeds: [1]
ratios: [0.5]
analyses: [ablation]
claims: [unit-ablation]
schedule: {epochs: 1}
"""


@pytest.mark.slow
def test_a_study_s_analyses_are_judged_and_follow_their_code(fresh):
    (fresh.root / "config/looked.yaml").write_text(STUDY)
    asked = ("tabulate", "draw", "claims")
    fresh.snakemake(*asked, study="config/looked.yaml")
    with (fresh.root / "results/looked/claims.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["level"] == "comparison" and row["treatment"] == "none"]
    assert {row["seeds"] for row in rows} == {"1"}
    assert {row["metric"] for row in rows} >= {"largest-drop", "largest-class-drop"}
    assert (fresh.root / "figures/looked/damage-digits.svg").is_file()
    assert "Nothing to be done" in fresh.snakemake(*asked, study="config/looked.yaml")
    fresh.change("src/slimming/analyses/ablation.py")
    planned = fresh.snakemake("--dry-run", *asked, study="config/looked.yaml")
    assert "analyse " in planned
    assert "train " not in planned
    # The same measures, which may be said in other words now.
    fresh.snakemake("tabulate", study="config/looked.yaml")
    assert "claims " in fresh.snakemake("--dry-run", "claims", study="config/looked.yaml")
