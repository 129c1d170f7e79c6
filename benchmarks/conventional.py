"""The yardstick: network slimming trained as it is usually written, in float32, layer by layer.

PIL images through torchvision's transforms, a DataLoader, a Python loop over the BatchNorm layers for the penalty,
torch.optim.SGD, the loss read at every step. `train` stands in for loop.train, so that a whole study can be run
with it (main). Nothing of the engine is in it, and no result comes from it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from slimming import data, networks
from slimming.methods.base import Method
from slimming.networks.base import Network
from slimming.settings import Machine, Schedule
from slimming.training import loop


class Pictures(torch.utils.data.Dataset):
    """Images (N, C, H, W) uint8 and labels (N,) as PIL images with torchvision's transforms."""

    def __init__(self, dataset: data.Dataset, images: Tensor, labels: Tensor, augmented: bool):
        from slimming.vision import transforms

        steps: list[Callable] = []
        if augmented and dataset.padding:
            steps.append(transforms.RandomCrop(dataset.image_size, padding=dataset.padding))
        if augmented and dataset.flip:
            steps.append(transforms.RandomHorizontalFlip())
        steps += [transforms.ToTensor(), transforms.Normalize(dataset.mean, dataset.std)]
        self.transform = transforms.Compose(steps)
        self.images, self.labels = images.permute(0, 2, 3, 1).squeeze(3).numpy(), labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def training_batches(dataset: data.Dataset, batch_size: int) -> DataLoader:
    """Shuffled and augmented, by torch's global generator."""
    pictures = Pictures(dataset, dataset.train_images, dataset.train_labels, augmented=True)
    return DataLoader(pictures, batch_size, shuffle=True)


class Loop:
    """The training of one network: `step` for a batch, `evaluate` for a test split."""

    def __init__(self, net: Network, schedule: Schedule, subgradient: Callable[[Tensor], Tensor] | None = None):
        self.net, self.subgradient = net, subgradient
        self.optimizer = torch.optim.SGD(
            net.parameters(), lr=schedule.lr, momentum=schedule.momentum, weight_decay=schedule.weight_decay
        )
        self.loss, self.hits = 0.0, 0

    def step(self, images: Tensor, labels: Tensor) -> None:
        self.optimizer.zero_grad()
        logits = self.net(images)
        loss = nn.functional.cross_entropy(logits, labels)
        loss.backward()
        if self.subgradient:
            for norm in networks.prunable(self.net).values():
                norm.weight.grad.data.add_(self.subgradient(norm.weight.data))
        self.optimizer.step()
        self.loss += loss.item() * len(labels)
        self.hits += (logits.argmax(1) == labels).sum().item()

    @torch.no_grad()
    def evaluate(self, batches: DataLoader) -> tuple[float, float]:
        """Mean loss and accuracy."""
        self.net.eval()
        loss, hits = 0.0, 0
        for images, labels in batches:
            logits = self.net(images)
            loss += nn.functional.cross_entropy(logits, labels, reduction="sum").item()
            hits += (logits.argmax(1) == labels).sum().item()
        self.net.train()
        return loss / len(batches.dataset), hits / len(batches.dataset)


def subgradient(method: Method) -> Callable[[Tensor], Tensor] | None:
    """A penalised method's subgradient for one layer's scaling factors; None for plain training."""
    return (lambda gamma: method.penalty.subgradient(gamma, method.lam)) if hasattr(method, "penalty") else None


def train(
    net: Network,
    dataset: data.Dataset,
    schedule: Schedule,
    method: Method,
    seed: int,
    epochs: int,
    resume: str | os.PathLike,
    identity: str,
    first_epoch: int = 0,
    machine: Machine = Machine(),  # noqa: B008 (frozen)
) -> loop.State:
    """loop.train, but for resuming."""
    torch.manual_seed(seed)
    begin, state = time.monotonic(), loop.State()
    running = Loop(net.train(), schedule, subgradient(method))
    batches = training_batches(dataset, schedule.batch_size)
    test = DataLoader(Pictures(dataset, dataset.test_images, dataset.test_labels, augmented=False), 64)
    images = len(dataset.train_labels)
    for epoch in range(epochs):
        running.optimizer.param_groups[0]["lr"] = loop.learning_rate(schedule, epoch, epochs)
        running.loss, running.hits = 0.0, 0
        for batch, labels in batches:
            running.step(batch, labels)
        row = (
            running.optimizer.param_groups[0]["lr"],
            running.loss / images,
            running.hits / images,
            *running.evaluate(test),
        )
        for key, value in zip(loop.HISTORY, row, strict=True):
            state.history[key].append(value)
    state.seconds = time.monotonic() - begin
    return state


def main() -> None:
    """The command line `slimming`, trained by `train`."""
    from slimming import cli

    loop.train = train
    cli.main()
