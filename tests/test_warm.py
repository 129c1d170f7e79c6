"""A command that a warm process runs is the command: streams, folder, status, signals, end and bits are its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slimming import warm
from tiny import SLIMMING, Work

SLEEP = """
import sys, time
try:
    print("begun", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(130)
"""


@pytest.fixture(scope="module")
def socket():
    """Where a warm process listens."""
    held = warm.start(threads=1)
    path = Path(os.environ.pop(warm.VARIABLE))
    wait_for(path.exists)
    yield path
    os.close(held)
    wait_for(lambda: not path.parent.exists())


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def slimming(socket, *command, **options):
    environment = os.environ | ({warm.VARIABLE: str(socket)} if socket else {})
    return subprocess.run([SLIMMING, *command], env=environment, capture_output=True, text=True, **options)


@pytest.mark.parametrize(
    "command",
    [("--help",), ("train",), ("measure", "none", "--data", "none"), ("trace", "AccuracyNone"), ("prepare", "digit")],
)
def test_a_command_says_and_returns_what_it_does_when_started_plainly(socket, command, tmp_path):
    ours, plain = (slimming(place, *command, cwd=tmp_path) for place in (socket, None))
    assert (ours.returncode, ours.stdout, ours.stderr) == (plain.returncode, plain.stdout, plain.stderr)


def test_a_training_has_the_bits_of_one_that_started_plainly(socket, prepared, tmp_path):
    for place in (socket, None):
        work = Work(tmp_path / ("warm" if place else "plain"), prepared)
        done = slimming(place, *work.train(), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "epoch 2/2" in done.stderr
    first, second = (Work(tmp_path / name, prepared).checkpoint("trained") for name in ("warm", "plain"))
    assert first == second


def test_results_go_where_the_command_was_started(socket, tmp_path):
    done = slimming(socket, "prepare", "digits", "--output", "new/digits.safetensors", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "new/digits.safetensors").is_file()


@pytest.fixture
def sleeper(socket, tmp_path):
    """A command that sleeps in a child of the warm process, and how it is found there."""
    package = tmp_path / "slimming"
    package.mkdir()
    for name in ("__init__", "warm"):
        (package / f"{name}.py").write_text((Path(warm.__file__).parent / f"{name}.py").read_text())
    (package / "cli.py").write_text(f"def main(arguments):\n    exec({SLEEP!r})\n")
    # A warm process of its own, which finds this package.
    code = (
        "import sys, time; from slimming import warm; held = warm.start(1); print(held, flush=True); "
        "import os; print(os.environ[warm.VARIABLE], flush=True); sys.stdin.read()"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    starter = subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes)
    starter.stdout.readline()
    path = Path(starter.stdout.readline().strip())
    wait_for(path.exists)
    ask = "import sys; from slimming import warm; sys.exit(warm.ask(['slimming']))"
    asking = subprocess.Popen(
        [sys.executable, "-c", ask], env=environment | {warm.VARIABLE: str(path)}, stdout=subprocess.PIPE, text=True
    )
    assert asking.stdout.readline() == "begun\n"
    yield starter, path, asking
    starter.kill()
    asking.kill()
    starter.communicate()


def children(path):
    """Processes that the warm process at `path` has forked, itself among them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(path) in (process / "cmdline").read_text() and "slimming.warm" in (process / "cmdline").read_text():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def test_an_interrupt_reaches_the_command(sleeper):
    _, _, asking = sleeper
    asking.send_signal(signal.SIGINT)
    assert asking.stdout.read() == "interrupted\n"
    assert asking.wait() == 130


def test_who_is_killed_takes_the_command_along(sleeper):
    _, path, asking = sleeper
    assert len(children(path)) == 2
    asking.kill()
    wait_for(lambda: len(children(path)) == 1)


def test_a_command_that_is_killed_is_a_failure(sleeper):
    _, path, asking = sleeper
    for child in sorted(children(path))[1:]:
        os.kill(child, signal.SIGKILL)
    assert asking.wait() == warm.KILLED


def test_the_warm_process_ends_with_who_started_it_and_leaves_nothing(sleeper):
    starter, path, asking = sleeper
    asking.kill()
    starter.kill()
    wait_for(lambda: not path.parent.exists())
    wait_for(lambda: children(path) == [])


def test_where_no_warm_process_answers_a_command_starts_plainly(tmp_path):
    assert slimming(tmp_path / "none", "--help").returncode == 0
    assert warm.ask(["slimming"]) is None
