"""What a reader asks of stored results: what is done and why not, where a number comes from, whether it is true."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
import yaml
from project import ROOT, STUDY
from repository import NETWORK, Repository, alter

import tools
from slimming import code, datasets, tensorfile
from slimming.ledger import TABLES
from slimming.store import provenance

RECORD = "results/tiny/records/digits/vgg11/l1/seed1/pruned-0.5.json"
OTHER = "results/tiny/checkpoints/digits/vgg11/none/seed1/finetuned-0.5.safetensors"


@pytest.fixture
def ledger_only(complete, tmp_path) -> Repository:
    return complete.clone(tmp_path / "ledger-only")


def status(repository: Repository) -> str:
    return repository.slimming("status", STUDY)


def test_status_of_a_finished_study_is_done(here):
    lines = status(here).splitlines()
    assert re.fullmatch(r"\d+ products: \d+ done", lines[0])
    assert lines[1:] == ["nothing to run"]


def test_status_names_what_changed_by_content_and_counts_jobs(here, downstream):
    (here.root / "results/tiny/curves.csv").touch()
    here.edit(STUDY, "methods: [none, l1,", "methods: [none, {name: l1, lam: 0.004},")
    here.change("src/slimming/reporting/figures.py")
    here.edit("paper/refs.bib", "@", "% changed\n@")
    said = status(here)
    assert "stale   results/tiny/checkpoints/digits/vgg11/l1/seed1/trained.json and 1 more (train)" in said
    assert "setting method.lam 0.005 -> 0.004" in said
    assert "code slimming/reporting/figures.py" in said
    assert "input paper/refs.bib" in said or not tools.present("latexmk")
    assert "curves.csv" not in said
    planned = {"train": 1, "prune": 1, "finetune": 1, "scratch": 2, "measure": 1, **downstream}
    jobs = ", ".join(f"{rule} {count}" for rule, count in sorted(planned.items()))
    assert said.splitlines()[-1].startswith(f"to run: {sum(planned.values())} jobs ({jobs}), about 0.")


def test_status_names_what_is_missing_and_what_is_altered(here):
    (here.root / RECORD).unlink()
    alter(here.root / OTHER)
    said = status(here)
    assert f"missing {RECORD}" in said
    assert re.search(rf"^(altered|stale) +{OTHER}", said, re.MULTILINE)


def test_a_faulty_study_is_one_line(here):
    here.edit(STUDY, "name: mcp, a: 200", "name: mpc, a: 200")
    (line,) = here.slimming("status", STUDY, check=False).splitlines()
    assert "did you mean 'mcp'" in line


def test_trace_leads_from_a_cell_to_record_network_command_commit_and_machine(here):
    table = (here.root / "results/tiny/tables/accuracy-pruned.csv").read_text().splitlines()
    line = next(number for number, row in enumerate(table, 1) if row.startswith("digits,vgg11,l1,0.5,pruned,accuracy"))
    said = here.slimming("trace", f"results/tiny/tables/accuracy-pruned.csv:{line}")
    made = json.loads((here.root / RECORD).read_text())
    assert f"record      {RECORD}\n" in said
    assert f"{made['checkpoint']['sha256']}, here and whole" in said
    assert f"accuracy {made['measured']['accuracy']}\n" in said
    assert made["provenance"]["command"] in said
    assert f"torch {made['provenance']['versions']['torch']}" in said
    assert made["provenance"]["machine"]["processor"] in said
    assert made["parent"] in said


def test_trace_leads_from_every_macro_of_the_paper_to_rows_or_says_why_not(here):
    from slimming.errors import InputError
    from slimming.store import trace

    macros = json.loads((here.root / "results/tiny/paper/macros.json").read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here.root)
        for name, macro in macros.items():
            sums_up = macro["rows"].keys() in ({"item"}, {"claim", "level"})
            if sums_up or macro["value"] == "not attempted":
                with suppress(InputError):
                    assert len(trace.find(name).rows) > 0
                    assert not sums_up, name
                continue
            number = trace.find(name)
            assert macro["value"] in number.text
            shared = {
                key: value for key, value in macro["rows"].items() if key in ("dataset", "network", "stage", "ratio")
            }
            assert all(set(number.rows[key]) == {value} for key, value in shared.items())


def test_trace_without_records_says_what_the_ledger_and_the_jobs_know(ledger_only):
    said = ledger_only.slimming("trace", "results/tiny/ledger.csv:2")
    assert "not here: no remote has it: the default one, the folder ../slimming-store, is not there" in said
    assert "command     slimming " in said
    assert "versions.torch" in said


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        ("results/tiny/ledger.csv:1", "its numbers stand in lines 2 to"),
        ("results/tiny/none.csv:2", "no such CSV file"),
        ("results/tiny/provenance.csv:2", "no row of its own"),
    ],
)
def test_what_cannot_be_traced_is_refused_in_one_line(here, number, hint):
    (line,) = here.slimming("trace", number, check=False).splitlines()
    assert hint in line


def test_verify_makes_everything_again_to_the_byte_and_counts(here):
    lines = here.slimming("verify", STUDY).splitlines()
    networks = len(pd.read_csv(here.root / "results/tiny/ledger.csv"))
    ledgers, verdicts = len(TABLES), 1
    (count,) = re.fullmatch(r"compared (\d+), of which 0 differ", lines[-1]).groups()
    reports = [path for folder in ("tables", "metrics") for path in (here.root / "results/tiny" / folder).rglob("*.*")]
    reports += [*(here.root / "figures/tiny").iterdir()]
    reports += [*(here.root / "results/tiny/paper").iterdir(), *here.root.glob("results/tiny/paper.pdf")]
    assert int(count) == networks + ledgers + verdicts + len(reports)


def test_verify_names_every_difference_and_what_is_not_here_and_fails(here):
    table = "results/tiny/tables/macs.csv"
    here.edit(table, "none", "None")
    alter(here.root / OTHER)
    # Another network under this one's name, with the ledger's sha256 changed to match: it is measured, not only named.
    before = tensorfile.sha256(here.root / NETWORK)
    shutil.copy(here.root / NETWORK.replace("pruned-0.5", "pruned-0.3"), here.root / NETWORK)
    here.edit("results/tiny/ledger.csv", before, tensorfile.sha256(here.root / NETWORK))
    missing = RECORD.replace("pruned-0.5", "trained")
    (here.root / missing).unlink()
    (here.root / missing.replace("records", "checkpoints")).with_suffix(".safetensors").unlink()
    said = here.slimming("verify", STUDY, check=False)
    assert f"{table}: differs from what the stored ledger gives" in said
    assert f"{OTHER}: not the bytes that the ledger's sha256 stands for" in said
    (line,) = [line for line in said.splitlines() if line.startswith(NETWORK)]
    assert re.search(r"parameters \d+, not \d+; macs \d+, not \d+", line)
    assert "not compared: 8 (not stored here: 1 record)" in said
    assert "not compared: 1 (not stored here)" in said
    (differing,) = re.findall(r"compared \d+, of which (\d+) differ", said)
    assert int(differing) >= 3
    assert f"slimming: error: {differing} of" in said


def test_dvc_depends_on_what_the_workflow_depends_on(here):
    """A module that a job of the study imports is among its stage's deps, and nothing that none imports."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    known = provenance.read(here.root / "results/tiny/jobs.json")
    reported = {"tables", "figures", "claims", "paper"}
    for stage, rules in (("data", {"prepare"}), ("study", {job.record["rule"] for job in known.jobs} - reported)):
        asked = {Path(path) for path in stages[stage]["do"]["deps"] if path.startswith("src")}
        used = {
            Path("src", known.code[digest])
            for job in known.jobs
            if job.record["rule"] in rules
            for digest in provenance.digests(job.record)
        }
        if stage == "data":  # the tiny study has one of the data sets
            files = code.paths()
            modules = [datasets.module(name) for name in stages[stage]["foreach"]]
            used |= {Path("src", files[digest]) for module in modules for digest in code.closure(module)}
        assert {path for path in used if not asked.intersection([path, *path.parents])} == set()
        assert {path for path in asked if not any(path in (file, *file.parents) for file in used)} == set()


