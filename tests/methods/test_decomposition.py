"""Decompositions to a budget, and training towards them: W comes to be what its ranks can say."""

import copy

import pytest
import torch

from examples import SMALL, pictures, randomised, setting, step
from slimming import methods, pruning
from slimming.errors import InputError
from slimming.measuring import cost
from slimming.methods import admm, decomposition
from slimming.networks import forms
from slimming.pruning import Budget

IMAGE = (3, 12, 12)
DATA = pictures()


@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize("format", decomposition.FORMATS)
@pytest.mark.parametrize("of", ["parameters", "macs"])
@pytest.mark.parametrize("ratio", [0.0, 0.4])
def test_every_layer_keeps_the_same_share_and_the_budget_is_met(ratio, of, format, network):
    net = randomised(network, num_classes=4)
    plan = methods.get("decompose", format=format).plan(net, ratio, setting(DATA, of))
    small = pruning.apply(net, plan)
    if not ratio:
        assert plan.forms == {}
        return
    (before, after), of_layer = (cost.count(some, IMAGE)[of] for some in (net, small)), {}
    assert ratio <= 1 - after / before < ratio + 0.05
    options = decomposition._options(net.spec, format, Budget(of, IMAGE))
    for path, layer in options.items():
        form = plan.forms.get(path)
        of_layer[path] = next(place for place, option in enumerate(layer) if option.form == form)
    # No layer is cheaper than another's share by more than its next option.
    shares = [options[path][place].cost / options[path][-1].cost for path, place in of_layer.items()]
    for path, place in of_layer.items():
        if place + 1 < len(options[path]):
            following = options[path][place + 1].cost / options[path][-1].cost
            assert following >= min(shares)


@pytest.mark.parametrize("format", decomposition.FORMATS)
def test_a_matrix_is_decomposed_as_one_and_the_first_convolution_stays(format):
    net = randomised("resnet20", num_classes=4)
    plan = methods.get("decompose", format=format).plan(net, 0.5, setting(DATA, "macs"))
    first, *_ = (path for path, module in net.named_modules() if isinstance(module, torch.nn.Conv2d))
    assert first not in plan.forms
    assert "classifier" not in plan.forms
    for path, form in plan.forms.items():
        expected = "svd" if net.get_submodule(path).kernel_size == (1, 1) else format
        assert form["form"] == expected


def test_wrong_parameters_and_impossible_budgets_are_refused_in_one_line():
    for name in ("admm", "decompose"):
        with pytest.raises(InputError, match=f"unknown format of {name} 'tk'"):
            methods.get(name, format="tk")
    for parameters, message in (({"target": 1.0}, "target must lie in"), ({"rho": 0.0}, "rho must be positive")):
        with pytest.raises(InputError, match=message):
            methods.get("admm", **parameters)
    net = randomised("vgg11", num_classes=4)
    with pytest.raises(InputError, match=r"^decompose-tt: no ranks leave 0\.01 of the macs: with rank 1, features"):
        methods.get("decompose").plan(net, 0.99, setting(DATA, "macs"))


@pytest.mark.parametrize("format", decomposition.FORMATS)
def test_the_gradient_is_that_of_the_augmented_lagrangian(format):
    net = randomised("basicresnet14", num_classes=4)
    method, at = methods.get("admm", format=format, rho=0.3), step(net, steps=100)
    method.prepare(at)
    method.on_epoch(at)
    for number, factor in ((3, 1.0), (84, 1.0), (85, 5.0)):
        at.number, at.epoch = number, number // 10
        method.on_epoch(at)
        for path, part in method._layers(at):
            z, u = at.state[f"z.{path}"], at.state[f"u.{path}"]
            w = part.values.clone().requires_grad_()
            (0.3 * factor / 2 * (w - z + u).square().sum()).backward()
            part.gradient.zero_()
            method.add_gradient(at)
            assert torch.allclose(part.gradient, w.grad, atol=1e-7)
    before = at.gamma.gradient.clone()
    method.add_gradient(at)
    assert torch.equal(at.gamma.gradient, before)


def test_projections_and_multipliers_follow_the_algorithm():
    net = randomised("basicresnet14", num_classes=4)
    method, at = methods.get("admm"), step(net)
    method.prepare(at)
    method.on_epoch(at)
    (path, part), *_ = method._layers(at)
    settings = dict(method._ranks(at)[path])
    made = forms.registry()[settings.pop("form")](net.get_submodule(path), **settings)

    def nearest(weight):
        made.fit(weight)
        return made.dense().detach()

    z, u = at.state[f"z.{path}"], at.state[f"u.{path}"]
    assert torch.equal(z, nearest(part.values))
    assert not u.any()
    multiplier = torch.zeros_like(u)
    for epoch in (1, 2):
        part.values.add_(0.1)
        at.epoch = epoch
        method.on_epoch(at)
        expected = nearest(part.values + multiplier)
        multiplier += part.values - expected
        assert torch.allclose(z, expected, atol=1e-6)
        assert torch.allclose(u, multiplier, atol=1e-6)


@pytest.mark.parametrize("format", decomposition.FORMATS)
def test_weights_come_to_have_the_ranks_that_they_are_trained_for(format):
    """Drawn to random weights by their loss, they end where their ranks allow; without, decomposing loses far more."""
    net, steps, lr = randomised("basicresnet14", num_classes=4), 600, 0.1
    method, at = methods.get("admm", format=format, rho=0.5), step(net, steps=steps, lr=lr)
    wanted = {path: part.values.clone() for path, part in at.layers.items()}
    method.prepare(at)
    for number in range(steps):
        at.number, at.epoch = number, number // 10
        if number % 10 == 0:
            method.on_epoch(at)
        for path, part in at.layers.items():
            part.gradient.copy_(0.1 * (part.values - wanted[path]))
        method.add_gradient(at)
        for part in at.layers.values():
            part.values.sub_(lr * part.gradient)
    method.finish(at)
    plan = method.plan(net, method.target, setting(DATA, "macs"))
    assert plan.found["residual"] == pytest.approx(residual(net, plan, net.state_dict()), rel=1e-3, abs=1e-5)
    assert plan.found["residual"] < 0.01
    assert residual(net, plan, wanted) > 0.3


def residual(net, plan, weights):
    """|W - Z| / |W| over all layers that the plan decomposes."""
    lost = whole = 0.0
    for path, form in plan.forms.items():
        settings, weight = dict(form), weights[f"{path}.weight"]
        made = forms.registry()[settings.pop("form")](net.get_submodule(path), **settings)
        made.fit(weight)
        lost += (made.dense() - weight).square().sum().item()
        whole += weight.square().sum().item()
    return (lost / whole) ** 0.5


def test_without_a_rho_of_its_own_it_follows_the_number_of_steps():
    net = randomised("basicresnet14", num_classes=4)
    gradients = []
    for steps, lr in ((1000, 0.1), (2000, 0.1), (10, 1.0)):
        method, at = methods.get("admm"), step(copy.deepcopy(net), steps=steps, lr=lr)
        method.prepare(at)
        for path, part in method._layers(at):
            at.state[f"z.{path}"].zero_()
            part.gradient.zero_()
        method.add_gradient(at)
        gradients.append((part.gradient / part.values).mean().item())
    assert gradients == pytest.approx([admm.PULL / 1000, admm.PULL / 2000, 1.0], rel=1e-4)
