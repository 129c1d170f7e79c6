"""Fixtures shared by all tests; hypothesis draws the same examples every time so that CI is reproducible."""

from collections.abc import Generator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from slimming import data

settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=30)
settings.load_profile("repeatable")


WORKFLOW = {"workflow", "cluster"}  # folders of tests


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """One worker more than cores: the tests of batch systems and of whole studies wait much of their time."""
    return (yield) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name in WORKFLOW:
            item.add_marker("workflow")


@pytest.fixture(autouse=True)
def _one_thread():
    """The machine's cores belong to pytest's workers; stages that run in this process leave torch as it was."""
    torch.set_num_threads(1)
    yield
    torch.set_deterministic_debug_mode("default")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Path:
    """The digits, as a training reads them."""
    path = tmp_path_factory.mktemp("prepared") / "digits.safetensors"
    data.prepare("digits", path.parent, path)
    return path