def test_dvc_shows_metrics_parameters_and_their_differences(here):
    here.edit(STUDY, "lam: 0.005", "lam: 0.004")
    metrics = "results/tiny/metrics/digits/vgg11/l1.json"
    content = json.loads((here.root / metrics).read_text())
    (here.root / metrics).write_text(json.dumps(content | {"trained": 0.5}))
    assert metrics in here.dvc("metrics", "show")
    (line,) = [line for line in here.dvc("metrics", "diff").splitlines() if line.startswith(metrics)]
    assert line.split()[1] == "trained"
    assert "0.005" in here.dvc("params", "diff")
    assert "study@tiny" in here.dvc("status")


def test_dvc_repro_runs_what_snakemake_would_and_deletes_nothing_before(here):
    here.edit(STUDY, "methods: [none, l1,", "methods: [none, {name: l1, lam: 0.004},")
    folder = here.root / "results/tiny/checkpoints"
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*.safetensors")}
    here.dvc("repro", "study@tiny")
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*.safetensors")}
    assert before.keys() == after.keys()
    assert {path.parts[-3] for path in before if before[path] != after[path]} == {"l1"}
    assert "up to date" in here.dvc("status", "study@tiny")


def test_dvc_plots_the_methods(here):
    here.dvc("plots", "show", "--out", "drawn")
    page = (here.root / "drawn/index.html").read_text()
    assert "share of channels removed" in page
    assert "mcp-200" in page
