"""Every profile is accepted by Snakemake and its plugins; the example for other batch systems runs a study."""

from __future__ import annotations

import os
import re

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
    counts = dict(re.findall(r"^ ?(\w+) +(\d+) *$", printed, re.MULTILINE))
    each = dict.fromkeys(("train", "prune", "finetune", "measure"), "3")
    assert counts == {"prepare": "1", **each, "records": "1", "total": "14"}


@pytest.mark.parametrize("name", PROFILES)
def test_profile_compares_content_and_continues_interrupted_work(name):
    profile = yaml.safe_load((ROOT / f"profiles/{name}/config.yaml").read_text())
    assert {key: profile[key] for key in SHARED} == SHARED
    assert profile["retries"] >= 1


@pytest.mark.slow
def test_run_through_the_example_for_other_batch_systems_has_the_bits_of_a_local_one(project, by_hand):
    folder = "digits/vgg11/l1/seed1"
    quick = ("--seconds-between-status-checks", "1")
    target = f"results/tiny/records/{folder}/finetuned-0.5.json"
    project.snakemake("--workflow-profile", "profiles/cluster-generic", *quick, target)
    for stage in ("trained", "pruned-0.5", "finetuned-0.5"):
        made, wanted = (
            (root / f"checkpoints/{folder}/{stage}.safetensors").read_bytes()
            for root in (project.root / "results/tiny", by_hand)
        )
        assert made == wanted
