"""The workflow runs from data to paper, runs nothing twice, and reruns what a change touches and no more."""

import contextlib
import json
import os
import pty
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
from project import STUDY

import tools
from slimming.reporting import figures, tables
from slimming.stages.table import STAGES

TIMES = ["seconds", "compression_seconds", "latency_ms"]  # columns of the ledger that no code decides


def files(root, pattern):
    """{path: (content, time)} below `root`."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.glob(pattern) if path.is_file()}


def said_to_lie_there(printed):
    """{what: path} of what the end of a run names."""
    what = ("page", "paper", "ledger", "tables", "figures")
    return dict(line.split(maxsplit=1) for line in printed.splitlines() if line.startswith(what))


@pytest.mark.tools
def test_study_runs_from_data_to_ledger_tables_and_figures(finished):
    results = finished.root / "results/tiny"
    ledger = pd.read_csv(results / "ledger.csv")
    assert len(ledger) == 3 * (1 + 2 + 2 + 2 + 1 + 2)
    assert set(ledger["stage"]) == set(STAGES)
    assert set(ledger["method"]) == {"none", "l1", "mcp-200"}
    for row in ledger.itertuples():
        record = json.loads((finished.root / row.record).read_text())
        assert record["measured"]["accuracy"] == row.accuracy
        assert record["checkpoint"]["sha256"] == row.checkpoint_sha256
        assert (finished.root / record["checkpoint"]["path"]).is_file()
    assert {path.stem for path in (results / "tables").glob("*.csv")} == {*tables.TABLES, *tables.LISTINGS}
    drawn = {path.name for path in (finished.root / "figures/tiny").iterdir()}
    assert drawn == {f"{name}-digits.{kind}" for name in figures.FIGURES for kind in ("svg", "pdf", "png")}


@pytest.mark.tools
@tools.needs("latexmk")
def test_paper_is_typeset(finished):
    from pypdf import PdfReader

    text = "".join(page.extract_text() for page in PdfReader(finished.root / "results/tiny/paper.pdf").pages)
    assert "tiny" in text
    assert "??" not in text


@pytest.mark.tools
def test_a_second_run_has_nothing_to_do(finished):
    assert "Nothing to be done" in finished.snakemake()


def test_new_times_alone_rerun_nothing(again):
    for path in [*again.root.glob("src/**/*.py"), *again.root.glob("results/**/*.safetensors")]:
        path.touch()
    assert again.planned() == {}


@pytest.mark.tools
def test_ledger_alone_is_enough_for_tables_figures_and_paper(again, reports):
    """As in a clone that pulled nothing: no checkpoints, records, data or memory of earlier runs; all sources newer."""
    for folder in (
        "results/tiny/checkpoints",
        "results/tiny/records",
        "results/tiny/tables",
        "data",
        ".snakemake",
        "figures",
        "results/tiny/paper",
    ):
        shutil.rmtree(again.root / folder)
    for name in ("claims.csv", "report.html"):
        (again.root / "results/tiny" / name).unlink()
    for path in again.root.rglob("*.py"):
        path.touch()
    (again.root / "results/tiny/paper.pdf").unlink(missing_ok=True)
    assert again.planned(*reports) == reports
    printed = again.snakemake("tables")
    assert said_to_lie_there(printed) == {"ledger": "results/tiny/ledger.csv", "tables": "results/tiny/tables"}
    again.snakemake(*reports)


def test_reworded_reformatted_and_moved_code_reruns_nothing(again):
    """A comment and another docstring in every file, other line ends, and a module in another place."""
    for path in again.root.glob("src/**/*.py"):
        text = path.read_text()
        start = text.index('"""') + 3
        path.write_bytes(f"# A comment.\n{text[:start]}Reworded. {text[start:]}".replace("\n", "\r\n").encode())
    (module,) = again.root.glob("src/slimming/**/calibration.py")
    module.rename(again.root / "src/slimming/stages/calibration.py")
    again.edit(
        "src/slimming/stages/prune.py",
        f"from slimming.{module.parent.name} import calibration",
        "from slimming.stages import calibration",
    )
    assert "Nothing to be done" in again.snakemake("--dry-run")


def test_what_would_train_the_same_network_takes_it(again, downstream):
    again.edit(STUDY, "methods: [none, l1,", "methods: [none, random,")
    assert again.planned() == {"train": 1, "prune": 1, "finetune": 1, "scratch": 2, "measure": 1, **downstream}
    again.snakemake("records")
    trained = [
        json.loads((again.root / f"results/tiny/checkpoints/digits/vgg11/{name}/seed1/trained.json").read_text())
        for name in ("none", "random")
    ]
    assert trained[1]["parent"] == trained[0]["checkpoint"]["sha256"]


def test_edited_ledger_is_collected_again_and_nothing_is_trained(again, downstream):
    again.change("src/slimming/ledger.py")
    assert again.planned() == downstream


def test_edited_figures_are_drawn_again_and_nothing_is_trained(again):
    again.change("src/slimming/reporting/figures.py")
    assert again.planned() == again.depending("figures")
    assert "tables" not in again.planned()


