"""Filters fuse into a compact network: codes, importances, temperature, and the network that is left."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from examples import SMALL, pictures, randomised, setting, step
from slimming import methods, networks, pruning
from slimming.errors import InputError
from slimming.measuring import cost
from slimming.methods import fusion
from slimming.methods.base import Method
from slimming.pruning import Budget
from slimming.settings import Schedule
from slimming.training import loop
from slimming.training.flat import FlatParameters


def filters(count=6, weights=8, seed=0):
    return torch.randn(count, weights, generator=torch.Generator().manual_seed(seed))


@given(st.floats(1e-3, 1e4), st.integers(2, 9))
def test_a_code_is_a_distribution_in_which_the_filter_itself_weighs_most(sharpness, count):
    p = fusion.codes(filters(count), sharpness).exp()
    assert torch.allclose(p.sum(1), torch.ones(count, dtype=torch.float64), atol=1e-12)
    assert (p.diagonal() == p.max(1).values).all()


def test_a_code_is_the_softmax_of_negative_distances():
    some = filters()
    expected = (-3.0 * torch.cdist(some.double(), some.double())).softmax(1)
    assert torch.allclose(fusion.codes(some, 3.0).exp(), expected, atol=1e-12)


def test_importance_is_the_mean_divergence_from_all_other_codes():
    logarithms = fusion.codes(filters(), 1.0)
    p = logarithms.exp()
    for j, score in enumerate(fusion.importance(logarithms, authors=False).tolist()):
        divergences = [(p[j] * (p[j] / p[k]).log()).sum().item() for k in range(len(p))]
        assert score == pytest.approx(sum(divergences) / len(p), abs=1e-12)


def test_importances_stay_finite_where_the_authors_are_not():
    logarithms = fusion.codes(filters(), 4622.0)
    assert torch.isfinite(fusion.importance(logarithms, authors=False)).all()
    assert not torch.isfinite(fusion.importance(logarithms, authors=True)).all()
    soft = fusion.codes(filters(), 1.0)
    ours, theirs = (fusion.importance(soft, authors) for authors in (False, True))
    assert torch.allclose(ours.float(), theirs, rtol=1e-4)  # their sum over codes, divided by weights, is our mean


def test_the_temperature_goes_from_its_start_to_its_end():
    assert [fusion.geometric(epoch, 5) for epoch in range(5)] == pytest.approx([1, 10, 100, 1000, 10_000])
    assert fusion.geometric(0, 1) == 10_000
    theirs = [fusion.sigmoid(epoch, 300) for epoch in (0, 1, 2, 3, 10)]
    assert theirs == pytest.approx([1, 4622, 7616, 9052, 9999], rel=1e-3)


def banked(network="vgg11", ratio=0.5, epochs=4):
    net = randomised(network)
    widths = fusion._widths(net, ratio, Budget("macs", (3, 12, 12)))
    made = fusion._banked(net, widths)
    made.register_buffer("own", torch.zeros(len(made.spec["forms"]), epochs))
    return made


@pytest.mark.parametrize("network", SMALL)
def test_the_compact_network_computes_what_the_banks_do(network):
    net = banked(network)
    at = step(net)
    method = fusion.Fusing(authors=False, epochs=4)
    method.prepare(at)
    method.on_epoch(at)
    images = torch.rand(4, 3, 12, 12)
    small = networks.forms.contracted(net)
    assert torch.allclose(net.eval()(images), small.eval()(images), atol=1e-6)
    assert "forms" not in small.spec
    for path in net.spec["forms"]:
        for code in (net.get_submodule(path).rows, net.get_submodule(path).columns):
            assert torch.allclose(code.sum(1), torch.ones(len(code)), atol=1e-6)


@pytest.mark.parametrize("network", SMALL)
def test_gradients_reach_every_filter_of_a_bank(network):
    net = banked(network)
    flat = FlatParameters(net)
    method, at = fusion.Fusing(authors=False, epochs=4), step(net, flat=flat)
    method.prepare(at)
    method.on_epoch(at)
    net.train()(torch.rand(8, 3, 12, 12)).square().mean().backward()
    flat.collect()
    for path, settings in net.spec["forms"].items():
        gradient = at.layers[f"{path}.bank"].gradient
        if "outputs" in settings:
            assert gradient.flatten(1).ne(0).any(1).all()
        if "inputs" in settings:
            assert gradient.transpose(0, 1).flatten(1).ne(0).any(1).all()


def test_scores_that_are_not_finite_stay_those_of_before():
    net = banked()
    at = step(net)
    method = fusion.Fusing(authors=True, epochs=4)
    method.prepare(at)
    method.on_epoch(at)
    first = {name: scores.clone() for name, scores in at.state.items()}
    assert all(torch.isfinite(scores).all() and scores.any() for scores in first.values())
    at.epoch = 1
    for part in at.layers.values():
        part.values.mul_(2)
    method.on_epoch(at)
    assert all(torch.equal(at.state[name], scores) for name, scores in first.items())
    assert (net.own[:, 1] > 0.999).all()  # after one epoch every filter is its own code


@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize("ratio", [0.3, 0.7])
def test_the_budget_is_met_by_the_same_share_of_every_site(ratio, network):
    net, image = randomised(network), (3, 12, 12)
    full = {site: norm.num_features for site, norm in networks.prunable(net).items()}
    widths = fusion._widths(net, ratio, Budget("macs", image))
    left = cost.of_spec(net.spec | {"channels": widths}, "macs", image)
    assert left <= (1 - ratio) * cost.of_spec(net.spec, "macs", image)
    shares = [widths[site] / full[site] for site in full if full[site] > 8]
    assert max(shares) - min(shares) <= 1 / 8
    multiples = fusion._widths(net, ratio, Budget("macs", image, round_to=2))
    assert all(width % 2 == 0 or width == full[site] for site, width in multiples.items())


def test_nothing_fused_is_plain_training(tmp_path):
    """At full width, with codes that are one filter each, the banks train as the plain network does."""
    dataset, trained = pictures(), []
    for forms in (False, True):
        torch.manual_seed(1)
        net = networks.build("vgg11", num_classes=4, width=0.125)
        if forms:
            whole = {site.producer: {"form": "bank", "outputs": len(net.get_submodule(site.producer).weight)}
                     for site in net.sites}  # fmt: skip
            networks.forms.write(net, whole)
        state = tmp_path / f"state{forms}"
        loop.train(net, dataset, Schedule(epochs=1, batch_size=25, lr=0.01), Method(), 1, 1, state, "x")
        trained.append(net.eval())
    images = torch.rand(4, 3, 12, 12)
    assert torch.allclose(trained[0](images), trained[1](images), atol=1e-4)


@pytest.mark.parametrize("schedule", fusion.SCHEDULES)
def test_a_plan_is_the_compact_network_and_says_how_sharp_its_codes_were(schedule):
    net, dataset = randomised("vgg11", num_classes=4), pictures()
    plan = methods.get("dcff", schedule=schedule).plan(net, 0.5, setting(dataset, "macs"))
    small = pruning.apply(net, plan)
    assert "forms" not in small.spec
    assert {site: len(kept) for site, kept in plan.items()} == small.spec["channels"]
    assert cost.macs(small, (3, 12, 12)) <= 0.5 * cost.macs(net, (3, 12, 12))
    if schedule == "narrow":
        assert not plan.found
    else:
        points = plan.found["codes"]["features.0.conv"]
        assert [epoch for epoch, _ in points] == [0, 1]
        assert points[0][1] < points[1][1] == pytest.approx(1)
    assert math.isfinite(small(torch.rand(2, 3, 12, 12)).sum().item())


@pytest.mark.parametrize("network", SMALL)
def test_a_narrow_network_reads_as_many_channels_as_it_has(network):
    net = randomised(network)
    widths = fusion._widths(net, 0.5, Budget("macs", (3, 12, 12)))
    made = fusion._narrow(net, widths)
    for site in made.sites:
        indices = getattr(made.get_submodule(site.select), "indices", None) if site.select else None
        if indices is not None:
            assert len(indices.unique()) == widths[site.norm]
            assert (indices == indices.sort().values).all()


def test_an_unknown_schedule_is_refused():
    with pytest.raises(InputError, match="did you mean 'authors'"):
        methods.get("dcff", schedule="author")
