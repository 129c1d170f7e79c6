"""Collaborative compression: its scores are the losses and expectations that it states, and budgets are met."""

import itertools
import math

import pytest
import torch

from examples import SMALL, pictures, randomised, setting
from slimming import methods, pruning
from slimming.errors import InputError
from slimming.measuring import cost
from slimming.methods import collaborative
from slimming.methods.parts import units
from slimming.methods.parts.units import Layer, State
from slimming.pruning import Budget

IMAGE = (3, 12, 12)
DATA = pictures()
OTHERS = [("cc-channels", "basicresnet14"), ("cc-rank", "basicresnet14")]
KINDS = {"cc": (True, True), "cc-channels": (True, False), "cc-rank": (False, True)}


def layer(kinds=(True, True), outputs=5, inputs=4, kernel=(2, 1), seed=0):
    generator = torch.Generator().manual_seed(seed)
    weight, gradient = (torch.randn(outputs, inputs, *kernel, generator=generator) for _ in range(2))
    return Layer("conv", "norm" if kinds[0] else None, weight, gradient, 3, kinds), weight.double(), gradient.double()


def without(some, state, unit):
    there = [part.clone() for part in state]
    kind = int(unit >= some.inputs)
    there[kind][unit - some.inputs * kind] = False
    return State(*there)


@pytest.mark.parametrize("kinds", KINDS.values())
def test_scores_are_the_losses_of_the_weight_without_each_unit(kinds):
    some, weight, gradient = layer(kinds)
    state = some.whole()
    for gone in (None, 1, some.inputs + 2):  # from the start, and when a unit of either kind is gone
        if gone is not None and kinds[gone >= some.inputs]:
            state = without(some, state, gone)
        scores = some.scores(state)
        for unit, score in enumerate(scores.tolist()):
            kind = int(unit >= some.inputs)
            if not kinds[kind] or not state[kind][unit - some.inputs * kind]:
                assert score == math.inf
                continue
            left = without(some, state, unit)
            matrix = some.approximation(left)
            assert score == pytest.approx((gradient.flatten(1) * (matrix - weight.flatten(1))).square().sum().item())
            assert score == pytest.approx(some.loss(left))


def test_an_approximation_is_the_truncated_decomposition_without_the_channels():
    some, weight, _ = layer()
    state = without(some, without(some, some.whole(), 2), some.inputs + 3)
    left, values, right = torch.linalg.svd(weight.flatten(1), full_matrices=False)
    values[3] = 0
    expected = ((left * values) @ right).view_as(weight)
    expected[:, 2] = 0
    assert torch.allclose(some.approximation(state), expected.flatten(1))


@pytest.mark.parametrize("kinds", KINDS.values())
@pytest.mark.parametrize("going", [0, 1, 2])
def test_the_expected_loss_is_the_mean_over_all_draws(kinds, going, monkeypatch):
    """Of changes that add up: a unit's is what it adds to the weight, times the gradient."""
    monkeypatch.setattr(units, "GAMMA", 1.0)
    some, weight, gradient = layer(kinds)
    state = some.whole()
    there = [unit for unit in range(some.inputs + len(some.values)) if kinds[unit >= some.inputs]]
    others = some.left_to_go(state)
    now = some.approximation(state)
    added = {unit: gradient.flatten(1) * (now - some.approximation(without(some, state, unit))) for unit in there}
    start = gradient.flatten(1) * (now - weight.flatten(1))
    goal = some.cost(state) * (1 - going / others)
    found = some.scores(state, goal) - some.scores(state)
    # Those that stay are not drawn: with u gone, `others` count all but one of each kind.
    unit = there[0]
    drawn = [other for other in there if other != unit]
    chance, pairs = going / others, going * (going - 1) / (others * (others - 1)) if others > 1 else 0
    base = start - added[unit]
    expected = base.square().sum() - 2 * chance * sum((base * added[v]).sum() for v in drawn)
    expected += chance * sum(added[v].square().sum() for v in drawn)
    expected += pairs * sum(2 * (added[v] * added[w]).sum() for v, w in itertools.combinations(drawn, 2))
    assert found[unit].item() == pytest.approx(expected.item())


@pytest.mark.parametrize("state", [(4, 5), (3, 5), (3, 2), (1, 1)])
def test_a_layer_costs_what_it_is_written_as(state):
    some, _, _ = layer()
    channels, ranks = (torch.arange(size) < kept for size, kept in zip((4, 5), state, strict=True))
    plain, factored = 5 * state[0] * 2, state[1] * (state[0] * 2 + 5)
    assert some.cost(State(channels, ranks)) == 3 * min(plain, factored)
    assert some.rank(State(channels, ranks)) == (state[1] if factored < plain else None)


def test_steps_take_the_lowest_scores_and_leave_a_channel_and_a_rank():
    some, _, _ = layer()
    state = some.whole()
    while some.left_to_go(state):
        scores = some.scores(state, 0.0)
        following = some.step(state, scores)
        (gone,) = (torch.cat([*state]) & ~torch.cat([*following])).nonzero().flatten().tolist()
        may = [unit for unit in range(len(scores)) if state[unit >= some.inputs].sum() > 1]
        assert scores[gone] == min(scores[unit] for unit in may)
        state = following
    assert [int(part.sum()) for part in state] == [1, 1]