def test_edited_page_is_written_again_and_nothing_is_judged(again):
    again.edit("src/slimming/reporting/templates/page.css", "color-scheme", "color-scheme ")
    assert again.planned() == {"page": 1}


@pytest.mark.tools
def test_changed_rules_are_judged_again_and_nothing_is_trained(again, reports):
    again.edit("config/claims/nonconvex-slimming.yaml", "confidence: 0.95", "confidence: 0.9")
    assert again.planned() == {rule: 1 for rule in reports if rule not in ("tables", "figures")}


def test_claims_that_a_study_cannot_answer_are_not_attempted_and_stand_on_the_page(finished):
    judged = pd.read_csv(finished.root / "results/tiny/claims.csv", keep_default_na=False)
    overall = judged[judged["level"] == "overall"].set_index("claim")["verdict"]
    assert overall["tl1-beats-bayesian"] == "not attempted"
    assert len(overall) == 5
    assert "latest Bayesian modification" in (finished.root / "results/tiny/report.html").read_text()


def test_edited_penalty_retrains_what_used_it(again, downstream):
    again.change("src/slimming/penalties/l1.py")
    assert again.planned() == {"train": 1, "prune": 1, "finetune": 1, "scratch": 2, "measure": 1, **downstream}


def test_one_changed_strength_reruns_its_branch(again, downstream):
    again.edit(STUDY, "methods: [none, l1,", "methods: [none, {name: l1, lam: 0.004},")
    before = files(again.root / "results/tiny", "checkpoints/**/*")
    assert again.planned() == {"train": 1, "prune": 1, "finetune": 1, "scratch": 2, "measure": 1, **downstream}
    again.snakemake("records")
    after = files(again.root / "results/tiny", "checkpoints/**/*")
    changed = {path for path in before if before[path] != after[path]}
    assert {path.parts[-3] for path in changed} == {"l1"}


def test_a_new_seed_trains_only_itself(again, downstream):
    again.edit(STUDY, "seeds: [1]", "seeds: [1, 2]")
    assert again.planned() == {"train": 3, "prune": 3, "finetune": 3, "scratch": 6, "measure": 3, **downstream}


def test_a_new_finetuned_ratio_prunes_and_trains_nothing_again(again, downstream):
    again.edit(STUDY, "ratios: [0.5], epochs", "ratios: [0.3, 0.5], epochs")
    assert again.planned() == {"finetune": 3, "measure": 3, **downstream}


def test_a_new_ratio_from_scratch_prunes_and_fine_tunes_nothing_again(again, downstream):
    again.edit(STUDY, "scratch: {ratios: [0.5]}", "scratch: {ratios: [0.3, 0.5]}")
    assert again.planned() == {"scratch": 6, "measure": 3, **downstream}


@pytest.mark.slow
def test_killed_workflow_continues_and_ends_with_the_same_bits(finished, fresh):
    """SIGKILL for snakemake and its jobs, in mid-training and at random moments; the same command then finishes."""
    command = [sys.executable, "-m", "snakemake", "ledger", "--cores", "1", "--configfile", STUDY]
    draw = random.Random(0)
    for kill in range(4):
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(
            command, cwd=fresh.root, env=fresh.environment(), start_new_session=True, **streams
        ) as run:
            deadline = time.monotonic() + (120 if kill == 0 else draw.uniform(2, 12))
            while time.monotonic() < deadline and not (kill == 0 and list(fresh.root.glob("results/**/*.resume"))):
                time.sleep(0.01)
            assert run.poll() is None
            os.killpg(run.pid, signal.SIGKILL)
        if kill == 0:
            assert list(fresh.root.glob("results/**/*.resume"))
        fresh.snakemake("--unlock")
    fresh.snakemake("ledger")
    whole, resumed = (
        {path.relative_to(made.root): path.read_bytes() for path in made.root.glob("results/**/*.safetensors")}
        for made in (finished, fresh)
    )
    assert whole == resumed
    assert not list(fresh.root.glob("results/**/*.resume"))
    ledgers = (pd.read_csv(made.root / "results/tiny/ledger.csv").drop(columns=TIMES) for made in (finished, fresh))
    pd.testing.assert_frame_equal(*ledgers)


def test_paper_study_is_planned_to_the_job(fresh):
    command = ["--dry-run", "--quiet", "all"]
    lines = fresh.snakemake(*command, study="config/paper.yaml").splitlines()
    counts = dict(line.split() for line in lines if len(line.split()) == 2)
    runs = 3 * 3 * 12 * 5  # data sets, networks, methods, seeds
    assert (counts["prepare"], counts["train"], counts["prune"]) == ("3", str(runs), str(runs))
    assert counts["finetune"] == str(3 * runs)


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ("name: mcp, a: 200", "name: mpc, a: 200", "did you mean 'mcp'"),
        ("networks: {vgg11", "networks: {vgg12", "did you mean vgg11 or vgg13"),
        ("datasets: {digits", "datasets: {digit", "did you mean 'digits'"),
        ("seeds:", "seedz:", "did you mean 'seeds'"),
        ("ratios: [0.3, 0.5]", "ratios: [0.3, 1.5]", "ratios"),
    ],
)
def test_mistake_in_a_study_is_one_clear_line_before_anything_runs(again, old, new, hint):
    before = files(again.root / "results", "**/*")
    again.edit(STUDY, old, new)
    printed = again.snakemake(check=False)
    line = next(line for line in printed.splitlines() if "slimming: error" in line)
    assert hint in line
    assert "Traceback" not in printed
    assert files(again.root / "results", "**/*") == before


