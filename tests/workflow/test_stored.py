"""Stored results: a clone that pulls has nothing to run, and knows what a change touches."""

from __future__ import annotations

import shutil

import pytest
from project import STUDY
from repository import Repository

pytestmark = pytest.mark.tools


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


def test_a_checkout_with_other_line_ends_is_the_same_to_the_byte(published, tmp_path):
    published.git("-c", "core.autocrlf=true", "clone", "--quiet", str(published.root), str(tmp_path / "windows"))
    names = published.git("ls-files").splitlines()
    assert [
        name for name in names if (tmp_path / "windows" / name).read_bytes() != (published.root / name).read_bytes()
    ] == []


def test_one_changed_strength_reruns_its_branch(clone, downstream):
    clone.edit(STUDY, "methods: [none, l1,", "methods: [none, {name: l1, lam: 0.004},")
    assert clone.planned() == {"train": 1, "prune": 1, "finetune": 1, "scratch": 2, "measure": 1, **downstream}


def test_edited_figures_are_drawn_again_and_nothing_is_trained(clone):
    clone.change("src/slimming/reporting/figures.py")
    assert clone.planned() == clone.depending("figures")


def test_reworded_code_reruns_nothing(clone):
    for path in clone.root.glob("src/**/*.py"):
        clone.reword(path)
    assert clone.planned() == {}


def test_edited_penalty_retrains_what_used_it(clone, downstream):
    clone.change("src/slimming/penalties/l1.py")
    assert clone.planned() == {"train": 1, "prune": 1, "finetune": 1, "scratch": 2, "measure": 1, **downstream}


def test_edited_data_code_prepares_again_and_retrains_all(clone):
    clone.change("src/slimming/datasets/digits.py")
    assert clone.planned()["prepare"] == 1


def test_changed_ledger_in_a_clone_is_collected_again(clone, downstream):
    """As after a merge of the ledger's lines: no time says so, only the content."""
    clone.edit("results/tiny/provenance.csv", "threads,1,", "threads,2,")
    assert clone.planned() == downstream


def test_ledger_alone_reports_again_what_is_edited_and_trains_nothing(published, reports, tmp_path):
    made = published.clone(tmp_path / "ledger-only")
    for module in ("penalties/base", "ledger", "reporting/figures"):
        made.change(f"src/slimming/{module}.py")
    targets = [rule for rule in reports if rule in ("tables", "figures", "paper")]
    planned = made.planned(*targets)
    assert planned.items() <= reports.items()
    assert "figures" in planned
