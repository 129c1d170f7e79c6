"""A ratio takes the share of what the budget counts: no less than asked, and not a step more."""

import re

import pytest
import torch

from examples import SMALL, randomised
from slimming import cli, methods, networks, pruning, study
from slimming.errors import InputError
from slimming.measuring import cost
from slimming.methods.base import Method, Setting
from slimming.networks import forms
from tiny import STUDY, Work

IMAGE = (3, 16, 16)
# Those that rank all channels at once.
CHANNELS = sorted(name for name in methods.registry() if type(methods.get(name)).plan is Method.plan)


def setting(of, round_to=1):
    return Setting(None, None, None, None, 1, 1, pruning.Budget(of, IMAGE, round_to))


def scored(network):
    """A network that every method can score."""
    net = randomised(network)
    sites = networks.prunable(net).values()
    net.learned = {"sigma": torch.linspace(0.01, 0.1, sum(norm.num_features for norm in sites))}
    return net


def reached(net, small, of):
    whole, left = (cost.count(some, IMAGE)[of] for some in (net, small))
    return 1 - left / whole


@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("of", ["parameters", "macs"])
def test_no_less_goes_than_asked_and_with_one_channel_less_it_would(of, name, network):
    net, method, asked = scored(network), methods.get(name), setting(of)
    assert reached(net, pruning.apply(net, method.plan(net, 0.5, asked)), of) >= 0.5
    scores = method.scores(net)
    one_less = pruning.plan(scores, 0, removals=pruning.removals(net, scores, 0.5, asked.budget) - 1)
    assert reached(net, pruning.apply(net, one_less), of) < 0.5


@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize(("of", "step"), [("parameters", 1), ("macs", IMAGE[1] * IMAGE[2])])
def test_single_weights_meet_the_budget_by_zeros(of, step, network):
    """A weight is stored once, and used at most at every pixel."""
    net, counts = randomised(network), {"parameters": "nonzero", "macs": "macs_nonzero"}
    small = pruning.apply(net, methods.get("swd-weights").plan(net, 0.5, setting(of)))
    before, after = (cost.count(some, IMAGE) for some in (net, small))
    assert 0.5 * before[of] <= before[counts[of]] - after[counts[of]] < 0.5 * before[of] + step
    assert after[of] == before[of]


@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize("of", ["channels", "parameters", "macs"])
def test_at_ratio_zero_nothing_goes(of, network):
    net = scored(network)
    for name in CHANNELS:
        assert methods.get(name).plan(net, 0, setting(of)).ratio_reached == 0
    if of != "channels":
        plan = methods.get("swd-weights").plan(net, 0, setting(of))
        assert cost.count(pruning.apply(net, plan), IMAGE) == cost.count(net, IMAGE)


@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize("of", ["channels", "parameters", "macs"])
def test_widths_stay_multiples_and_the_best_of_a_site_stay(of, network):
    net, method = randomised(network, width=0.5), methods.get("none")
    plan = method.plan(net, 0.4, setting(of, round_to=4))
    assert reached(net, pruning.apply(net, plan), of) >= 0.4
    for site, score in method.scores(net).items():
        assert len(plan[site]) % 4 == 0 or len(plan[site]) == len(score)
        gone = torch.ones(len(score), dtype=torch.bool)
        gone[plan[site]] = False
        assert not gone.any() or score[gone].max() <= score[plan[site]].min()


@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize(
    "form",
    [
        {"form": "svd", "rank": 2},
        {"form": "tucker", "inputs": 2, "outputs": 2},
        {"form": "tt", "ranks": [2, 4, 4, 2]},
    ],
)
@pytest.mark.parametrize("of", ["parameters", "macs"])
def test_a_factorised_network_meets_its_budget_too(of, form, network):
    net = randomised(network)
    convolutions = [path for path, module in net.named_modules() if isinstance(module, torch.nn.Conv2d)]
    forms.write(net, dict.fromkeys(convolutions, form))
    plan = methods.get("none").plan(net, 0.2, setting(of))
    assert reached(net, pruning.apply(net, plan), of) >= 0.2


def test_an_unknown_count_and_a_missing_image_are_refused():
    net = randomised("vgg11")
    scores = methods.get("none").scores(net)
    with pytest.raises(InputError, match="unknown count of a budget 'mac': did you mean 'macs'"):
        pruning.removals(net, scores, 0.5, pruning.Budget("mac"))
    with pytest.raises(InputError, match="needs the size of images"):
        pruning.removals(net, scores, 0.5, pruning.Budget("macs"))


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ({"budget": "channels"}, "budget: swd-weights-0.5 can have one of parameters or macs, not channels"),
        ({"round_to": 8}, "round_to: swd-weights-0.5 does not choose channels alone, and has no widths to round"),
    ],
)
def test_a_method_of_other_units_has_no_budget_of_channels(key, message):
    with pytest.raises(InputError, match=re.escape(message)):
        study.parse(STUDY | {"methods": ["swd-weights"], **key}, "study")


def test_the_record_says_what_was_asked_and_what_was_reached(prepared, tmp_path):
    work = Work(tmp_path, prepared, schedule={"epochs": 1, "batch_size": 128})
    prune = [word for word in work.prune() if word not in ("--compensate", "--recalibrate")]
    for command in (work.train(), [*prune, "--budget", "macs"], work.measure("trained", "pruned-0.5")):
        assert cli.main(command) == 0
    record, dense = work.record("pruned-0.5"), work.record("trained")["measured"]
    assert record["compression"]["ratio_of"] == "macs"
    found = record["measured"]
    for count in ("macs", "parameters", "channels"):
        assert found["reached"][count] == pytest.approx(1 - found[count] / dense[count])
    assert found["reached"]["channels"] == pytest.approx(found["ratio_reached"])
    assert found["reached"]["macs"] >= 0.5
    assert {dense["reached"][count] for count in ("macs", "parameters", "channels")} == {0}
