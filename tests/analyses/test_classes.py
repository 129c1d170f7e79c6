"""What pruning did to classes: it adds up, and channels that went are known again."""

import pytest
import torch

from examples import SMALL, pictures, randomised
from slimming import data, networks, pruning
from slimming.analyses import classes

DATA = pictures(120)


@pytest.mark.parametrize("network", SMALL)
def test_channels_that_went_are_known_and_what_each_class_lost_adds_up(network):
    dense = randomised(network, num_classes=4)
    generator = torch.Generator().manual_seed(0)
    sizes = {site: norm.num_features for site, norm in networks.prunable(dense).items()}
    plan = pruning.plan({site: torch.rand(size, generator=generator) for site, size in sizes.items()}, 0.4)
    small = pruning.apply(dense, plan)
    found = classes.kept_of(small, dense)
    assert all(torch.equal(found[site], kept) for site, kept in plan.items())
    rows = classes.analyse(small, dense, DATA)
    images, labels = next(data.evaluation_batches(DATA, classes.IMAGES))
    with torch.no_grad():
        right, before = (net.eval()(images).argmax(1) == labels for net in (small, dense))
    assert [row["class"] for row in rows] == [*DATA.classes]
    for place, row in enumerate(rows):
        mine = labels == place
        assert row["accuracy"] == pytest.approx(right[mine].float().mean().item())
        assert row["change"] == pytest.approx((right[mine].float().mean() - before[mine].float().mean()).item())
        assert row["gone"] == sum(sizes.values()) - sum(map(len, plan.values()))
    drops = classes.lost(dense, images, labels)
    site, kept = next((site, kept) for site, kept in plan.items() if len(kept) < sizes[site])
    gone = next(channel for channel in range(sizes[site]) if channel not in kept)
    masked = pruning.masked(dense, {site: torch.tensor([c for c in range(sizes[site]) if c != gone])}).eval()
    with torch.no_grad():
        without = masked(images).argmax(1) == labels
    lost = torch.bincount(labels[before], minlength=4) - torch.bincount(labels[without], minlength=4)
    assert torch.equal(drops[site][gone].long(), lost)


def test_of_channels_trained_since_nothing_is_said():
    dense = randomised("vgg11", num_classes=4)
    small = pruning.apply(dense, {next(iter(networks.prunable(dense))): torch.arange(3)})
    next(iter(networks.prunable(small).values())).weight.data += 0.01
    assert classes.kept_of(small, dense) is None
    rows = classes.analyse(small, dense, DATA)
    assert all(row["gone"] is row["damage"] is row["others"] is None for row in rows)
    assert all(
        (row["change"], row["gone"], row["damage"]) == (0, 0, None) for row in classes.analyse(dense, dense, DATA)
    )