@pytest.mark.slow
@pytest.mark.tools
def test_a_study_that_allows_it_is_reported_without_the_runs_that_fail(fresh):
    fresh.edit(STUDY, "lam: 0.005", "lam: 0.005\nallow_missing: true")
    fresh.edit(STUDY, "methods: [none, l1, {name: mcp, a: 200}]", "methods: [none]")
    fresh.edit(STUDY, "{vgg11: {", "{wild: {build: vgg11, width: 0.0625, schedule: {lr: 1.0e+30}}, vgg11: {")
    printed = fresh.snakemake()
    assert "forgone: results/tiny/checkpoints/digits/wild/none/seed1: digits/wild/none/seed1: the loss is" in printed
    results = fresh.root / "results/tiny"
    measured, missing = (pd.read_csv(results / f"{name}.csv") for name in ("ledger", "missing"))
    assert set(measured["network"]) == {"vgg11"}
    assert set(missing["network"]) == {"wild"}
    assert len(missing) == len(measured)
    assert missing["reason"].str.contains("the loss is not finite in epoch 1 of 1").all()
    assert "missing: digits wild none seed 1, trained, " in printed
    page = (results / "report.html").read_text()
    assert "Not all networks of this study were made" in page
    assert "Not all networks of this study were made" in (results / "paper/macros.tex").read_text()
    assert fresh.planned() == {}
    fresh.edit(STUDY, "1.0e+30", "0.1")  # what can be made then, is
    assert fresh.planned()["train"] == 1


def test_another_study_s_ledger_is_refused_before_anything_is_deleted(again):
    """Snakemake deletes a job's outputs before the job could refuse."""
    again.edit("results/tiny/provenance.csv", "study,tiny,", "study,other,")
    before = files(again.root / "results", "**/*")
    printed = again.snakemake("--forcerun", "ledger", check=False)
    (line,) = [line for line in printed.splitlines() if "slimming: error" in line]
    assert "results/tiny: holds the ledger of study 'other', not 'tiny'" in line
    assert files(again.root / "results", "**/*") == before


def test_a_name_alone_says_that_a_study_is_to_be_given(fresh):
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--config", "name=x"]
    (line,) = [line for line in fresh.call(*command, check=False).splitlines() if "error" in line]
    assert line == ("slimming: error: --config name=x says no study; give its file, --configfile config/<study>.yaml")


COMMAND = "slimming prepare digits"


def test_in_a_file_a_run_is_plain_lines_and_commands_are_in_the_log_alone(fresh):
    printed = fresh.snakemake("data/prepared/digits.safetensors")
    assert "1 of 1 done: prepare digits" in printed
    assert "\x1b" not in printed
    assert COMMAND not in printed
    (log,) = fresh.root.glob(".snakemake/log/*.log")
    assert COMMAND in log.read_text()


def test_on_a_terminal_a_run_is_a_bar_a_rule(fresh):
    reader, writer = pty.openpty()
    command = [sys.executable, "-m", "snakemake", "data/prepared/digits.safetensors", "--cores", "1"]
    run = subprocess.Popen(
        [*command, "--configfile", STUDY], cwd=fresh.root, env=fresh.environment(), stdout=writer, stderr=writer
    )
    os.close(writer)
    printed = b""
    with contextlib.suppress(OSError):  # the terminal's other end is closed
        while part := os.read(reader, 65536):
            printed += part
    os.close(reader)
    assert run.wait() == 0, printed.decode()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", printed.decode())
    assert "Workflow Progress" in shown
    assert re.search(r"prepare +\S*━+ +100%", shown)
    assert COMMAND not in shown


def test_a_failed_job_shows_its_log(fresh):
    fresh.edit("src/slimming/datasets/download.py", "def fetch(", "def fetch_otherwise(")
    printed = fresh.snakemake("data/prepared/digits.safetensors", check=False)
    assert "cannot import name 'fetch'" in printed
    assert "logs/prepare/digits.log" in printed


def test_workflow_is_lint_clean(fresh):
    assert "Congratulations" in fresh.snakemake("--lint")


def test_snakemake_report_holds_figures_and_tables(finished, tmp_path):
    finished.snakemake("--report", str(tmp_path / "report.html"))
    page = (tmp_path / "report.html").read_text()
    assert "accuracy-ratio-digits.svg" in page
    assert "accuracy-pruned.csv" in page