def test_rates_have_equal_marginal_losses_and_the_target():
    net = randomised("vgg11", num_classes=4)
    gradients = {f"features.{place}.conv": torch.ones(1) for place in (0, 2, 4)}
    gradients = {path: torch.randn_like(net.get_parameter(f"{path}.weight")) for path in gradients}
    budget = Budget("macs", IMAGE)
    layers = collaborative._layers(net, gradients, budget, (True, True))
    assert [some.path for some in layers] == ["features.2.conv", "features.4.conv"]
    curves = [collaborative.Curve([], [], p1, p2) for p1, p2 in ((0.02, 4.0), (0.001, 7.0))]
    rates = collaborative._Rates("cc", net, layers, curves, budget)
    costs = rates.costs
    for share in (0.2, 0.5, 0.8):
        first, second = found = rates.rates(share * sum(costs))
        assert sum(rate * cost for rate, cost in zip(found, costs, strict=True)) == pytest.approx(share * sum(costs))
        if min(found) > 0 and max(found) < collaborative.MOST:
            marginal = [
                curve.p1 * curve.p2 * math.exp(curve.p2 * rate) for curve, rate in zip(curves, found, strict=True)
            ]
            assert marginal[0] == pytest.approx(marginal[1])
        assert second > first


@pytest.mark.parametrize(("name", "network"), [*(("cc", network) for network in SMALL), *OTHERS])
def test_the_compressed_network_is_the_one_of_the_stated_approximation(name, network):
    net = randomised(network, num_classes=4)
    method, images = methods.get(name), torch.randn(3, *IMAGE, generator=torch.Generator().manual_seed(1))
    plan = method.plan(net, 0.5, setting(DATA, "macs"))
    small = pruning.apply(net, plan)
    masked = pruning.masked(net, plan)
    for parameter, value in plan.weights.items():
        masked.get_parameter(parameter).data.copy_(value)
    with torch.no_grad():
        assert (small(images) - masked(images)).abs().max() <= 1e-4
    assert (name == "cc-rank") == (plan.ratio_reached == 0)
    assert name != "cc-channels" or not plan.forms
    assert {path: form["rank"] for path, form in plan.forms.items()}.items() <= plan.found["rank"].items()
    assert all(0 <= rate <= collaborative.MOST for rate in plan.found["rate"].values())
    for curve in plan.found["sensitivity"].values():
        shares, losses = zip(*curve, strict=True)
        assert sorted(shares) == list(shares)
        assert min(losses) >= 0 < losses[-1]


@pytest.mark.parametrize(
    ("name", "network", "width", "ratio"),
    [("cc", "vgg11", 0.25, 0.3), *((name, "basicresnet20", 0.5, ratio) for name in KINDS for ratio in (0.3, 0.7))],
)
def test_budgets_are_met_within_a_hundredth(name, network, width, ratio):
    net = randomised(network, num_classes=4, width=width)
    small = pruning.apply(net, methods.get(name).plan(net, ratio, setting(DATA, "macs")))
    assert ratio <= 1 - cost.macs(small, IMAGE) / cost.macs(net, IMAGE) <= ratio + 0.01


def test_gradients_are_the_mean_over_the_training_images():
    net = randomised("vgg11", num_classes=4)
    found = collaborative._gradients(net, setting(DATA))
    images, labels = next(setting(DATA).images(len(DATA.train_labels)))
    torch.nn.functional.cross_entropy(net(images), labels).backward()
    for path, gradient in found.items():
        assert torch.allclose(gradient.float(), net.get_parameter(f"{path}.weight").grad, atol=1e-6)


@pytest.mark.parametrize("network", SMALL)
def test_the_first_convolution_stays_in_whatever_order_gradients_come(network):
    net, budget = randomised(network, num_classes=4), Budget("macs", IMAGE)
    gradients = collaborative._gradients(net, setting(DATA))
    for order in (sorted(gradients), sorted(gradients, reverse=True)):
        layers = collaborative._layers(net, {path: gradients[path] for path in order}, budget, (True, True))
        assert [layer.path for layer in layers] == [*gradients][1:]


def test_a_budget_that_no_rates_meet_is_refused_with_the_smallest_that_is_possible():
    net = randomised("vgg11", num_classes=4)
    with pytest.raises(InputError, match=r"^cc: no rates leave 0\.01 of the macs: at their limits, features") as caught:
        methods.get("cc").plan(net, 0.99, setting(DATA, "macs"))
    most = float(str(caught.value).partition("the ratio can be ")[2].partition(" ")[0])
    small = pruning.apply(net, methods.get("cc").plan(net, most - 0.001, setting(DATA, "macs")))
    assert 1 - cost.macs(small, IMAGE) / cost.macs(net, IMAGE) == pytest.approx(most, abs=0.02)
