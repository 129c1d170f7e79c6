"""The page on how to add a method shows code that works."""

import re
from pathlib import Path

import pytest
import torch

from examples import SMALL, pictures, randomised, setting, step_of
from slimming import checkpoints, methods, networks, pruning
from slimming.measuring import cost
from slimming.settings import Schedule
from slimming.training import loop

PAGE = Path(__file__).parents[2] / "docs" / "add-a-method.md"


CODE = dict(
    zip(
        re.findall(r"`src/slimming/methods/(\w+)\.py`", PAGE.read_text()),
        re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL),
        strict=True,
    )
)


@pytest.fixture
def add(tmp_path, monkeypatch):
    """Drops a method of the page into the package, as the page says."""

    def added(name, **parameters):
        (tmp_path / f"{name}.py").write_text(CODE[name])
        monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
        methods.registry.cache_clear()
        return methods.get(name, **parameters)

    yield added
    methods.registry.cache_clear()


@pytest.fixture
def added(add):
    return add("hoyer", lam=1e-3)


def test_its_gradient_is_that_of_the_stated_penalty(added):
    gamma = torch.linspace(-1, 2, 50, requires_grad=True)
    (1e-3 * gamma.abs().sum() ** 2 / gamma.square().sum()).backward()
    step = step_of(gamma.detach())
    added.add_gradient(step)
    torch.testing.assert_close(step.gamma.gradient, gamma.grad)


def test_it_trains(added, tmp_path):
    torch.manual_seed(0)
    net = networks.build("vgg11", num_classes=4, **SMALL["vgg11"])
    loop.train(net, pictures(), Schedule(epochs=1, batch_size=25), added, 1, 1, tmp_path / "resume", "page")
    assert all(torch.isfinite(score).all() for score in added.scores(net).values())


@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize("ratio", [0.0, 0.5])
def test_a_decomposition_meets_its_budget_and_lives_on(network, ratio, add, tmp_path):
    assert len(CODE["decomposed"].splitlines()) <= 80
    method, dataset, net = add("decomposed"), pictures(), randomised(network, num_classes=4)
    image = tuple(dataset.train_images.shape[1:])
    plan = method.plan(net, ratio, setting(dataset))
    small = pruning.apply(net, plan)
    whole, left = (cost.macs(some, image) for some in (net, small))
    assert left <= (1 - ratio) * whole
    if not ratio:
        assert torch.equal(net(torch.ones(1, *image)), small(torch.ones(1, *image)))
        return
    assert left >= 0.8 * (1 - ratio) * whole  # ranks are whole numbers, and small ones here
    checkpoints.save(tmp_path / "x", small, {})
    loaded, _ = checkpoints.load(tmp_path / "x")
    loop.train(
        loaded, dataset, Schedule(epochs=1, batch_size=25), method.finetuning(), 1, 1, tmp_path / "resume", "page"
    )
    again = pruning.apply(loaded.eval(), methods.get("none").plan(loaded, 0.4))
    assert set(again.spec["forms"]) == set(plan.forms)
    assert cost.macs(again, image) < left
    torch.export.export(again, (torch.ones(1, *image),))
