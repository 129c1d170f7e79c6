"""A form computes what the plain convolution of its dense weight computes, wherever the network goes with it."""

import copy

import pytest
import tensorly
import torch
from tensorly.decomposition import tensor_train
from torch import nn

from examples import SMALL, randomised
from slimming import checkpoints, methods, networks, pruning
from slimming.errors import InputError
from slimming.measuring import cost
from slimming.networks import forms

tensorly.set_backend("pytorch")

IMAGES = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
ALL = 10**6  # more than any rank there is
FULL = {
    "svd": {"form": "svd", "rank": ALL},
    "tucker": {"form": "tucker", "inputs": ALL, "outputs": ALL},
    "tt": {"form": "tt", "ranks": [ALL] * 4},
}
LOW = {
    "svd": {"form": "svd", "rank": 3},
    "tucker": {"form": "tucker", "inputs": 2, "outputs": 3},
    "tt": {"form": "tt", "ranks": [2, 2, 2, 2]},
}


def layers(net):
    """The paths of all convolutions and linear layers, whatever their form."""
    inside = tuple(f"{path}." for path in net.spec.get("forms", {}))
    kinds = nn.Conv2d | nn.Linear | forms.Form
    found = [path for path, module in net.named_modules() if isinstance(module, kinds)]
    return [path for path in found if not path.startswith(inside)]


def written(net, form):
    copied = copy.deepcopy(net)
    forms.write(copied, dict.fromkeys(layers(net), form))
    return copied


def distance(one, other, images=IMAGES):
    with torch.no_grad():
        return (one(images) - other(images)).abs().max().item()


@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize("form", FULL)
def test_at_full_rank_nothing_changes(form, network):
    net = randomised(network)
    made = written(net, FULL[form])
    assert set(made.spec["forms"]) == set(layers(net))
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


LAYERS = {
    "3x3": lambda: nn.Conv2d(12, 10, 3, padding=1),
    "3x3, no bias": lambda: nn.Conv2d(12, 10, 3, padding=1, bias=False),
    "1x1": lambda: nn.Conv2d(12, 10, 1),
    "5x5, stride 2": lambda: nn.Conv2d(12, 10, 5, stride=2, padding=2),
    "3x1, no padding": lambda: nn.Conv2d(12, 10, (3, 1)),
    "3x3, stride (1, 2)": lambda: nn.Conv2d(12, 10, 3, stride=(1, 2), padding=(0, 1)),
    "primes": lambda: nn.Conv2d(7, 11, 3),
    "one channel": lambda: nn.Conv2d(1, 1, 3),
    "linear": lambda: nn.Linear(12, 10),
    "linear, no bias": lambda: nn.Linear(12, 10, bias=False),
}


def layer_and_form(layer, form):
    """A layer with random weights, and the same layer in a form."""
    torch.manual_seed(4)
    plain = LAYERS[layer]()
    settings = dict(form)
    made = forms.registry()[settings.pop("form")](plain, **settings)
    made.fit(plain.weight.detach() if plain.weight.dim() > 2 else plain.weight.detach()[..., None, None])
    return plain, made


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("form", FULL)
def test_at_full_rank_every_layer_is_what_it_was(form, layer):
    plain, made = layer_and_form(layer, FULL[form])
    wide = plain.weight.shape[1]
    x = torch.randn(4, wide) if isinstance(plain, nn.Linear) else torch.randn(4, wide, 9, 8)
    assert distance(plain, made, x) <= 1e-5
    assert distance(plain, made.plain(), x) <= 1e-5
    assert type(made.plain()).__mro__[-3:] == type(plain).__mro__[-3:]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("form", LOW)
