"""Every profile is accepted by Snakemake and its plugins; the example for other batch systems runs a study."""

from __future__ import annotations

import os
import re

import pandas as pd
import pytest
import yaml

from cluster.conftest import ROOT, Project

PROFILES = sorted(path.parent.name for path in ROOT.glob("profiles/*/config.yaml"))
# What every profile must say: see profiles/default.
SHARED = {"max-checksum-file-size": "1TB", "rerun-incomplete": True, "printshellcmds": True, "scheduler": "greedy"}


@pytest.fixture
def project(tmp_path) -> Project:
    return Project(tmp_path, dict(os.environ))


@pytest.mark.parametrize("name", PROFILES)
def test_profile_plans_every_job_of_a_study(name, project):
    printed = project.snakemake("--workflow-profile", f"profiles/{name}", "--cores", "2", "--dry-run", "records")
    counts = dict(re.findall(r"^(\w+) +(\d+)$", printed, re.MULTILINE))
    assert counts == {"prepare": "1", "train": "2", "prune": "2", "finetune": "2", "records": "1", "total": "8"}


@pytest.mark.parametrize("name", PROFILES)
def test_profile_compares_content_and_continues_interrupted_work(name):
    profile = yaml.safe_load((ROOT / f"profiles/{name}/config.yaml").read_text())
    assert {key: profile[key] for key in SHARED} == SHARED
    assert profile["retries"] >= 1


def test_study_runs_through_the_example_for_other_batch_systems(project, by_hand):
    project.snakemake("--workflow-profile", "profiles/cluster-generic", "results/tiny/ledger.csv")
    made, wanted = (
        pd.read_csv(path)["checkpoint_sha256"]
        for path in (project.root / "results/tiny/ledger.csv", by_hand / "ledger.csv")
    )
    assert made.tolist() == wanted.tolist()
