"""Class activation maps by their formulas, and the axioms that they keep or break."""

import pytest
import torch
from scipy import stats
from torch import nn
from torch.nn import functional

from slimming import vision  # noqa: F401 (before torchvision is imported: see there)

from pytorch_grad_cam import GradCAM, XGradCAM  # isort: skip
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget  # isort: skip

from examples import SMALL, pictures, randomised
from slimming.analyses import xgrad_cam

DATA = pictures(80)


def images_and_labels():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(10, 3, 32, 32, generator=generator), torch.randint(4, (10,), generator=generator)


def without_biases(network):
    """A network in which every layer is linear or a ReLU without bias: BatchNorms have no shift and no mean."""
    net = randomised(network, num_classes=4)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.bias.zero_()
                module.running_mean.zero_()
        net.classifier.bias.zero_()
    return net


@pytest.mark.parametrize("network", ["vgg11", "basicresnet14"])
def test_networks_without_biases_conserve_exactly(network):
    net, (images, labels) = without_biases(network), images_and_labels()
    for place in xgrad_cam.places(net, images):
        maps, gradients, scores = xgrad_cam.differentiate(net, place, images, labels)
        given = xgrad_cam.xgrad(maps, gradients) * maps.sum((2, 3))
        assert torch.allclose(given.sum(1), scores, rtol=1e-3, atol=1e-4 * scores.abs().max())


@pytest.mark.parametrize("network", SMALL)
def test_a_map_is_the_weighted_sum_of_the_layers_maps(network):
    net, (images, labels) = randomised(network, num_classes=4), images_and_labels()
    for place in xgrad_cam.places(net, images):
        maps, gradients, scores = xgrad_cam.differentiate(net, place, images, labels)
        assert torch.allclose(scores, net(images).gather(1, labels[:, None])[:, 0], atol=1e-4, rtol=1e-4)
        assert maps.min() >= 0
        weights, image = xgrad_cam.xgrad(maps, gradients), 3
        expected = torch.zeros(maps.shape[2:])
        for channel in range(maps.shape[1]):
            a, g = maps[image, channel], gradients[image, channel]
            w = (g * a).sum() / (a.sum() + 1e-6)
            assert weights[image, channel] == pytest.approx(w.item(), rel=1e-4, abs=1e-6)
            expected += w * a
        assert torch.allclose(xgrad_cam.saliency(weights, maps)[image], expected.relu(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("network", SMALL)
def test_before_a_mean_and_a_linear_layer_both_methods_are_one(network):
    net, (images, labels) = randomised(network, num_classes=4), images_and_labels()
    maps, gradients, _ = xgrad_cam.differentiate(net, len(net.parts()), images, labels)
    alive = maps.sum((2, 3)) > 1e-2
    assert torch.allclose(xgrad_cam.xgrad(maps, gradients)[alive], gradients.mean((2, 3))[alive], rtol=1e-3)


def test_a_network_is_like_itself_and_layers_have_rows():
    net = randomised("vgg11", num_classes=4)
    rows = xgrad_cam.analyse(net, net, DATA)
    assert [list(row) for row in rows] == [list(xgrad_cam.COLUMNS)] * len(rows)
    for row in rows:
        assert row["correlation"] in (None, pytest.approx(1))
        assert row["overlap"] in (None, 1)
        assert row["sensitivity_xgrad"] >= 0


def test_likeness_is_that_of_ranks():
    generator = torch.Generator().manual_seed(0)
    one, other = torch.rand(5, 6, 6, generator=generator), torch.rand(5, 6, 6, generator=generator)
    found = xgrad_cam.likeness(one, other)
    expected = [stats.spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(one, other, strict=True)]
    assert found["correlation"] == pytest.approx(sum(expected) / 5)
    assert xgrad_cam.likeness(one, one.square() + 3) == {"correlation": pytest.approx(1), "overlap": 1.0}
    assert xgrad_cam.likeness(one, -one)["overlap"] == 0
    assert xgrad_cam.likeness(one[:, :1, :1], one[:, :1, :1])["correlation"] is None
    assert xgrad_cam.likeness(torch.ones(2, 3, 3), torch.ones(2, 3, 3))["correlation"] is None


@pytest.mark.parametrize("network", ["vgg11", "basicresnet14"])
def test_maps_are_those_of_another_implementation(network):
    """The package grad-cam, by others; its maps are resized to the image and brought to [0, 1] before and after."""
    net, (images, labels) = randomised(network, num_classes=4), images_and_labels()
    asked = [ClassifierOutputTarget(label) for label in labels.tolist()]
    place = xgrad_cam.places(net, images)[-1]
    layer = net.features[place - 1] if network == "vgg11" else [None, *net.blocks.values()][place - 1]
    maps, gradients, _ = xgrad_cam.differentiate(net, place, images, labels)
    ways = {XGradCAM: xgrad_cam.xgrad(maps, gradients), GradCAM: gradients.mean((2, 3))}
    for theirs, weights in ways.items():
        expected = theirs(model=net, target_layers=[layer])(input_tensor=images, targets=asked)
        small = scaled(xgrad_cam.saliency(weights, maps))[:, None]
        ours = scaled(functional.interpolate(small, images.shape[2:], mode="bilinear")[:, 0])
        assert torch.allclose(ours, torch.tensor(expected), atol=1e-5)


def scaled(maps):
    """Every map from 0 to 1, as that package does it."""
    maps = maps - maps.amin((1, 2), keepdim=True)
    return maps / (1e-7 + maps.amax((1, 2), keepdim=True))
