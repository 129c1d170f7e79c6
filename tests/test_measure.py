"""Figures are those of the network at hand: against cases worked out by hand and an independent count."""

import copy
from math import log

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from examples import SMALL, randomised
from slimming import checkpoints, data, methods, networks, pruning
from slimming.errors import InputError
from slimming.measuring import accuracy, cost, latency
from slimming.networks import forms
from slimming.stages import measure


def labelled(images, labels, classes, channels=1):
    """A data set whose test split is `images` (N, C, H, W), normalised to themselves, with `labels`."""
    images, labels = torch.as_tensor(images, dtype=torch.uint8), torch.as_tensor(labels)
    return data.Dataset(
        "made", images.shape[-1], [str(c) for c in range(classes)], (0.0,) * channels, (1 / 255,) * channels,
        0, False, {}, images[:0], labels[:0], images, labels,
    )  # fmt: skip


class Table(nn.Module):
    """Answers an image of one pixel of value i with row i of a table of odds, out of which softmax makes shares."""

    def __init__(self, odds):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(odds).log())
        self.dropout = nn.Dropout(1.0)  # wipes all out unless in evaluation mode

    def forward(self, images):
        return self.dropout(self.logits[images.round().long().flatten()])


ODDS = [[2.0, 1.0, 1.0], [1.0, 3.0, 1.0], [1.0, 1.0, 6.0], [1.0, 2.0, 1.0], [4.0, 1.0, 1.0]]
LABELS = [0, 0, 1, 1, 0]  # shares of the right class: 1/2, 1/5, 1/8, 1/2, 2/3; the third class has no images


@pytest.mark.parametrize("batch", [500, 5, 2, 1])
def test_accuracy_and_loss_agree_with_a_case_worked_out_by_hand(batch, monkeypatch):
    monkeypatch.setattr(accuracy, "EVALUATION_BATCH", batch)
    dataset = labelled(torch.arange(5).view(5, 1, 1, 1), LABELS, classes=3)
    found = accuracy.evaluate(Table(ODDS), dataset)
    assert found["accuracy"] == 3 / 5
    assert found["accuracy_per_class"] == [2 / 3, 1 / 2, None]
    assert found["loss"] == pytest.approx((log(2) + log(5) + log(8) + log(2) + log(3 / 2)) / 5, rel=1e-6)


def test_top_five_counts_images_whose_class_is_among_the_five_likeliest():
    odds = [[6.0, 5.0, 4.0, 3.0, 2.0, 1.0]]
    for label, found in ((0, 1.0), (4, 1.0), (5, 0.0)):
        dataset = labelled(torch.zeros(1, 1, 1, 1), [label], classes=6)
        assert accuracy.evaluate(Table(odds), dataset)["accuracy_top5"] == found
    assert accuracy.evaluate(Table([odds[0][:5]]), labelled(torch.zeros(1, 1, 1, 1), [0], 5))["accuracy_top5"] is None


@pytest.mark.parametrize("network", SMALL)
def test_layers_that_read_sites_say_form_ranks_and_kernels(network):
    net = randomised(network)
    site = net.sites[1]
    weight = net.get_submodule(site.consumer).weight
    weight.data[0, :2] = 0
    found = cost.readers(net)
    assert list(found) == list(networks.prunable(net))
    kernels = weight.shape[0] * weight.shape[1]
    assert found[site.norm] == {"form": None, "rank": None, "kernels": kernels, "kernels_nonzero": kernels - 2}
    forms.write(net, {site.consumer: {"form": "tucker", "inputs": 2, "outputs": 1}})
    written = cost.readers(net)[site.norm]
    assert (written["form"], written["rank"], written["kernels"]) == ("tucker", "2 x 1", kernels)


@pytest.mark.parametrize("mode", [True, False])
def test_evaluation_leaves_the_network_as_it_was(mode):
    net = randomised("vgg11", in_channels=1, num_classes=3).train(mode)
    before = copy.deepcopy(net.state_dict())
    accuracy.evaluate(net, labelled(torch.zeros(4, 1, 8, 8), [0, 1, 2, 0], classes=3))
    assert all(module.training == mode for module in net.modules())
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


