"""Pruned networks beside the paper's: compensated ones, and shapes trained from scratch at two budgets."""

import pytest
import torch

from examples import SMALL, randomised
from slimming import checkpoints, cli, methods, networks, pruning
from slimming.stages import table
from slimming.stages.scratch import fresh
from tiny import Work


def network(work, stem):
    return checkpoints.load(work.checkpoints / f"{stem}.safetensors")[0]


def same_weights(one, other):
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("ratio", ["0.5", "0.95"])
def test_a_compensated_network_keeps_the_same_channels_and_is_charged_for_its_biases(made, ratio):
    pruned, compensated = (made.record(f"{stage}-{ratio}") for stage in ("pruned", "compensated"))
    assert compensated["layers"] == pruned["layers"]
    net = network(made, f"compensated-{ratio}")
    assert net.spec["biases"]
    biases = sum(len(net.get_submodule(path).bias) for path in net.spec["biases"] if path != "classifier")
    assert compensated["measured"]["parameters"] == pruned["measured"]["parameters"] + biases
    assert compensated["measured"]["macs"] == pruned["measured"]["macs"]
    assert compensated["measured"]["loss"] != pruned["measured"]["loss"]


def test_with_nothing_removed_there_is_nothing_to_compensate(made):
    assert same_weights(network(made, "compensated-0"), network(made, "pruned-0"))


@pytest.mark.parametrize("ratio", ["0", "0.5", "0.95"])
def test_a_recalibrated_network_differs_in_its_statistics_alone(made, ratio):
    pruned, recalibrated = (network(made, f"{stage}-{ratio}") for stage in ("pruned", "recalibrated"))
    assert recalibrated.spec == pruned.spec
    theirs = pruned.state_dict()
    differing = {name for name, value in recalibrated.state_dict().items() if not torch.equal(value, theirs[name])}
    assert differing == {name for name in theirs if "running_" in name or "num_batches" in name}
    assert made.record(f"recalibrated-{ratio}")["layers"] == made.record(f"pruned-{ratio}")["layers"]


@pytest.mark.parametrize("stage", table.VARIANTS)
def test_no_variant_is_made_unasked(again, stage):
    for path in again.folder.rglob(f"{stage}-*"):
        path.unlink()
    assert cli.main([word for word in again.prune() if word not in table.STAGES[stage].options]) == 0
    assert not list(again.folder.rglob(f"{stage}-*"))


@pytest.mark.parametrize("name", SMALL)
def test_a_fresh_shape_is_that_of_the_pruned_network_and_gathers_the_same_channels(name):
    net = randomised(name)
    pruned = pruning.apply(net, pruning.plan(methods.get("none").scores(net), 0.5))
    torch.manual_seed(3)
    made = fresh(pruned)
    torch.manual_seed(3)
    initial = networks.from_spec(pruned.spec)
    buffers = dict(pruned.named_buffers())
    assert made.spec == pruned.spec
    for path, value in made.state_dict().items():
        inherited = path.endswith("indices")
        assert torch.equal(value, (buffers if inherited else initial.state_dict())[path])
    assert any(site.select for site in net.sites) == any(path.endswith("indices") for path in buffers)


@pytest.mark.parametrize("budget", ["epochs", "compute"])
def test_a_dense_shape_from_scratch_is_the_training_without_a_penalty(prepared, tmp_path, budget):
    """Same initial weights, order of images, schedule and epochs: the same bits."""
    keys = {"methods": ["none"], "ratios": [0.5, 0], "schedule": {"epochs": 1}}
    work = Work(tmp_path, prepared, **keys)
    for command in (work.train(), work.prune()):
        assert cli.main(command) == 0
    command = work.scratch(budget)
    command[1] = command[1].replace("pruned-0.5", "pruned-0")
    assert cli.main(command) == 0
    stem = {"epochs": "scratch-0", "compute": "scratch-compute-0"}[budget]
    assert same_weights(network(work, stem), network(work, "trained"))
    assert work.draft(stem)["history"] == work.draft("trained")["history"]


def test_the_penalty_of_the_run_does_not_act_from_scratch(again, monkeypatch):
    monkeypatch.setattr("slimming.methods.penalised.Penalised.add_gradient", None)
    assert cli.main(again.scratch()) == 0


def test_epochs_are_as_many_as_the_training_had_or_as_its_compute_allows(made):
    macs = {stem: made.record(stem)["measured"]["macs"] for stem in ("trained", "pruned-0.5")}
    more = round(2 * macs["trained"] / macs["pruned-0.5"])
    assert more > 2
    assert made.record("scratch-0.5")["training"]["epochs"] == 2
    assert made.record("scratch-compute-0.5")["training"]["epochs"] == more
    for stem in ("scratch-0.5", "scratch-compute-0.5"):
        assert made.record(stem)["measured"]["macs"] == macs["pruned-0.5"]
        assert made.record(stem)["layers"] == made.record("pruned-0.5")["layers"]
