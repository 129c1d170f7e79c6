"""Rows of unit ablation: what is lost without a channel, and what a channel is."""

import json

import pytest
import torch

from examples import SMALL, pictures, randomised
from slimming import data
from slimming.analyses import ablation

DATA = pictures(120)


@pytest.mark.parametrize("network", SMALL)
def test_every_channel_has_a_row_that_adds_up(network):
    net = randomised(network, num_classes=4)
    rows = ablation.analyse(net, net, DATA)
    norms = {site.norm: net.get_submodule(site.norm) for site in net.sites}
    assert len(rows) == sum(norm.num_features for norm in norms.values())
    counts = torch.bincount(next(data.evaluation_batches(DATA, ablation.IMAGES))[1], minlength=4)
    for row in rows[::7]:
        assert set(row) == set(ablation.COLUMNS)
        drops = json.loads(row["drops"])
        assert row["class_drop"] == pytest.approx(max([*drops.values(), *([0.0] if len(drops) < 4 else [])]))
        total = sum(drop * counts[DATA.classes.index(name)] for name, drop in drops.items()) / counts.sum()
        assert row["drop"] == pytest.approx(float(total), abs=1e-4)
        assert row["gamma"] == pytest.approx(abs(norms[row["site"]].weight[row["channel"]].item()), rel=1e-5)
        assert 0 <= row["selectivity"] <= 1


def test_selectivity_is_one_for_one_class_and_zero_for_none():
    found = ablation.selectivity(torch.tensor([[4.0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [3, 1, 1, 1]]))
    assert found.tolist() == pytest.approx([1, 0, 0, 0.5])
