"""The contract of a method: what every registered one does, on every family, at its default parameters."""

import pytest
import torch

from examples import SMALL, pictures, setting, step
from slimming import cli, methods, networks, pruning, records
from slimming.errors import InputError
from slimming.measuring import cost
from slimming.settings import Schedule
from slimming.training import loop
from slimming.training.flat import FlatParameters
from tiny import Work

METHODS = sorted(methods.registry())
EPOCHS = 2


class Killed(Exception):
    pass


def build(name):
    torch.manual_seed(3)
    return networks.build(name, num_classes=4, **SMALL[name])


def dying(method, at):
    """The same method, but it kills the training before step `at`."""

    class Dying(type(method)):
        def before_step(self, step):
            if step.number == at:
                raise Killed
            super().before_step(step)

    return Dying(**vars(method))


def trained(method, network, folder):
    net = build(network)
    schedule = Schedule(epochs=EPOCHS, batch_size=25)
    loop.train(net, pictures(), schedule, method, 3, EPOCHS, folder / "resume", "contract")
    return net.eval()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """{(method, network): network trained without interruption}, made once for all tests."""
    made = {}

    def get(name, network):
        if (name, network) not in made:
            folder = tmp_path_factory.mktemp("finished")
            made[name, network] = trained(methods.get(name), network, folder)
        return made[name, network]

    return get


@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize("name", METHODS)
def test_training_is_finite_and_resumes_with_the_same_bits(name, network, finished, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_SHARE", 1e9)  # save at every step
    whole = finished(name, network)
    with pytest.raises(Killed):
        trained(dying(methods.get(name), 5), network, tmp_path)
    again = trained(methods.get(name), network, tmp_path)
    for key, value in whole.state_dict().items():
        assert torch.isfinite(value).all()
        assert torch.equal(value, again.state_dict()[key]), key
    assert whole.learned.keys() == again.learned.keys()
    assert all(torch.equal(value, again.learned[key]) for key, value in whole.learned.items())


@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize("name", METHODS)
def test_hooks_keep_gradients_finite(name, network):
    """At the first and the last step, whatever the factors are: none, tiny, huge."""
    net = build(network).to(memory_format=torch.channels_last)
    flat = FlatParameters(net)
    method, at = methods.get(name), step(net, flat=flat)
    method.prepare(at)
    for number in (0, at.steps - 1):
        at.number = number
        at.gamma.values[:4] = torch.tensor([0.0, 1e-30, -1e-6, 50.0])
        method.before_step(at)
        images = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(number))
        (net(images).square().mean() + method.loss(at)).backward()
        flat.collect()
        method.add_gradient(at)
        for part in (at.gamma, at.shift, at.weights):
            assert torch.isfinite(part.gradient).all()
            assert part.gradient.any()
        method.after_step(at)
        for part in (at.gamma, at.shift, at.weights):
            assert torch.isfinite(part.values).all()


@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize("name", METHODS)
def test_scores_rank_every_channel_and_the_ratio_is_met(name, network, finished):
    net, method = finished(name, network), methods.get(name)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    scores = method.scores(net)
    assert list(scores) == list(networks.prunable(net))
    for site, norm in networks.prunable(net).items():
        assert scores[site].shape == (norm.num_features,)
        assert torch.isfinite(scores[site]).all()
        assert not scores[site].requires_grad
    dataset = pictures()
    plan = method.plan(net, 0.3, setting(dataset, method.counts or "channels"))
    small = pruning.apply(net, plan)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    if method.counts is None:  # the method decides
        assert parameters(small) <= parameters(net)
        return
    reached = share_removed(method.counts, net, small)
    if method.counts in ("channels", "weights"):
        total = weights(net)[1] if method.counts == "weights" else sum(map(len, scores.values()))
        # Each site keeps one channel.
        assert reached == pytest.approx((round(0.3 * total) - len(plan.floored)) / total)
    else:  # what was asked, to a unit: those of these networks are large
        assert 0.29 <= reached < 0.36


def share_removed(counts, net, small):
    """The share that a ratio speaks of: of channels, parameters, multiply-accumulates or weights that are not zero."""
    if counts == "weights":
        assert parameters(small) == parameters(net)  # sparse, not smaller
        zeros, total = weights(small)
        return zeros / total
    left = {"parameters": "nonzero", "macs": "macs_nonzero"}.get(counts, counts)  # zeros count as gone
    before, after = (cost.count(some, (3, 12, 12)) for some in (net, small))
    return 1 - after[left] / before[counts]


def parameters(net):
    return sum(parameter.numel() for parameter in net.parameters())


def weights(net):
    """Weights of convolutions and linear layers that are zero, and all."""
    tensors = [parameter for parameter in net.parameters() if parameter.dim() > 1]
    return sum(int((tensor == 0).sum()) for tensor in tensors), sum(tensor.numel() for tensor in tensors)


@pytest.mark.parametrize("name", METHODS)
def test_every_stage_works_and_its_record_is_complete(name, prepared, tmp_path):
    keys = {"methods": [name], "schedule": {"epochs": 1, "batch_size": 128}, "ratios": [0, 0.5]}
    work = Work(tmp_path, prepared, **keys)
    stems = ("trained", "pruned-0", "pruned-0.5", "finetuned-0.5")
    for command in (work.train(), work.prune(), work.finetune(), work.measure(*stems)):
        assert cli.main(command) == 0
    for stem in stems:
        record = work.record(stem)
        assert record["run"]["method_slug"] == methods.get(name).slug
        assert {"measured", "history", "layers", "warnings", "checkpoint", "provenance"} <= record.keys()
        assert record["schema"] == records.SCHEMA


@pytest.mark.parametrize("name", METHODS)
def test_an_unknown_parameter_is_refused_in_one_line(name):
    for parameter in ("nosuch", "slug", "penalty"):
        with pytest.raises(InputError, match=parameter) as caught:
            methods.get(name, **{parameter: 1.0})
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)


@pytest.mark.parametrize("name", METHODS)
def test_defaults_act_on_fresh_networks(name):
    assert methods.get(name).cautions(0.5) == []
