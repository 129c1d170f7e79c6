"""Selective weight decay decays what the target would remove now, ever faster, until its removal costs nothing."""

import math

import pytest
import torch

from examples import pictures, randomised, step
from slimming import data, methods, networks, pruning
from slimming.errors import InputError
from slimming.measuring import accuracy
from slimming.methods.selective import _smallest
from slimming.settings import Schedule
from slimming.training import loop

KINDS = ["swd", "swd-parameters", "swd-weights"]


def pulled(name, net, number, **parameters):
    """The step after the method added its gradient to one of zeros."""
    method, at = methods.get(name, target=0.4, **parameters), step(net, number)
    method.prepare(at)
    at.number = 0
    method.before_step(at)
    at.number = number
    method.add_gradient(at)
    return at


@pytest.mark.parametrize("number", [0, 5, 9])
def test_the_gradient_is_exponentially_growing_decay_on_the_channels_pruning_would_remove(number):
    net = randomised("vgg11")
    at = pulled("swd", net, number, a_min=0.5, a_max=50.0)
    decay = 1e-4 * 0.5 * 100 ** (number / 10)
    sizes = at.gamma.values.abs()
    gone = sizes <= sizes.kthvalue(round(0.4 * len(sizes))).values
    for part in (at.gamma, at.shift):
        assert torch.allclose(part.gradient, decay * part.values * gone, rtol=1e-6)
    assert not at.weights.gradient.any()


def test_weights_are_decayed_alone_by_the_unstructured_kind():
    at = pulled("swd-weights", randomised("vgg11"), 5, a_min=1.0, a_max=1.0)
    chosen = at.weights.gradient != 0
    assert int(chosen.sum()) == round(0.4 * len(chosen))
    assert at.weights.values[chosen].abs().max() <= at.weights.values[~chosen].abs().min()
    assert not at.gamma.gradient.any()
    assert not at.shift.gradient.any()


def test_a_parameter_target_is_met_on_the_network_that_is_left():
    net = randomised("resnet20", width=1.0)
    whole = sum(parameter.numel() for parameter in net.parameters())
    method = methods.get("swd-parameters")
    needed = pruning.removals(net, method.scores(net), 0.6, pruning.Budget("parameters"))
    one_less = pruning.plan(method.scores(net), 0, removals=needed - 1)
    left = [pruning.apply(net, plan) for plan in (method.plan(net, 0.6), one_less)]
    enough, too_many = (sum(parameter.numel() for parameter in small.parameters()) for small in left)
    assert enough <= 0.4 * whole < too_many


def test_a_step_is_never_longer_than_the_parameter():
    at = pulled("swd", randomised("vgg11"), 9, a_max=1e12)
    assert (at.lr * at.gamma.gradient.abs() <= at.gamma.values.abs() * (1 + 1e-6)).all()


@pytest.mark.parametrize("name", KINDS)
def test_the_choice_is_made_again_as_training_goes(name):
    net = randomised("vgg11")
    method, at = methods.get(name), step(net, 0, steps=1000)
    method.prepare(at)
    method.before_step(at)
    before = at.state["chosen"].clone()
    for part in (at.gamma, at.weights):
        part.values.copy_(part.values.flip(0))
    at.number = 1
    method.before_step(at)
    assert torch.equal(at.state["chosen"], before)
    at.number = 25
    method.before_step(at)
    assert not torch.equal(at.state["chosen"], before)


def accuracies(name, target, prepared, folder, parameters):
    """Test accuracy on the digits before and right after pruning to the target."""
    torch.manual_seed(1)
    net = networks.build("vgg11", in_channels=1, width=0.25)
    method, dataset = methods.get(name, **parameters), data.load(prepared)
    loop.train(net, dataset, Schedule(epochs=15), method, 1, 15, folder / "resume", name)
    net.eval()
    small = pruning.apply(net, method.plan(net, target))
    return [accuracy.evaluate(some, dataset)["accuracy"] for some in (net, small)]


@pytest.mark.parametrize(("name", "target"), [("swd", 0.4), ("swd-parameters", 0.5), ("swd-weights", 0.9)])
def test_pruning_to_the_target_costs_at_most_a_point(name, target, prepared, tmp_path):
    settings = {"target": target, "a_min": 1.0, "a_max": 1e6}
    dense, pruned = accuracies(name, target, prepared, tmp_path, settings)
    assert dense >= 0.95
    assert pruned >= dense - 0.01


def test_plain_training_collapses_at_the_same_target(prepared, tmp_path):
    dense, pruned = accuracies("none", 0.4, prepared, tmp_path, {})
    assert dense >= 0.95
    assert pruned <= dense - 0.3


def test_fine_tuning_keeps_zeros(tmp_path):
    dense = randomised("vgg11", num_classes=4)
    net = pruning.apply(dense, methods.get("swd-weights").plan(dense, 0.7))
    zero = {name: value == 0 for name, value in net.named_parameters() if value.dim() > 1}
    before = {name: value.clone() for name, value in net.named_parameters()}
    method = methods.get("swd-weights").finetuning()
    loop.train(net, pictures(), Schedule(epochs=2, batch_size=25), method, 1, 2, tmp_path / "resume", "x")
    for name, value in net.named_parameters():
        if name in zero:
            assert torch.equal(value == 0, zero[name])
            assert zero[name].all() or not torch.equal(value, before[name])


@pytest.mark.parametrize(("values", "share", "chosen"), [
    ([3.0, -1.0, 2.0, 0.0], 0.5, [False, True, False, True]),
    ([1.0, -1.0, 1.0, 1.0], 0.5, [True, True, False, False]),
    ([1.0, 2.0], 0.0, [False, False]),
    ([0.0, 0.0, 5.0], 0.99, [True, True, True]),
])  # fmt: skip
def test_the_smallest_are_counted_exactly_and_ties_go_by_index(values, share, chosen):
    assert _smallest(torch.tensor(values), share).tolist() == chosen


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("wrong", [{"target": 0}, {"target": 1}, {"target": math.nan}, {"a_min": 0}, {"a_max": 1e-3}])
def test_wrong_parameters_are_refused(name, wrong):
    with pytest.raises(InputError, match=rf"{name}: .*(target|a_min)"):
        methods.get(name, **wrong)