def test_costs_are_those_of_the_formula(form, layer):
    """Parameters are those of the factors; each works at every position that it sees."""
    plain, made = layer_and_form(layer, LOW[form])
    inputs, outputs, taps = made.in_channels, made.out_channels, made.taps
    x = torch.zeros(1, inputs, 9, 8)
    before, after = (72, plain(x).shape[2] * plain(x).shape[3]) if isinstance(plain, nn.Conv2d) else (1, 1)
    if form == "svd":
        (r,) = made.settings.values()
        factors = [(r * inputs * taps, after), (r * outputs, after)]
    elif form == "tucker":
        s, r = made.settings.values()
        factors = [(s * inputs, before), (r * s * taps, after), (r * outputs, after)]
    else:
        a, b, c, d = made.settings["ranks"]
        (o1, o2), (i1, i2) = made.outputs, made.inputs
        factors = [(d * i2, i1 * before), (c * i1 * d, before), (b * c * taps, after)]
        factors += [(b * o2 * a, after), (a * o1, o2 * after)]
    bias = 0 if made.bias is None else outputs
    assert sum(parameter.numel() for parameter in made.parameters()) == sum(size for size, _ in factors) + bias
    if not made.linear:
        assert cost.macs(made, (inputs, 9, 8)) == sum(size * positions for size, positions in factors)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("rank", [1, 2, 5])
def test_the_error_is_that_of_the_truncated_decomposition(layer, rank):
    """Of svd the best of its rank, of tucker the projection on singular vectors of both sides, of tt tensorly's."""
    weights = {}
    for form in FULL:
        settings = {"svd": {"rank": rank}, "tucker": {"inputs": rank, "outputs": rank}, "tt": {"ranks": [rank] * 4}}
        plain, made = layer_and_form(layer, {"form": form, **settings[form]})
        weights[form] = made.dense().detach().double(), made
    whole = plain.weight.detach().double().view(plain.weight.shape[0], plain.weight.shape[1], -1)
    values = torch.linalg.svdvals(whole.flatten(1))
    assert error(weights["svd"], whole) == pytest.approx(values[rank:].square().sum().sqrt().item(), abs=1e-6)

    made = weights["tucker"][1]
    projected = hosvd(whole, made.outputs, made.inputs)
    assert error(weights["tucker"], whole) == pytest.approx(error((projected, None), whole), abs=1e-6)

    made = weights["tt"][1]
    tensor = whole.transpose(1, 2).reshape(*made.outputs, -1, *made.inputs)
    cores = tensor_train(tensor, rank=[1, *made.ranks, 1])
    assert error(weights["tt"], whole) == pytest.approx((cores.to_tensor() - tensor).norm().item(), abs=1e-6)


def error(made, whole):
    return (made[0].reshape(whole.shape) - whole).norm().item()


def hosvd(whole, outputs, inputs):
    """The projection on the leading singular vectors of both unfoldings."""
    out = torch.linalg.svd(whole.flatten(1), full_matrices=False)[0][:, :outputs]
    into = torch.linalg.svd(whole.transpose(0, 1).flatten(1), full_matrices=False)[0][:, :inputs]
    return torch.einsum("oik,or,pr,is,js->pjk", whole, out, out, into, into)


def test_a_form_lies_in_the_module_of_its_name():
    """By which a method that names the form depends on it."""
    for name, form in forms.registry().items():
        assert form.__module__ == f"slimming.networks.forms.{name}"


def test_wrong_ranks_of_a_train_are_refused():
    net = randomised("vgg11")
    for ranks in ([2, 2, 2], [2, 2, 2, 0], [2] * 5):
        with pytest.raises(InputError, match=r"^features\.2\.conv: form tt: "):
            forms.write(net, {"features.2.conv": {"form": "tt", "ranks": ranks}})


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
    cut = pruning.apply(forms.contracted(net), plan)
    if form != "tt":  # other numbers of channels have other factors, and may need higher ranks
        assert distance(cut, small) <= 1e-5
    forms.write(cut, net.spec["forms"])
    assert distance(cut, small) <= 1e-5
    assert set(small.spec["forms"]) == set(net.spec["forms"])
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("network", SMALL)
def test_ranks_that_surgery_leaves_no_room_for_are_clipped(network):
    net = written(randomised(network), LOW["svd"])
    small = pruning.apply(net, methods.get("none").plan(net, 0.95))
    for path, form in small.spec["forms"].items():
        module = small.get_submodule(path)
        assert form["rank"] == min(3, module.out_channels, module.in_channels * module.taps)


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
    (first, *_), other = layers(net), None
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
        ("features.0.norm", {"form": "svd", "rank": 2}, "features.0.norm: no convolution or linear layer of vgg11"),
        ("features.99.conv", {"form": "svd", "rank": 2}, "features.99.conv: no convolution or linear layer of vgg11"),
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
