"""The command line starts at once, refuses in one line, and exits with a status that says why."""

import os
import re
import subprocess
import sys

import pytest

from slimming import cli, tensorfile
from slimming.errors import InputError, SlimmingError

STAGES = ["prepare", "train", "prune", "finetune", "scratch", "measure", "ledger", "claims", "page", "compare"]
FILES = ["--data", "d", "--checkpoints", "c"]


def run(*arguments, **options):
    """`slimming` in a process of its own."""
    command = [sys.executable, "-m", "slimming.cli", *map(str, arguments)]
    return subprocess.run(command, text=True, **{"capture_output": True, **options})


def failing(error):
    def stage(options):
        raise error

    stage.__name__ = "measure"
    return stage


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from slimming import cli\n"
        "try: cli.main(['--help'])\n"
        "finally: print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    assert all(re.search(rf"^ +{stage} ", done.stdout, re.MULTILINE) for stage in STAGES)
    assert "argparse" in done.stderr.split()
    assert {"torch", "numpy", "pydantic", "pandas", "yaml"}.isdisjoint(done.stderr.split())


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_help(stage, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([stage, "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: slimming {stage}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: STAGE"),
        (["trian"], "invalid choice: 'trian' (choose from 'prepare', "),
        (["train", "{}"], "required: --data, --checkpoints"),
        (["train", "{}", *FILES, "--thread", "2"], "unrecognized arguments: --thread 2"),
        (["prune", "x", *FILES, "--ratios", "half"], "invalid float value: 'half'"),
        (["finetune", "x", *FILES, "--epochs", "0"], "'0' is not a whole number of at least 1"),
        (["finetune", "x", *FILES, "--epochs", "1.5"], "'1.5' is not a whole number of at least 1"),
        (["scratch", "x", *FILES], "required: --budget"),
        (["scratch", "x", *FILES, "--budget", "time"], "invalid choice: 'time' (choose from 'epochs', 'compute')"),
        (["prepare", "digits", "--output", "x", "--image-size", "-8"], "'-8' is not a whole number of at least 1"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_status_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("slimming: error: ")
    assert message in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "{", *FILES], "the run is not JSON"),
        (["train", "{}", *FILES], "run: study is missing"),
        (["prune", "none", "--ratios", "0.5", *FILES], "none: no such file"),
        (["finetune", "none", *FILES], "none: no such file"),
        (["scratch", "none", "--budget", "compute", *FILES], "none: no such file"),
        (["measure", "none", "--data", "d"], "none: no such file"),
        (["ledger", "none.yaml", "--records", "r", "--output", "o"], "none.yaml: not a readable YAML file"),
        (["claims", "none", "--claims", "c", "--output", "o"], "c: not a readable YAML file"),
        (["page", "none", "--output", "o"], "none/ledger.csv: not a readable table"),
        (["compare", "none", "other"], "unknown study 'none'"),
        (["prepare", "digit", "--output", "o"], "unknown data set 'digit': did you mean 'digits'?"),
    ],
)
def test_bad_input_is_one_line_and_status_2_and_nothing_is_written(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"slimming: error: {message}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (InputError("bad request"), 2, "slimming: error: bad request"),
        (SlimmingError("bad luck"), 1, "slimming: error: bad luck"),
        (
            OSError(30, "Read-only file system", "x.lock"),
            2,
            "slimming: error: x.lock: Read-only file system; choose another place or file",
        ),
        (KeyboardInterrupt(), 130, "slimming: interrupted; the same command continues where it stopped"),
    ],
)
def test_exit_status_tells_bad_input_failure_and_interrupt_apart(error, status, line, monkeypatch, capsys):
    monkeypatch.setattr(cli, "measure", failing(error))
    assert cli.main(["measure", "x", "--data", "d"]) == status
    assert capsys.readouterr().err.splitlines() == [line]


def test_a_defect_is_not_dressed_up_as_bad_input(monkeypatch):
    for error in (ZeroDivisionError(), OSError("of no file")):
        monkeypatch.setattr(cli, "measure", failing(error))
        with pytest.raises(type(error)):
            cli.main(["measure", "x", "--data", "d"])


def test_a_data_set_is_prepared_as_asked(tmp_path):
    done = run("prepare", "digits", "--image-size", "9", "--output", "new/digits.safetensors", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    tensors, header = tensorfile.read(tmp_path / "new/digits.safetensors")
    assert (header["name"], header["image_size"]) == ("digits", 9)
    assert tensors["train_images"].shape == (1437, 1, 9, 9)


def test_a_reader_that_goes_away_is_no_crash():
    code = (
        "import sys; from slimming import cli\n"
        "def measure(options): print('figures')\n"
        "cli.measure = measure\n"
        "sys.exit(cli.main(['measure', 'x', '--data', 'd']))"
    )
    reader, writer = os.pipe()
    os.close(reader)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, env=environment
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
