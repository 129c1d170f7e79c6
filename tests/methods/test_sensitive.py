"""Channels are scored by what the loss says of them: without the channel in truth, and to first order."""

import pytest
import torch
from torch.nn import functional

from examples import SMALL, pictures, randomised, setting
from slimming import data, methods, networks
from slimming.measuring import ablation


def without(net, site, channel, images):
    """Logits of a whole pass in which the site's consumer reads zeros in the place of a channel."""

    def zero(module, inputs):
        x = inputs[0].clone()
        x[:, channel] = 0
        return x

    handle = net.get_submodule(site.consumer).register_forward_pre_hook(zero)
    with torch.no_grad():
        logits = net(images)
    handle.remove()
    return logits


def pictured(network):
    dataset = pictures(80)
    images, labels = (torch.cat(part) for part in zip(*data.plain_batches(dataset, 50), strict=True))
    return randomised(network, num_classes=4), images, labels


@pytest.mark.parametrize("network", SMALL)
def test_the_fast_way_is_the_slow_way(network):
    net, images, labels = pictured(network)
    told = []
    found = ablation.ablate(net, images, labels, told.append)
    assert [*found] == [site.norm for site in net.sites]
    assert sum(told) == sum(len(some.losses) for some in found.values())
    for site in net.sites[:: max(1, len(net.sites) // 4)]:
        some = found[site.norm]
        for channel in range(0, len(some.losses), 3):
            logits = without(net, site, channel, images)
            assert some.losses[channel] == pytest.approx(functional.cross_entropy(logits, labels).item(), rel=1e-4)
            right = labels[logits.argmax(1) == labels]
            assert some.hits[channel].tolist() == torch.bincount(right, minlength=4).tolist()


@pytest.mark.parametrize("network", SMALL)
def test_a_channel_of_zeros_changes_nothing(network):
    net, images, labels = pictured(network)
    site = net.sites[len(net.sites) // 2]
    norm = net.get_submodule(site.norm)
    with torch.no_grad():
        norm.weight[0] = norm.bias[0] = 0
        logits = net(images)
    some = ablation.ablate(net, images, labels)[site.norm]
    assert some.losses[0] == pytest.approx(functional.cross_entropy(logits, labels).item(), rel=1e-6)
    assert not some.activations[0].any()


@pytest.mark.parametrize("network", SMALL)
def test_taylor_is_the_gradient_by_a_factor_of_the_channel(network):
    """d loss / d s at s = 1 of a channel's maps times s is the sum of gradient times maps, image by image."""
    net, dataset = randomised(network, num_classes=4), pictures(20)
    scores = methods.get("taylor").measured(net, setting(dataset))
    (images, labels), *_ = data.plain_batches(dataset, len(dataset.train_labels))
    site, step = net.sites[-1], 1e-3
    double = net.double()
    for channel in range(0, len(scores[site.norm]), 5):
        losses = []
        for factor in (1 - step, 1 + step):

            def scaled(module, inputs, factor=factor, channel=channel):
                x = inputs[0].clone()
                x[:, channel] *= factor
                return x

            handle = double.get_submodule(site.consumer).register_forward_pre_hook(scaled)
            maps = double.feature_maps(images.double())
            logits = double.classifier(maps.mean((2, 3)))
            handle.remove()
            losses.append(functional.cross_entropy(logits, labels, reduction="none"))
        slope = (losses[1] - losses[0]) / (2 * step)
        assert scores[site.norm][channel].item() == pytest.approx(slope.abs().mean().item(), rel=1e-2, abs=1e-6)


@pytest.mark.parametrize("name", ["taylor", "ablation"])
def test_channels_that_do_nothing_have_the_score_of_nothing(name):
    net = randomised("vgg11", num_classes=4)
    with torch.no_grad():
        for norm in networks.prunable(net).values():
            norm.weight[[1, 3]] = norm.bias[[1, 3]] = 0
    method = methods.get(name)
    for score in method.measured(net, setting(pictures())).values():
        assert score[1] == pytest.approx(score[3].item(), rel=1e-5)
        assert name == "ablation" or score[1] == 0 < score.max()


@pytest.mark.parametrize("name", ["taylor", "ablation"])
def test_what_goes_has_the_lowest_scores(name):
    net, method, some = randomised("vgg11", num_classes=4), methods.get(name), setting(pictures())
    plan, scores = method.plan(net, 0.3, some), method.measured(net, some)
    stay = torch.cat([scores[site][kept] for site, kept in plan.items()])
    assert sum(len(kept) for kept in plan.values()) == sum(plan.channels.values()) - round(
        0.3 * sum(plan.channels.values())
    ) + len(plan.floored)
    threshold = torch.cat([*scores.values()]).sort().values[round(0.3 * sum(plan.channels.values())) - 1]
    assert (stay < threshold).sum() <= len(plan.floored)
