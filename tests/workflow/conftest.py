"""A copy of the project in an empty folder, and a tiny study that ran there to the end."""

import shutil

import pytest
from project import Project, project
from repository import Repository, publish


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """The tiny study, run to the end. Tests look at it and leave it as it is."""
    made = project(tmp_path_factory.mktemp("finished"))
    made.snakemake()
    return made


@pytest.fixture(scope="session")
def downstream(finished) -> dict[str, int]:
    """The ledger's job and all that need the ledger."""
    return finished.depending("ledger")


@pytest.fixture(scope="session")
def reports(downstream) -> dict[str, int]:
    """What readers see; git and DVC compare the metrics."""
    return {rule: count for rule, count in downstream.items() if rule not in ("ledger", "metrics")}


@pytest.fixture
def again(finished, tmp_path) -> Project:
    """A copy of the finished study, times included, to change things in."""
    shutil.copytree(finished.root, tmp_path / "again")
    return Project(tmp_path / "again")


@pytest.fixture
def fresh(tmp_path) -> Project:
    """The project before anything ran."""
    (tmp_path / "fresh").mkdir()
    return project(tmp_path / "fresh")


@pytest.fixture(scope="session")
def complete(finished, tmp_path_factory) -> Repository:
    """The tiny study in git and DVC, nothing pushed. Tests copy it."""
    return publish(finished, tmp_path_factory.mktemp("complete") / "here")


@pytest.fixture
def here(complete, tmp_path) -> Repository:
    """A copy of it, to change things in."""
    return complete.copy(tmp_path / "here")
