"""Discrimination-aware pruning: it finds the channels that reach the output, and is resumed with the same bits."""

import copy
import math
import types

import pytest
import torch

from examples import SMALL, pictures, randomised, setting
from slimming import cli, methods, networks, pruning, tensorfile
from slimming.errors import InputError
from slimming.measuring import cost
from slimming.methods import discrimination
from slimming.methods.parts import selection
from slimming.methods.parts.headed import Headed, HeadedTraining
from slimming.methods.parts.selection import Selection
from slimming.settings import Schedule
from slimming.training import loop
from tiny import Work

DATA = pictures()
IMAGE = (3, 12, 12)


@pytest.fixture(scope="module", params=SMALL)
def planted(request, tmp_path_factory):
    """A trained network of which every site's channels but some are dead: {site: those alive}."""
    torch.manual_seed(3)
    net = networks.build(request.param, num_classes=4, **SMALL[request.param])
    folder = tmp_path_factory.mktemp("planted")
    loop.train(net, DATA, Schedule(batch_size=25), methods.get("none"), 3, 2, folder / "state", "x")
    alive = {}
    for place, (site, norm) in enumerate(networks.prunable(net).items()):
        generator = torch.Generator().manual_seed(place)
        alive[site] = torch.randperm(norm.num_features, generator=generator)[: norm.num_features // 2].sort().values
        dead = torch.ones(norm.num_features, dtype=torch.bool)
        dead[alive[site]] = False
        # Or a ReLU may be dead that is not planted so.
        norm.bias.data.fill_(0.5)
        norm.running_mean.zero_()
        norm.running_var.fill_(1)
        norm.weight.data[dead] = norm.bias.data[dead] = 0
    return net.eval(), alive


@pytest.mark.parametrize("parameters", [{}, {"discrimination": 0.0}])  # without reconstruction a head may see less
def test_exactly_the_channels_that_reach_the_output_are_selected(planted, parameters):
    net, alive = planted
    chosen = started(net, **parameters)
    for site in net.sites:
        reaching = reached(net, site.consumer, chosen.images)
        assert set(reaching.tolist()) <= set(alive[site.norm].tolist())
        found = chosen.select(site, len(reaching))
        (kept,) = found["kept"]
        assert torch.equal(kept.nonzero().flatten(), reaching), site.norm
        assert not found["weight"][:, ~kept].any()


def started(net, **losses):
    """A selection in `net` with heads that nothing has trained."""
    headed = Headed(copy.deepcopy(net), discrimination.HEADS, IMAGE)
    return Selection(headed, discrimination._sample(setting(DATA)), 1, **losses)


def reached(net, path, images):
    """The input channels of a layer that are not zero for all images; of those alive, a ReLU may be dead."""
    read = []
    hook = net.get_submodule(path).register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    net(images)
    hook.remove()
    return read[0].transpose(0, 1).flatten(1).ne(0).any(1).nonzero().flatten()


def test_without_anything_to_remove_nothing_changes(planted):
    net, _ = planted
    images = torch.randn(3, *IMAGE, generator=torch.Generator().manual_seed(1))
    small = pruning.apply(net, methods.get("dcp").plan(net, 0.0, setting(DATA)))
    assert torch.allclose(small(images), net(images), atol=1e-5)


def test_channels_one_at_a_time_are_nearly_those_of_several_at_once(monkeypatch, tmp_path):
    torch.manual_seed(3)
    net = networks.build("vgg11", num_classes=4, width=0.25)
    loop.train(net, DATA, Schedule(batch_size=25), methods.get("none"), 3, 4, tmp_path / "state", "x")
    site = net.eval().sites[2]
    found = {}
    for steps in (10, 64):
        monkeypatch.setattr(selection, "STEPS", steps)
        (kept,) = started(net).select(site, 32)["kept"]
        found[steps] = set(kept.nonzero().flatten().tolist())
    assert len(found[10] & found[64]) >= 24


@pytest.mark.parametrize("name", SMALL)
def test_heads_stand_evenly_and_train_with_the_network(name, tmp_path):
    net = randomised(name, num_classes=4)
    headed = Headed(copy.deepcopy(net), 2, IMAGE)
    assert len(headed.places) == 2
    parts = len(net.parts())
    first, second = ((place + 1) / parts for place in headed.places)
    assert abs(first - 1 / 3) <= 1 / parts
    assert abs(second - 2 / 3) <= 1 / parts
    images = torch.randn(3, *IMAGE)
    headed.eval()
    assert torch.allclose(headed(images), net(images), atol=1e-6)
    before = [parameter.clone() for parameter in headed.heads.parameters()]
    loop.train(headed, DATA, Schedule(batch_size=25), HeadedTraining(), 3, 1, tmp_path / "state", "x")
    assert all(not torch.equal(a, b) for a, b in zip(before, headed.heads.parameters(), strict=True))


@pytest.mark.parametrize("of", ["parameters", "macs"])
@pytest.mark.parametrize("name", SMALL)
def test_every_site_keeps_the_same_share_and_no_less_goes_than_asked(name, of):
    net = randomised(name, num_classes=4)
    budget = setting(DATA, of).budget
    widths = discrimination._widths(net, 0.5, budget)
    spec = net.spec | {"channels": widths}
    assert cost.of_spec(spec, of, IMAGE) <= 0.5 * cost.of_spec(net.spec, of, IMAGE)
    full = {site: norm.num_features for site, norm in networks.prunable(net).items()}
    share = sum(widths.values()) / sum(full.values())
    assert all(abs(count - share * full[site]) <= 1 for site, count in widths.items())


def test_with_a_larger_epsilon_networks_are_smaller():
    net = randomised("basicresnet14", num_classes=4)
    sizes = []
    for epsilon in (1e-4, 0.1, 10.0):
        plan = methods.get("dcp-adapt", epsilon=epsilon).plan(net, 0.3, setting(DATA))
        sizes.append(sum(map(len, plan.values())))
    assert sizes[0] > sizes[2]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("name", ["basicresnet14", "densenet13"])
@pytest.mark.parametrize(("of", "channels"), [("parameters", 0.5), ("macs", 0.0)])
def test_kernels_that_go_are_zeros_and_the_budget_counts_them(name, of, channels):
    net = randomised(name, num_classes=4)
    small = pruning.apply(net, methods.get("dkp", channels=channels).plan(net, 0.4, setting(DATA, of)))
    left = cost.count(small, IMAGE)[{"parameters": "nonzero", "macs": "macs_nonzero"}[of]]
    whole = cost.count(net, IMAGE)[of]
    assert 0.39 <= 1 - left / whole <= 0.46
    readers = cost.readers(small)
    assert all(reader["kernels_nonzero"] < reader["kernels"] for site, reader in readers.items() if site != "norm")
    before = sum(norm.num_features for norm in networks.prunable(net).values())
    after = sum(norm.num_features for norm in networks.prunable(small).values())
    assert (after == before) == (channels == 0)


def test_fine_tuning_keeps_kernels_at_zero(tmp_path):
    net = randomised("basicresnet14", num_classes=4)
    method = methods.get("dkp")
    small = pruning.apply(net, method.plan(net, 0.6, setting(DATA, "parameters")))
    zeros = {name: value == 0 for name, value in small.named_parameters() if value.dim() > 2}
    loop.train(small, DATA, Schedule(batch_size=25), method.finetuning(), 3, 1, tmp_path / "state", "x")
    assert all(not small.get_parameter(name)[zero].any() for name, zero in zeros.items())


def test_where_kernels_alone_cannot_meet_a_budget_one_a_convolution_is_left(capsys):
    net = randomised("vgg11", num_classes=4)
    plan = methods.get("dkp", channels=0.0).plan(net, 0.999, setting(DATA, "parameters"))
    assert "so that 0.999 cannot go" in capsys.readouterr().out
    weights = [value for value in plan.weights.values() if value.dim() > 2]
    assert weights
    assert all(int(weight.flatten(2).any(2).sum()) <= 1 for weight in weights)


class Killed(Exception):
    pass


def test_a_kill_in_the_middle_of_a_selection_ends_with_the_same_bits(prepared, tmp_path, monkeypatch):
    keys = {"ratios": [0.5], "compensate": False, "recalibrate": False, "schedule": {"epochs": 1}}
    whole, broken = (Work(tmp_path / name, prepared, methods=["dcp"], **keys) for name in ("whole", "broken"))
    commands = {}
    for work in (whole, broken):
        assert cli.main(work.train()) == 0
        commands[work] = [word for word in work.prune() if word not in ("--compensate", "--recalibrate")]
    calls, optimise = iter(range(12)), selection.Selection._optimise

    def dying(*arguments):
        if next(calls, None) is None:
            raise Killed
        optimise(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(selection.Selection, "_optimise", dying)
        with pytest.raises(Killed):
            cli.main(commands[broken])
    assert list((broken.checkpoints / "parts").glob("dcp-*.safetensors"))
    for work in (whole, broken):
        assert cli.main(commands[work]) == 0
        assert not (work.checkpoints / "parts").exists()
    files = [work.checkpoints / "pruned-0.5.safetensors" for work in (whole, broken)]
    assert tensorfile.sha256(files[0]) == tensorfile.sha256(files[1])


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("dcp", {"discrimination": 0.0, "reconstruction": 0.0}, "not both 0"),
        ("dcp", {"selection": "gradiant"}, "unknown selection of dcp 'gradiant': did you mean 'gradient'"),
        ("dcp-adapt", {"epsilon": 0.0}, "epsilon must be positive"),
        ("dkp", {"channels": 1.5}, "channels must lie in"),
    ],
)
def test_wrong_parameters_are_refused(name, parameters, message):
    with pytest.raises(InputError, match=message):
        methods.get(name, **parameters)


@pytest.mark.parametrize("sure", [0.0, 30.0, 1000.0])
def test_heads_weigh_no_more_than_the_network_that_knows_its_images_by_heart(sure):
    """Its own loss goes to nothing, and what is divided by it would go beyond all bounds."""
    labels = torch.arange(4)
    own, guess = sure * torch.eye(4), torch.zeros(4, 4)
    at = types.SimpleNamespace(net=types.SimpleNamespace(guesses=[guess, own]), labels=labels)
    loss = HeadedTraining().loss(at)
    assert float(loss) == pytest.approx(math.log(4))
