"""What a network is worth and what it costs: accuracy, loss, parameters, MACs, bytes and latency."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from slimming import data, networks
from slimming.errors import InputError
from slimming.networks.base import Network

EVALUATION_BATCH = 200  # larger ones leave the caches: DenseNet-40 evaluates 500 at three quarters of the speed
LATENCY_BATCHES = (1, 64)


@torch.no_grad()
def evaluate(net: nn.Module, dataset: data.Dataset) -> dict:
    """Accuracy, mean cross-entropy and per-class accuracy on the test split, in evaluation mode.

    Accuracies are fractions; a class without test images has the accuracy None.
    """
    mode = net.training
    net.eval()
    classes = len(dataset.classes)
    hits, images = (torch.zeros(classes, dtype=torch.float64, device=dataset.test_labels.device) for _ in range(2))
    loss = torch.zeros((), dtype=torch.float64, device=hits.device)
    for batch, labels in data.evaluation_batches(dataset, EVALUATION_BATCH):
        # Convolutions follow their input's layout: half as fast again in this one, whatever layout the weights have.
        logits = net(batch.contiguous(memory_format=torch.channels_last))
        loss += nn.functional.cross_entropy(logits, labels, reduction="sum")
        hits += torch.bincount(labels, (logits.argmax(1) == labels).double(), minlength=classes)
        images += torch.bincount(labels, minlength=classes)
    net.train(mode)
    total = int(images.sum())
    per_class = [hit / count if count else None for hit, count in zip(hits.tolist(), images.tolist(), strict=True)]
    return {"accuracy": int(hits.sum()) / total, "loss": loss.item() / total, "accuracy_per_class": per_class}


def cost(net: Network, image: tuple[int, int, int]) -> dict:
    """Parameters, MACs of convolutions and linear layers for one `image` (C, H, W), and prunable channels.

    `nonzero` counts the parameters that are not zero. Zeros make a network sparse, neither smaller nor faster.
    """
    return {
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "nonzero": sum(int(parameter.count_nonzero()) for parameter in net.parameters()),
        "macs": macs(net, image),
        "channels": sum(norm.num_features for norm in networks.prunable(net).values()),
    }


def macs(net: nn.Module, image: tuple[int, int, int]) -> int:
    """Multiply-accumulates of all convolutions and linear layers for one `image` (C, H, W), biases not counted.

    Every weight is used once at each output position. It is half of what torch.utils.flop_counter counts, without
    importing torch's compiler, which would take a short job a second.
    """
    count = 0

    def add(layer: nn.Module, _: tuple, output: Tensor) -> None:
        nonlocal count
        count += layer.weight.numel() * math.prod(output.shape[2:])

    copied = copy.deepcopy(net).cpu().eval()
    for layer in copied.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(add)
    with torch.no_grad():
        copied(torch.zeros(1, *image))
    return count


def latency(net: nn.Module, image: tuple[int, int, int], seconds: float = 0.1, least: int = 5) -> dict:
    """CPU inference time in milliseconds at batch 1 and 64: {batch: median, quartiles and repeats}.

    Measured on one thread while other jobs may run beside it, hence the median of many and the spread.
    """
    copied = copy.deepcopy(net).cpu().eval()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            return {str(batch): _timed(copied, torch.zeros(batch, *image), seconds, least) for batch in LATENCY_BATCHES}
    finally:
        torch.set_num_threads(threads)


def _timed(net: Callable[[Tensor], Tensor], images: Tensor, seconds: float, least: int) -> dict:
    net(images)  # the first call allocates and chooses kernels
    times: list[float] = []
    while len(times) < least or sum(times) < seconds:
        start = time.perf_counter()
        net(images)
        times.append(time.perf_counter() - start)
    quartiles = torch.tensor(times, dtype=torch.float64).quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    q25, median, q75 = (round(1000 * value, 6) for value in quartiles.tolist())
    return {"median": median, "q25": q25, "q75": q75, "repeats": len(times)}


def measure(net: Network, dataset: data.Dataset, checkpoint: str | os.PathLike) -> dict:
    """What a record's `measured` says of a network whose checkpoint is stored at `checkpoint`.

    Raises InputError if the network was built for other images or classes.
    """
    image = tuple(dataset.test_images.shape[1:])
    if (net.spec["in_channels"], net.spec["num_classes"]) != (image[0], len(dataset.classes)):
        raise InputError(f"{checkpoint}: built for other images than those of {dataset.name}; measure it on its own")
    return (
        evaluate(net, dataset)
        | cost(net, image)
        | {"bytes": Path(checkpoint).stat().st_size, "latency_ms": latency(net, image)}
    )
