"""Stored numbers are computed again with today's code: equal ones carry a change over, others are named."""

from __future__ import annotations

import re

import pytest
from project import STUDY
from repository import Repository

from slimming.store import provenance

JOBS = "results/tiny/jobs.json"
DOUBLED = """
_exact = L1.subgradient
L1.subgradient = lambda self, gamma, lam: 2 * _exact(self, gamma, lam)
"""


def append(repository: Repository, path: str, code: str) -> None:
    """Append code to a file, and commit it."""
    with (repository.root / path).open("a") as stream:
        stream.write(code)
    repository.commit("Changed")


def on_another_machine(repository: Repository) -> None:
    """Let the ledger say so of its measurements."""
    path = repository.root / "results/tiny/provenance.csv"
    path.write_text(re.sub("machine.processor,[^,]*,", "machine.processor,Abacus,", path.read_text()))


@pytest.mark.slow
def test_a_change_that_changes_no_number_is_carried_over_and_said_for_ever(here):
    append(here, "src/slimming/penalties/base.py", "\nUNUSED = True\n")
    assert here.planned()["train"] == 2
    said = here.slimming("reaffirm", STUDY, "--changed")
    assert "a change of code touches 10" in said  # of two penalties: train, prune, finetune, two from scratch
    assert "all equal to the bit to what is stored" in said
    assert {rule for rule in here.planned()} <= {"page"}  # which says so from now on
    (entry,) = provenance.read(here.root / JOBS).reaffirmed
    assert (entry["jobs"], entry["of"], entry["seed"]) == (10, 20, 0)
    words = f"reaffirmed at {entry['commit'][:12]} by 10 of 20 jobs, sample seed 0: all equal to the bit"
    assert words in here.slimming("status", STUDY)
    assert words in here.slimming("trace", "results/tiny/ledger.csv:2")
    here.snakemake("page")
    assert words.capitalize()[:30] in (here.root / "results/tiny/report.html").read_text()


@pytest.mark.slow
def test_a_change_that_changes_numbers_is_named_and_changes_nothing(here):
    before = (here.root / JOBS).read_bytes()
    append(here, "src/slimming/penalties/l1.py", DOUBLED)
    said = here.slimming("reaffirm", STUDY, "--changed", "--epochs", "1", check=False)
    assert re.search(r"^curves.csv, digits vgg11 l1 1 0.0 trained 1: .*loss [\d.]+, not [\d.]+", said, re.MULTILINE)
    assert "mcp" not in said
    assert re.search(r"^slimming: error: .*differ: [0-9]+ figures? .*slimming/penalties/l1.py", said, re.MULTILINE)
    assert (here.root / JOBS).read_bytes() == before


@pytest.mark.slow
def test_on_another_machine_both_versions_of_the_code_run_and_are_compared(here):
    on_another_machine(here)
    append(here, "src/slimming/methods/penalised.py", "\nUNUSED = True\n")
    said = here.slimming("reaffirm", STUDY, "--changed", "--epochs", "1", "--sample", "4")
    assert "measured on another kind of machine than this one" in said
    assert re.search("all equal to the bit to the code of [0-9a-f]{12}, on another kind of machine", said)
    assert "train" not in here.planned()


def test_without_a_second_seed_nothing_says_how_far_machines_may_differ(here):
    on_another_machine(here)
    assert "the study has one seed" in here.slimming("reaffirm", STUDY, "--epochs", "1", check=False)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [((), "commit it"), (("--sample", "0"), "--sample"), (("--epochs", "none"), "--epochs")],
)
def test_what_cannot_be_reaffirmed_is_refused_in_one_line(here, arguments, hint):
    here.change("src/slimming/penalties/l1.py")
    said = here.slimming("reaffirm", STUDY, *arguments, check=False)
    assert hint in said.splitlines()[-1]
    assert "Traceback" not in said


def test_a_study_whose_code_has_not_changed_has_nothing_changed_to_compute(here):
    (line,) = here.slimming("reaffirm", STUDY, "--changed", check=False).splitlines()
    assert "no stored job whose code has changed to compute again" in line
