"""Networks with unremarkable random weights, images and steps of a training, small enough for tests."""

import tempfile
from functools import partial
from pathlib import Path

import torch
from torch import nn

from slimming import data, networks
from slimming.methods.base import Part, Setting, Step
from slimming.networks.base import Network
from slimming.pruning import Budget
from slimming.settings import Schedule
from slimming.training import loop
from slimming.training.flat import FlatParameters

CHOSEN = {
    "vgg": ("vgg11", {"width": 0.125}),
    "densenet": ("densenet13", {"width": 0.5}),
    "resnet": ("resnet20", {"width": 0.25}),
    "basicresnet": ("basicresnet14", {"width": 0.5}),
}
# A network of every family, and its options.
SMALL = dict(
    CHOSEN.get(family, (f"{family}{known.depths[0]}", {"width": 0.5})) for family, known in networks.families().items()
)


def randomised(name: str, seed: int = 0, **options: float) -> Network:
    """A network in evaluation mode whose BatchNorms have random scale, shift and statistics."""
    torch.manual_seed(seed)
    net = networks.build(name, **{**SMALL.get(name, {}), **options}).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, -1, 1)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return net


def pictures(count=200, channels=3, size=12, padding=1):
    """A data set of random images whose class shows in their brightness."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (count,), generator=generator)
    noise = torch.randint(0, 64, (count, channels, size, size), generator=generator)
    images = (noise + 48 * labels[:, None, None, None]).to(torch.uint8)
    half = count // 2
    return data.Dataset(
        "digits", size, ["a", "b", "c", "d"], (0.4,) * channels, (0.2,) * channels, padding, False, {},
        images[half:], labels[half:], images[:half], labels[:half],
    )  # fmt: skip


def setting(dataset: data.Dataset, of: str = "channels", schedule: Schedule | None = None) -> Setting:
    """What a method may use while it plans, to a budget `of` what; trainings follow `schedule`, and nothing is kept."""

    def train(net, method, epochs, name, part=None):
        some = dataset if part is None else data.part(dataset, part)
        with tempfile.TemporaryDirectory() as folder:
            loop.train(net, some, schedule or Schedule(batch_size=25), method, 1, epochs, Path(folder, "state"), name)

    return Setting(
        images=partial(data.plain_batches, dataset),
        labels=dataset.train_labels,
        train=train,
        remember=lambda name, compute: dict(sorted(compute().items())),  # as what was stored comes back
        seed=1,
        epochs=2,
        budget=Budget(of, tuple(dataset.train_images.shape[1:])),
    )


def step(net: Network, number: int = 0, steps: int = 10, lr: float = 0.1, flat: FlatParameters | None = None) -> Step:
    """Step `number` of a training of `net`; the network's parameters become, or are, views of `flat`."""
    flat = flat or FlatParameters(net)
    parts = flat.parts
    generator = torch.Generator().manual_seed(number)
    groups = parts["gamma"], parts["shift"], parts["weights"]
    return Step(net, *groups, flat.layers, 0.9, 1e-4, steps, generator, (3, 8, 8), number, lr=lr)


def step_of(gamma: torch.Tensor) -> Step:
    """A step for a method that looks at nothing but scaling factors."""
    part, none = Part(gamma, torch.zeros_like(gamma)), Part(torch.zeros(0), torch.zeros(0))
    return Step(nn.Module(), part, none, none, {}, 0.9, 1e-4, 10, torch.Generator(), (3, 8, 8), lr=0.1)
