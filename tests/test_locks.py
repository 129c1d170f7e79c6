"""A lock holds between processes until its holder ends, however it ends, and leaves no file."""

import signal
import subprocess
import sys
import time

from slimming.stages import locks

HOLD = """
import sys
from pathlib import Path
from slimming.stages import locks
with locks.alone(Path(sys.argv[1]), "at work"):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(path) -> subprocess.Popen:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", HOLD, str(path)], text=True, **pipes)


def test_second_process_waits_until_the_first_has_finished(tmp_path):
    path = tmp_path / "new/trained.lock"
    first = holder(path)
    assert first.stdout.readline() == "held\n"
    second = holder(path)
    assert second.stderr.readline() == f"waiting for another process that is at work ({path})\n"
    time.sleep(0.1)
    assert locks.attempt(path) is None
    first.communicate()
    assert second.stdout.readline() == "held\n"
    assert locks.attempt(path) is None
    second.communicate()
    assert list(path.parent.iterdir()) == []


def test_lock_of_a_killed_process_is_free(tmp_path):
    path = tmp_path / "trained.lock"
    first = holder(path)
    assert first.stdout.readline() == "held\n"
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert path.exists()
    with locks.alone(path, "at work"):
        assert locks.attempt(path) is None
    assert not path.exists()