def counted(net, image):
    """MACs as torch counts them, which takes a multiply-accumulate as two operations."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.zeros(1, *image))
    return counter.get_total_flops() / 2


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [8, 17])
def test_cost_is_that_of_the_network_at_hand(name, size):
    net, image = randomised(name), (3, size, size)
    plan = pruning.plan(methods.get("none").scores(net), 0.5)
    small, dense = pruning.apply(net, plan), cost.count(net, image)
    for some in (net, small):
        figures = cost.count(some, image)
        assert figures["macs"] == counted(some, image)
        assert figures["parameters"] == sum(value.numel() for value in some.parameters())
    assert figures["channels"] == sum(map(len, plan.values()))
    assert dense["channels"] == sum(plan.channels.values())
    assert figures["macs"] < dense["macs"]
    assert figures["parameters"] < dense["parameters"]


def test_zeros_are_counted_and_make_nothing_smaller():
    net = randomised("vgg11")
    torch.nn.init.ones_(net.classifier.bias)
    dense = cost.count(net, (3, 8, 8))
    with torch.no_grad():
        net.classifier.weight[:, :5] = 0
    sparse = cost.count(net, (3, 8, 8))
    assert dense["nonzero"] == dense["parameters"]
    zeros = 5 * len(net.classifier.bias)  # each used once
    assert sparse == dense | {"nonzero": dense["parameters"] - zeros, "macs_nonzero": dense["macs"] - zeros}


def test_cost_counts_a_training_network_without_touching_it():
    net = randomised("vgg11")
    expected = cost.count(net, (3, 8, 8))
    before = copy.deepcopy(net.train().state_dict())
    for _ in range(2):
        assert cost.count(net, (3, 8, 8)) == expected
    assert all(module.training and not module._forward_hooks for module in net.modules())
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_latency_gives_median_and_ordered_quartiles_of_many(monkeypatch):
    seen = []

    class Watched(nn.Module):
        def forward(self, images):
            seen.append((len(images), torch.get_num_threads(), self.training, torch.is_inference_mode_enabled()))
            return images

    torch.set_num_threads(2)
    found = latency.measure(Watched(), (1, 8, 8), seconds=0.0, least=9)
    assert torch.get_num_threads() == 2
    assert list(found) == ["1", "64"]
    for times in found.values():
        assert set(times) == {"median", "q25", "q75", "repeats"}
        assert 0 < times["q25"] <= times["median"] <= times["q75"]
        assert times["repeats"] == 9
    # One run more, which is not timed; on one thread.
    assert seen == [(1, 1, False, True)] * 10 + [(64, 1, False, True)] * 10


def test_quartiles_are_in_milliseconds(monkeypatch):
    ticks = iter([0.0, 0.001, 1.0, 1.002, 2.0, 2.003, 3.0, 3.004, 4.0, 4.005])
    monkeypatch.setattr(latency.time, "perf_counter", lambda: next(ticks))
    found = latency._timed(lambda images: images, torch.zeros(1), seconds=0.0, least=5)
    assert found == {"median": 3.0, "q25": 2.0, "q75": 4.0, "repeats": 5}


def test_a_stored_network_is_measured_whole(tmp_path):
    net = randomised("vgg11", in_channels=1, num_classes=3)
    checkpoints.save(tmp_path / "x", net, {})
    dataset = labelled(torch.randint(256, (7, 1, 8, 8)), [0, 1, 2, 0, 0, 1, 2], classes=3)
    found = measure.figures(net, dataset, tmp_path / "x")
    assert found.pop("latency_ms").keys() == {"1", "64"}
    assert found.pop("bytes") == len((tmp_path / "x").read_bytes())
    assert found == accuracy.evaluate(net, dataset) | cost.count(net, (1, 8, 8))


@pytest.mark.parametrize(("channels", "classes"), [(3, 3), (1, 4)])
def test_other_images_or_classes_are_refused(channels, classes, tmp_path):
    net = networks.build("vgg11", width=0.125, in_channels=1, num_classes=3)
    images = torch.zeros(2, channels, 8, 8)
    with pytest.raises(InputError, match="x: built for other images than those of made"):
        measure.figures(net, labelled(images, [0, 1], classes, channels), tmp_path / "x")
