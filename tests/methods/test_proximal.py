"""Proximal methods make exact zeros, keep them, and prune at the threshold 0."""

import pytest
import torch

from examples import SMALL, pictures, randomised, step_of
from slimming import methods, networks, penalties, pruning
from slimming.settings import Schedule
from slimming.training import loop

PROXIMAL = sorted(name for name in methods.registry() if name.startswith("proximal-"))


@pytest.mark.parametrize("name", PROXIMAL)
def test_the_update_is_the_penaltys_proximal_step_with_the_length_of_gathered_momentum(name):
    step = step_of(torch.linspace(-1, 1, 101))
    expected = penalties.get(name.removeprefix("proximal-")).prox(step.gamma.values, 0.05, 0.1 / (1 - 0.9))
    method = methods.get(name, lam=0.05)
    method.add_gradient(step)
    assert not step.gamma.gradient.any()
    method.after_step(step)
    assert torch.equal(step.gamma.values, expected)
    assert (expected == 0).any()


@pytest.mark.parametrize("name", PROXIMAL)
def test_trained_networks_hold_exact_zeros_and_ratio_zero_removes_those(name, tmp_path):
    torch.manual_seed(0)
    net = networks.build("vgg11", num_classes=4, **SMALL["vgg11"])
    method = methods.get(name, lam=0.05)
    loop.train(net, pictures(), Schedule(epochs=6, batch_size=25), method, 1, 6, tmp_path / "resume", name)
    scores = method.scores(net)
    zeros = sum(int((score == 0).sum()) for score in scores.values())
    assert zeros >= 0.05 * sum(map(len, scores.values()))
    plan = method.plan(net, 0)
    assert all((scores[site][kept] != 0).all() for site, kept in plan.items() if site not in plan.floored)
    assert sum(map(len, plan.values())) == sum(map(len, scores.values())) - zeros + len(plan.floored)
    assert method.plan(net, 0.3).ratio_reached == pruning.plan(scores, 0.3).ratio_reached


def test_descent_on_the_subgradient_holds_none(tmp_path):
    torch.manual_seed(0)
    net = networks.build("vgg11", num_classes=4, **SMALL["vgg11"])
    method = methods.get("l1", lam=0.05)
    loop.train(net, pictures(), Schedule(epochs=6, batch_size=25), method, 1, 6, tmp_path / "resume", "l1")
    assert all((score != 0).all() for score in method.scores(net).values())


def test_a_network_without_zeros_loses_nothing_at_ratio_zero():
    assert methods.get("proximal-l1").plan(randomised("vgg11"), 0).ratio_reached == 0
