"""New BatchNorm statistics are those of training images, whatever the old ones were, and nothing else changes."""

import pytest
import torch

from examples import SMALL, randomised
from slimming import data, networks
from slimming.pruning import calibration


@pytest.fixture(scope="module")
def images() -> data.Dataset:
    """Colour images, fewer than are asked for, in a number that leaves a smaller last batch."""
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (250, 3, 16, 16), dtype=torch.uint8, generator=draw)
    labels = torch.zeros(250, dtype=torch.int64)
    return data.Dataset(
        name="colours",
        image_size=16,
        classes=["a"],
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        padding=2,
        flip=True,
        md5={},
        train_images=pixels,
        train_labels=labels,
        test_images=pixels[:2],
        test_labels=labels[:2],
    )


def statistics(net):
    return {name: value.clone() for name, value in net.named_buffers() if "running_" in name}


@pytest.mark.parametrize("name", SMALL)
def test_new_statistics_are_the_means_over_batches_of_what_reaches_each_layer(name, images):
    net = randomised(name)
    made = calibration.recalibrate(net, images, seed=1, epoch=3)
    seen = {}
    net.train()
    hooks = [
        norm.register_forward_hook(lambda norm, inputs, _, site=site: seen.setdefault(site, []).append(inputs[0]))
        for site, norm in net.named_modules()
        if isinstance(norm, torch.nn.BatchNorm2d)
    ]
    with torch.no_grad():
        for batch, _ in data.batches(images, calibration.BATCH, 1, 3):
            net(batch)
    for hook in hooks:
        hook.remove()
    for site, inputs in seen.items():
        norm = made.get_submodule(site)
        means = torch.stack([batch.mean((0, 2, 3)) for batch in inputs]).mean(0)
        variances = torch.stack([batch.var((0, 2, 3)) for batch in inputs]).mean(0)
        torch.testing.assert_close(norm.running_mean, means, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm.running_var, variances, rtol=1e-4, atol=1e-5)
        assert norm.momentum == net.get_submodule(site).momentum


def test_old_statistics_do_not_matter_and_the_network_is_left_as_it_was(images):
    one, other = randomised("vgg11"), randomised("vgg11")
    for norm in networks.prunable(other).values():
        norm.running_var.fill_(100.0)
    before = {name: value.clone() for name, value in one.state_dict().items()}
    made, again = (calibration.recalibrate(net, images, 1, 3) for net in (one, other))
    assert not made.training
    for name, value in statistics(made).items():
        assert torch.equal(value, statistics(again)[name])
    assert all(torch.equal(value, before[name]) for name, value in one.state_dict().items())
    assert dict(made.named_parameters()).keys() == dict(one.named_parameters()).keys()


def test_at_most_as_many_images_are_read_as_promised(images, monkeypatch):
    net = randomised("vgg11")
    whole = statistics(calibration.recalibrate(net, images, 1, 3))
    monkeypatch.setattr(calibration, "IMAGES", calibration.BATCH)
    part = statistics(calibration.recalibrate(net, images, 1, 3))
    assert not any(torch.equal(value, whole[name]) for name, value in part.items())
    made = calibration.recalibrate(net, images, 1, 3)
    assert {int(norm.num_batches_tracked) for norm in networks.prunable(made).values()} == {1}
