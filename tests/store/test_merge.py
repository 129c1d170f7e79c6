"""Two people's changes to different methods merge into the ledger that collecting all their records would give."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

import synthetic
from slimming import ledger, records
from slimming.errors import InputError, SlimmingError
from slimming.schema import TABLES
from slimming.store import merge, provenance

GRID = {"networks": ("resnet20",), "seeds": (1, 2), "ratios": (0.4,), "finetuned": (0.4,)}


def git(root, *arguments, check=True):
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    done = subprocess.run(["git", *identity, *arguments], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0 or not check, done.stderr
    return done


def measure_again(path, commit):
    """Another accuracy in a record, as after a changed penalty at another commit."""
    record = records.read(path)
    record["measured"]["accuracy"] /= 2
    record["provenance"]["commit"] = commit
    records.write(path, record)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A study's records and ledger on `main`; git knows the merge driver."""
    root = tmp_path / "repository"
    root.mkdir()
    monkeypatch.chdir(root)
    synthetic.write(root, methods=("none", "l1", "lp-0.5"), **GRID)
    (root / ".gitattributes").write_text("results/*/*.csv merge=ledger\n")
    git(root, "init", "--quiet", "--initial-branch", "main")
    git(root, "config", "merge.ledger.driver", f"{sys.executable} -m slimming.cli merge %O %A %B %P")
    commit(root, "base")
    return root


def commit(root, message):
    ledger.write("synthetic", sorted(root.glob("results/*/records/**/*.json")), root / "results/synthetic")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", message)


def change(root, branch, *, again=(), added=(), removed=()):
    git(root, "switch", "--quiet", "--create", branch, "main")
    for method in again:
        for path in root.glob(f"results/*/records/*/*/{method}/**/*.json"):
            measure_again(path, f"{branch:0<40}")
    for method in added:
        synthetic.write(root, methods=(method,), **GRID)
    for method in removed:
        for path in root.glob(f"results/*/records/*/*/{method}"):
            shutil.rmtree(path)
    commit(root, branch)


@pytest.mark.slow
def test_changes_to_neighbouring_methods_merge_into_what_all_records_give(repository):
    """l1 and lp-0.5 stand next to each other in every file, and both people add a method at the same place."""
    change(repository, "one", again=["l1"], added=["mcp-500"])
    change(repository, "two", again=["lp-0.5"], added=["lp-0.75"])
    git(repository, "merge", "--quiet", "one")
    folder = repository / "results/synthetic"
    merged = {name: (folder / f"{name}.csv").read_bytes() for name in TABLES}
    ledger.write("synthetic", sorted(repository.glob("results/*/records/**/*.json")), folder)
    for name in TABLES:
        assert merged[name] == (folder / f"{name}.csv").read_bytes(), name
    methods = set(ledger.read(folder / "ledger.csv")["method"])
    assert methods == {"none", "l1", "lp-0.5", "lp-0.75", "mcp-500"}


@pytest.fixture
def versions(tmp_path):
    """Three folders with the same ledger: base, ours, theirs. Returns the records of each."""
    made = {}
    for name in ("base", "ours", "theirs"):
        made[name] = synthetic.write(tmp_path / name, methods=("none", "l1", "lp-0.5"), **GRID)
    return made


def collected(tmp_path, versions):
    """The three ledger.csv, where a merge takes its records' paths for the same."""
    files = []
    for name, paths in versions.items():
        ledger.write("synthetic", paths, tmp_path / name)
        file = tmp_path / name / "ledger.csv"
        file.write_text(file.read_text().replace(f"{tmp_path / name}/", ""))
        files.append(file)
    return files


def test_a_method_that_one_removed_and_the_other_left_is_removed(tmp_path, versions):
    versions["theirs"] = [path for path in versions["theirs"] if "/none/" not in str(path)]
    for path in versions["ours"]:
        if "/lp-0.5/" in str(path):
            measure_again(path, "2" * 40)
    base, ours, theirs = collected(tmp_path, versions)
    merge.merge(base, ours, theirs, "results/synthetic/ledger.csv")
    assert set(ledger.read(ours)["method"]) == {"l1", "lp-0.5"}


def test_the_same_measurement_changed_by_both_is_a_conflict_and_ours_stays(tmp_path, versions):
    measure_again(versions["ours"][0], "2" * 40)
    for _ in range(2):
        measure_again(versions["theirs"][0], "3" * 40)
    base, ours, theirs = collected(tmp_path, versions)
    before = ours.read_bytes()
    with pytest.raises(SlimmingError, match=r"results/synthetic/ledger.csv: both sides changed 1 row \(dataset digits"):
        merge.merge(base, ours, theirs, "results/synthetic/ledger.csv")
    assert ours.read_bytes() == before


def test_a_ledger_has_one_row_a_line_in_an_order_that_the_records_do_not_decide(repository):
    folder = repository / "results/synthetic"
    text = (folder / "ledger.csv").read_text()
    paths = sorted(repository.glob("results/*/records/**/*.json"))
    assert len(text.splitlines()) == 1 + len(paths)
    ledger.write("synthetic", reversed(paths), folder)
    assert (folder / "ledger.csv").read_text() == text


def job(rule, digest, *names):
    products = {name: provenance.Product(digest, 1.0, 2.0) for name in names}
    return provenance.Job(products, {"rule": rule, "params": [str([code_of(digest)])], "input": []})


def code_of(letter):
    """A digest of the package's code."""
    return letter * 16


def test_jobs_merge_by_product_and_what_both_made_again_stays_ours(tmp_path):
    versions = {
        "base": [job("train", "a", "l1"), job("train", "a", "lp"), job("tables", "a", "t1", "t2")],
        "ours": [job("train", "b", "l1"), job("train", "a", "lp"), job("tables", "b", "t1", "t2")],
        "theirs": [job("train", "a", "l1"), job("train", "c", "lp"), job("tables", "c", "t1", "t2")],
    }
    for name, jobs in versions.items():
        provenance.write(
            tmp_path / name, provenance.Provenance(jobs, {code_of(letter): letter for letter in "abc"}, [])
        )
    merge.merge(*(tmp_path / name for name in versions), "results/x/jobs.json")
    merged = provenance.read(tmp_path / "ours")
    assert merged.code == {code_of("b"): "b", code_of("c"): "c"}
    assert {name: product.sha256 for name, (product, _) in merged.products().items()} == {
        "l1": "b",
        "lp": "c",
        "t1": "b",
        "t2": "b",
    }


def test_only_files_of_a_ledger_are_merged(tmp_path):
    with pytest.raises(InputError, match=r"neither a ledger's table nor jobs.json"):
        merge.merge(tmp_path / "a", tmp_path / "b", tmp_path / "c", "results/x/tables/macs.csv")
