"""The page on how to add a method shows code that works."""

import re
from pathlib import Path

import pytest
import torch

from examples import SMALL, pictures, step_of
from slimming import methods, networks, training
from slimming.study import Schedule

PAGE = Path(__file__).parents[2] / "docs" / "add-a-method.md"


@pytest.fixture
def added(tmp_path, monkeypatch):
    """The page's method, dropped into the package as the page says."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (name,) = re.findall(r"src/slimming/methods/(\w+)\.py", PAGE.read_text())
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    methods.registry.cache_clear()
    yield methods.get(name, lam=1e-3)
    methods.registry.cache_clear()


def test_its_gradient_is_that_of_the_stated_penalty(added):
    gamma = torch.linspace(-1, 2, 50, requires_grad=True)
    (1e-3 * gamma.abs().sum() ** 2 / gamma.square().sum()).backward()
    step = step_of(gamma.detach())
    added.add_gradient(step)
    torch.testing.assert_close(step.gamma.gradient, gamma.grad)


def test_it_trains(added, tmp_path):
    torch.manual_seed(0)
    net = networks.build("vgg11", num_classes=4, **SMALL["vgg11"])
    training.train(net, pictures(), Schedule(epochs=1, batch_size=25), added, 1, 1, tmp_path / "resume", "page")
    assert all(torch.isfinite(score).all() for score in added.scores(net).values())
