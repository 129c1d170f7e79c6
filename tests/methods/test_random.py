"""Random pruning is repeatable, differs between networks, and says nothing of the scaling factors."""

import torch

from examples import randomised
from slimming import methods


def flat(net):
    return torch.cat([*methods.get("random").scores(net).values()])


def test_scores_are_a_function_of_the_network():
    assert torch.equal(flat(randomised("resnet20", 1)), flat(randomised("resnet20", 1)))
    assert not torch.equal(flat(randomised("resnet20", 1)), flat(randomised("resnet20", 2)))


def test_scores_are_uniform_and_do_not_follow_the_scaling_factors():
    net = randomised("vgg11", width=1.0)
    scores, sizes = flat(net), torch.cat([*methods.get("none").scores(net).values()])
    assert torch.allclose(scores.histc(10, 0, 1) / len(scores), torch.tensor(0.1), atol=0.02)
    assert torch.corrcoef(torch.stack([scores, sizes]))[0, 1].abs() < 0.05
