"""Stored results: a clone that pulls has nothing to run, and knows what a change touches."""

from __future__ import annotations

import shutil

import pytest
from project import STUDY
from repository import Repository
from test_workflow import DOWNSTREAM

PAPER = {"paper": 1} if shutil.which("latexmk") else {}


@pytest.fixture(scope="module")
def published(complete, tmp_path_factory) -> Repository:
    """The tiny study in git and DVC, pushed to the default remote. Tests look at it and leave it as it is."""
    made = complete.copy(tmp_path_factory.mktemp("published") / "origin")
    made.dvc("push")
    return made


@pytest.fixture(scope="module")
def pulled(published) -> Repository:
    """A clone beside it that has pulled. Tests look at it and leave it as it is."""
    made = published.clone(published.root.parent / "pulled")
    made.dvc("pull")
    return made


@pytest.fixture
def clone(pulled, tmp_path) -> Repository:
    """A copy of the clone before anything ran in it, to change things in."""
    shutil.copytree(pulled.root, tmp_path / "clone", ignore=shutil.ignore_patterns(".snakemake"), symlinks=True)
    return Repository(tmp_path / "clone")


def test_clone_and_pull_then_nothing_to_do(clone):
    assert not (clone.root / ".snakemake").exists()
    assert "Nothing to be done" in clone.snakemake()
    assert clone.git("status", "--short") == ""
    assert "up to date" in clone.dvc("status")


def test_one_changed_strength_reruns_its_branch(clone):
    clone.edit(STUDY, "methods: [none, l1,", "methods: [none, {name: l1, lam: 0.004},")
    assert clone.planned() == {"train": 1, "prune": 1, "finetune": 1, "scratch": 2, **DOWNSTREAM}


def test_edited_figures_are_drawn_again_and_nothing_is_trained(clone):
    clone.edit("src/slimming/reporting/figures.py", "WIDTH = 6.3", "WIDTH = 6.2")
    assert clone.planned() == {"figures": 1} | PAPER


def test_edited_penalty_retrains_what_used_it(clone):
    clone.edit("src/slimming/penalties.py", "from __future__", "# changed\nfrom __future__")
    assert clone.planned() == {"train": 2, "prune": 2, "finetune": 2, "scratch": 4, **DOWNSTREAM}


def test_edited_data_code_prepares_again_and_retrains_all(clone):
    clone.edit("src/slimming/sources.py", "from __future__", "# changed\nfrom __future__")
    assert clone.planned()["prepare"] == 1


def test_changed_ledger_in_a_clone_is_collected_again(clone):
    """As after a merge of the ledger's lines: no time says so, only the content."""
    clone.edit("results/tiny/provenance.csv", "threads,1,", "threads,2,")
    assert clone.planned() == DOWNSTREAM


def test_ledger_alone_reports_again_what_is_edited_and_trains_nothing(published, tmp_path):
    made = published.clone(tmp_path / "ledger-only")
    made.edit("src/slimming/penalties.py", "from __future__", "# changed\nfrom __future__")
    made.edit("src/slimming/ledger.py", "from __future__", "# changed\nfrom __future__")
    made.edit("src/slimming/reporting/figures.py", "WIDTH = 6.3", "WIDTH = 6.2")
    targets = ["tables", "figures", *PAPER]
    assert made.planned(*targets) == {"tables": 1, "figures": 1} | ({"claims": 1, "macros": 1} | PAPER if PAPER else {})
