"""A form computes what the plain convolution of its dense weight computes, wherever the network goes with it."""

import copy

import pytest
import torch
from torch import nn

from examples import SMALL, randomised
from slimming import checkpoints, methods, networks, pruning
from slimming.errors import InputError
from slimming.measuring import cost
from slimming.networks import forms

IMAGES = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
ALL = 10**6  # more than any rank there is
FULL = {"svd": {"form": "svd", "rank": ALL}, "tucker": {"form": "tucker", "inputs": ALL, "outputs": ALL}}
LOW = {"svd": {"form": "svd", "rank": 3}, "tucker": {"form": "tucker", "inputs": 2, "outputs": 3}}


def convolutions(net):
    return [path for path, module in net.named_modules() if isinstance(module, nn.Conv2d | forms.Form)]


def written(net, form):
    copied = copy.deepcopy(net)
    forms.write(copied, dict.fromkeys(convolutions(net), form))
    return copied


def distance(one, other, images=IMAGES):
    with torch.no_grad():
        return (one(images) - other(images)).abs().max().item()


@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize("form", FULL)
def test_at_full_rank_nothing_changes(form, network):
    net = randomised(network)
    made = written(net, FULL[form])
    assert set(made.spec["forms"]) == set(convolutions(net))
    assert distance(net, made) <= 1e-5
    assert distance(net, forms.contracted(made)) <= 1e-5


@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize("form", LOW)
def test_a_form_computes_what_its_dense_weight_computes(form, network):
    made = written(randomised(network), LOW[form])
    plain = forms.contracted(made)
    assert "forms" not in plain.spec
    assert plain.state_dict().keys() == randomised(network).state_dict().keys()
    assert distance(made, plain) <= 1e-5
    image = tuple(IMAGES.shape[1:])
    assert cost.macs(made, image) < cost.macs(plain, image)
    assert sum(p.numel() for p in made.parameters()) < sum(p.numel() for p in plain.parameters())


def test_svd_is_the_best_of_its_rank():
    """Eckart and Young: the squared error is the sum of the squared singular values that are left out."""
    net = randomised("vgg11")
    weight = net.features[2].conv.weight.detach().flatten(1)
    values = torch.linalg.svdvals(weight)
    forms.write(net, {"features.2.conv": {"form": "svd", "rank": 3}})
    error = (net.features[2].conv.dense().flatten(1) - weight).square().sum()
    assert error.item() == pytest.approx(values[3:].square().sum().item(), rel=1e-4)


@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize("form", LOW)
def test_a_factorised_network_can_be_stored_and_exported(form, network, tmp_path):
    net = written(randomised(network), LOW[form])
    checkpoints.save(tmp_path / "x", net, {})
    loaded, _ = checkpoints.load(tmp_path / "x")
    assert loaded.spec == net.spec
    assert distance(net, loaded) == 0
    exported = torch.export.export(net, (IMAGES,)).module()
    assert distance(net, exported) <= 1e-5


@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize("form", FULL)
def test_a_factorised_network_can_be_pruned_again_and_keeps_its_forms(form, network):
    net = written(randomised(network), FULL[form])
    plan = methods.get("none").plan(net, 0.4)
    small = pruning.apply(net, plan)
    assert distance(pruning.masked(forms.contracted(net), plan), small) <= 1e-5
    assert set(small.spec["forms"]) == set(net.spec["forms"])
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("network", SMALL)
def test_ranks_that_surgery_leaves_no_room_for_are_clipped(network):
    net = written(randomised(network), LOW["svd"])
    small = pruning.apply(net, methods.get("none").plan(net, 0.95))
    for path, form in small.spec["forms"].items():
        module = small.get_submodule(path)
        assert form["rank"] == min(3, module.out_channels, module.in_channels * module.kernel_size[0] ** 2)


def test_a_branch_that_is_dropped_takes_its_forms_along():
    net = written(randomised("resnet20"), FULL["svd"])
    plan = dict(pruning.Plan.whole(net, 0)) | {"blocks.stage1_1.norm3": torch.empty(0, dtype=torch.int64)}
    small = pruning.apply(net, plan)
    assert distance(pruning.masked(forms.contracted(net), plan), small) <= 1e-5
    assert not any(path.startswith("blocks.stage1_1.conv") for path in small.spec["forms"])


@pytest.mark.parametrize("network", SMALL)
def test_a_bias_stays_beside_a_form(network):
    net = randomised(network)
    plan = methods.get("none").plan(net, 0.5)
    compensated = pruning.apply(net, plan, compensate=tuple(IMAGES.shape[1:]))
    assert compensated.spec["biases"]
    assert distance(compensated, written(compensated, FULL["svd"])) <= 1e-5


@pytest.mark.parametrize("network", SMALL)
def test_a_plan_replaces_weights_and_writes_forms(network):
    net = randomised(network)
    (first, *_), other = convolutions(net), None
    plan = pruning.Plan.whole(net, 0)
    plan.weights = {f"{first}.weight": torch.zeros_like(net.get_submodule(first).weight)}
    plan.forms = {first: {"form": "svd", "rank": 1}}
    small = pruning.apply(net, plan)
    assert small.spec["forms"] == {first: {"form": "svd", "rank": 1}}
    assert not small.get_submodule(first).dense().any()
    assert net.get_submodule(first).weight.any()
    again = pruning.Plan.whole(small, 0)
    again.forms = {first: other}
    assert "forms" not in pruning.apply(small, again).spec


def test_a_fresh_network_of_forms_has_the_papers_initialisation():
    net = written(networks.build("vgg16", width=1.0), {"form": "svd", "rank": 40})
    fresh = networks.from_spec(net.spec).features[-1].conv  # 512 inputs and outputs, 3x3
    assert fresh.filters.weight.std().item() == pytest.approx((2 / (9 * 40)) ** 0.5, rel=0.02)
    assert fresh.combinations.weight.std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.02)


@pytest.mark.parametrize(
    ("path", "form", "message"),
    [
        ("features.0.conv", {"form": "svt", "rank": 2}, "unknown form 'svt': did you mean 'svd'"),
        ("features.0.conv", {"form": "svd", "rank": 0}, "form svd: rank must be a whole number of at least 1, got 0"),
        ("features.0.conv", {"form": "svd"}, "features.0.conv: form svd has other parameters"),
        ("features.0.conv", {"form": "svd", "inputs": 2}, "features.0.conv: form svd has other parameters"),
        ("features.0.norm", {"form": "svd", "rank": 2}, "features.0.norm: no convolution of vgg11"),
        ("features.99.conv", {"form": "svd", "rank": 2}, "features.99.conv: no convolution of vgg11"),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_line_and_changes_nothing(path, form, message):
    net = randomised("vgg11")
    before = dict(net.spec)
    with pytest.raises(InputError) as caught:
        forms.write(net, {"features.2.conv": {"form": "svd", "rank": 2}, path: form})
    assert message in str(caught.value)
    assert net.spec == before
    assert isinstance(net.features[2].conv, nn.Conv2d)


def test_plans_of_unknown_parameters_or_shapes_are_refused():
    net = randomised("vgg11")
    for name, message in (("features.0.cnv.weight", "unknown parameter"), ("features.0.conv.weight", "the plan has")):
        plan = pruning.Plan.whole(net, 0)
        plan.weights = {name: torch.zeros(1)}
        with pytest.raises(InputError, match=message):
            pruning.apply(net, plan)
