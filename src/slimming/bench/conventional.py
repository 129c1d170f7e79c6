"""The yardstick: network slimming trained as it is usually written, in fp32, one operation a parameter.

PIL images through torchvision's transforms, a DataLoader, a Python loop over the BatchNorm layers for the penalty,
torch.optim.SGD, and the loss read at every step. Not for results, and nothing of the package's engine is in it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from slimming import data, networks
from slimming.methods.base import Method
from slimming.networks.base import Network
from slimming.study import Schedule


class Pictures(torch.utils.data.Dataset):
    """The training split as PIL images with torchvision's transforms, like torchvision.datasets."""

    def __init__(self, dataset: data.Dataset):
        from slimming.vision import transforms

        steps = [transforms.RandomCrop(dataset.image_size, padding=dataset.padding)] if dataset.padding else []
        steps += [transforms.RandomHorizontalFlip()] if dataset.flip else []
        steps += [transforms.ToTensor(), transforms.Normalize(dataset.mean, dataset.std)]
        self.transform = transforms.Compose(steps)
        self.images = dataset.train_images.permute(0, 2, 3, 1).numpy()
        self.labels = dataset.train_labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        pixels = self.images[index]
        image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        return self.transform(image), self.labels[index]


def batches(dataset: data.Dataset, batch_size: int, workers: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch, shuffled and augmented by torch's global generator."""
    return torch.utils.data.DataLoader(Pictures(dataset), batch_size, shuffle=True, num_workers=workers)


class Loop:
    """One network's training, step by step; `device` takes "cpu" or "cuda"."""

    def __init__(self, net: Network, schedule: Schedule, method: Method, device: str = "cpu"):
        self.net, self.method, self.device = net.to(device), method, device
        self.optimizer = torch.optim.SGD(
            net.parameters(), lr=schedule.lr, momentum=schedule.momentum, weight_decay=schedule.weight_decay
        )
        self.loss, self.hits = 0.0, 0

    def step(self, images: Tensor, labels: Tensor) -> None:
        images, labels = images.to(self.device), labels.to(self.device)
        self.optimizer.zero_grad()
        logits = self.net(images)
        loss = nn.functional.cross_entropy(logits, labels)
        loss.backward()
        for norm in networks.prunable(self.net).values():
            self.method.add_gradient(norm.weight.detach(), norm.weight.grad)
        self.optimizer.step()
        self.loss += loss.item() * len(labels)
        self.hits += (logits.argmax(1) == labels).sum().item()
