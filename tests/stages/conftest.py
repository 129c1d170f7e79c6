"""One tiny run that all tests of the stages share."""

import os
import shutil

import pytest

from tiny import Work, slimming


@pytest.fixture(scope="session")
def made(tmp_path_factory, prepared) -> Work:
    """One tiny run, all stages, each in a process of its own."""
    work = Work(tmp_path_factory.mktemp("made"), prepared)
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    for command in work.every_stage():
        slimming(*command, env=environment, check=True)
    return work


@pytest.fixture
def again(tmp_path, made) -> Work:
    """A copy of the finished run, to work in."""
    shutil.copytree(made.folder, tmp_path / "again")
    return Work(tmp_path / "again", made.prepared)
