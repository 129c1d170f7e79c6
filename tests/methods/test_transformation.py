"""Operations become cheaper ones: which may, what a policy learns, and what is derived."""

import pytest
import torch

from examples import SMALL, pictures, randomised, setting
from slimming import methods, networks, pruning
from slimming.errors import InputError
from slimming.measuring import cost
from slimming.methods import transformation
from slimming.methods.parts import policy, supernet
from slimming.settings import Schedule

IMAGE = (3, 12, 12)


def of(net, name="nat++"):
    return transformation.transitions(net, transformation.KNOWN[name])


def chosen(layers, name):
    """The choice that takes an operation wherever it is valid."""
    return [[*layer.options].index(name) if name in layer.options else 0 for layer in layers]


@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize("name", transformation.OPERATIONS)
def test_every_valid_transition_works_and_costs_less(name, network):
    net = randomised(network)
    layers = of(net)
    made = networks.from_spec(transformation._spec(net, layers, chosen(layers, name))).eval()
    first, second = made(torch.randn(2, *IMAGE, generator=torch.Generator().manual_seed(0)))
    assert not torch.equal(first, second)  # the output still depends on the image
    before, after = (cost.count(some, IMAGE) for some in (net, made))
    taken = any(name in layer.options for layer in layers)
    for measure in ("macs", "parameters"):
        assert (after[measure] < before[measure]) == (taken and name != "convolution")
        assert after[measure] <= before[measure]


def test_a_chain_loses_no_layer_and_a_branch_may():
    assert not any("null" in layer.options for layer in of(randomised("vgg11")))
    assert all("null" in layer.options for layer in of(randomised("basicresnet14")))


def test_a_skip_needs_the_same_shapes():
    net = randomised("vgg11")
    for layer in of(net, "nat"):
        conv = net.get_submodule(layer.path)
        assert ("skip" in layer.options) == (conv.in_channels == conv.out_channels)


KINDS = [[0, 1, 3], [0, 2], [0], [0, 1, 2, 3, 4], [0, 4]]


def test_what_is_not_valid_has_probability_zero():
    probabilities = policy.Policy(KINDS, 5)().detach()
    for row, valid in zip(probabilities, KINDS, strict=True):
        assert row.sum() == pytest.approx(1)
        assert [place for place, p in enumerate(row.tolist()) if p != 0] == valid
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        choice = policy.draw(policy.Policy(KINDS, 5), generator)
        assert all(0 <= option < len(valid) for option, valid in zip(choice, KINDS, strict=True))


@pytest.mark.parametrize("planted", [[2, 1, 0, 3, 0], [0, 0, 0, 4, 1]])
def test_a_planted_reward_is_found(planted):
    def gain(choice, _):
        return sum(option == best for option, best in zip(choice, planted, strict=True)) / len(planted)

    learnt = policy.learn(KINDS, 5, gain, torch.Generator().manual_seed(1), updates=300)
    best = learnt().argmax(1).tolist()
    assert [valid.index(operation) for valid, operation in zip(KINDS, best, strict=True)] == planted


def test_a_supernet_computes_the_choice_and_shares_its_weights():
    net = randomised("basicresnet14")
    layers = of(net)
    torch.manual_seed(2)
    shared = supernet.Supernet(net.spec, {layer.path: [*layer.options.values()] for layer in layers}).eval()
    images = torch.rand(4, *IMAGE)
    for name in transformation.OPERATIONS:
        choice = chosen(layers, name)
        shared.take(choice)
        alone = networks.from_spec(transformation._spec(net, layers, choice)).eval()
        weights = shared.net.state_dict()
        for layer, option in zip(layers, choice, strict=True):
            own = f"{layer.path}.options.{option}."
            weights |= {f"{layer.path}.{key.removeprefix(own)}": value for key, value in weights.items() if own in key}
        alone.load_state_dict({key: weights[key] for key in alone.state_dict()})
        assert torch.allclose(shared(images), alone(images), atol=1e-5), name


@pytest.mark.parametrize("selection", transformation.SELECTIONS)
@pytest.mark.parametrize("name", transformation.KNOWN)
def test_a_derived_network_is_no_costlier_and_is_said(name, selection, monkeypatch):
    monkeypatch.setattr(transformation, "UPDATES", 2)
    net, dataset = randomised("basicresnet14", num_classes=4), pictures()
    method = methods.get(name, selection=selection)
    some = setting(dataset, "macs", Schedule(batch_size=25))
    plan = method.plan(net, 0.5, some)
    small = pruning.apply(net, plan)
    for measure, before in cost.count(net, IMAGE).items():
        assert cost.count(small, IMAGE)[measure] <= before
    assert selection != "none" or "forms" not in small.spec
    for path, operation in plan.found["operations"].items():
        assert transformation.OPERATIONS[operation] in ("convolution", *transformation.KNOWN[name])
        assert (path in small.spec.get("forms", {})) == (operation != 0)


def test_the_random_baseline_costs_no_more_than_asked():
    net, some = randomised("basicresnet14"), setting(pictures(), "macs")
    layers = of(net)
    generator = torch.Generator().manual_seed(0)
    whole = cost.macs(net, IMAGE)
    for share in (1.0, 0.8, 0.5):
        choice = transformation._random(net, layers, int(share * whole), some, generator)
        assert transformation._macs(net, layers, choice, some) <= share * whole
        assert any(choice) == (share < 1)


def test_an_unknown_selection_is_refused():
    with pytest.raises(InputError, match="did you mean 'random'"):
        methods.get("nat", selection="randon")
