"""Networks with unremarkable random weights, statistics and scaling factors, small enough for tests."""

import torch

from slimming import networks
from slimming.networks.base import Network

SMALL = {
    "vgg11": {"width": 0.125},
    "densenet13": {"width": 0.5},
    "resnet20": {"width": 0.25},
}


def randomised(name: str, seed: int = 0, **options: float) -> Network:
    """A network in evaluation mode whose BatchNorms have random scale, shift and statistics."""
    torch.manual_seed(seed)
    net = networks.build(name, **{**SMALL.get(name, {}), **options}).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, -1, 1)
            torch.nn.init.normal_(module.bias)
            torch.nn.init.normal_(module.running_mean, std=0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    return net
