"""A stage imports what it uses, and not what would only make it start later."""

import subprocess
import sys

import pytest

from slimming.stages.table import stem
from tiny import Work

COMPILER = {"torch._dynamo", "torch._inductor", "sympy"}
REPORTING = {"pandas", "pandera", "matplotlib", "scipy", "jinja2"}
PICTURES = {"torchvision", "PIL", "sklearn"}


def imported(*arguments):
    """The modules that a successful stage has imported when it is over."""
    code = f"import sys; from slimming import cli; status = cli.main({[*map(str, arguments)]!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", f"{code}; sys.exit(status)"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.fixture(scope="module")
def work(prepared, tmp_path_factory):
    work = Work(tmp_path_factory.mktemp("imports"), prepared, scratch={})
    work.modules = {stage: imported(*getattr(work, stage)()) for stage in ("train", "prune", "finetune")}
    work.modules["measure"] = imported(*work.measure(*(stem(*step) for step in work.study.steps())))
    return work


@pytest.mark.parametrize("stage", ["train", "prune", "finetune", "measure"])
def test_training_stages_import_no_compiler_reporting_or_picture_library(stage, work):
    assert "torch" in work.modules[stage]
    assert work.modules[stage].isdisjoint(COMPILER | REPORTING | PICTURES)
    assert "benchmarks" not in work.modules[stage]
    assert ("slimming.pruning" in work.modules[stage]) == (stage == "prune")


def test_the_ledger_is_made_without_torch(work, tmp_path):
    modules = imported("ledger", work.study.settings(), "--records", work.records.parents[3], "--output", tmp_path)
    assert "pandas" in modules
    assert modules.isdisjoint({"torch", "matplotlib", "scipy"} | PICTURES)
