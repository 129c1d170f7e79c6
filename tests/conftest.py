"""Fixtures shared by all tests; hypothesis draws the same examples every time so that CI is reproducible."""

import pytest
import torch
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=30)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _one_thread():
    """The machine's cores belong to pytest's workers."""
    torch.set_num_threads(1)
