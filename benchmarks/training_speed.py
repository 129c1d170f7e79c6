"""Training speed of each network on this machine, as the lines of src/slimming/speeds.csv.

    python benchmarks/training_speed.py [--device cuda] [--threads N] [--seconds S]

Steps of forward, backward and update at batch 64 on random images, the fastest after a first one. Reading data and
testing after each epoch are not in it: they take a few per cent.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch.nn import functional

from slimming import networks
from slimming.measuring import cost

NETWORKS = (  # name, width, channels and pixels of the images
    ("vgg11", 0.25, 1, 8),
    ("densenet10", 0.5, 1, 8),
    ("resnet11", 0.5, 1, 8),
    ("vgg19", 0.25, 3, 32),
    ("vgg19", 1.0, 3, 32),
    ("densenet40", 1.0, 3, 32),
    ("resnet164", 1.0, 3, 32),
)
BATCH = 64


def images_per_second(net: torch.nn.Module, image: tuple[int, int, int], device: str, seconds: float) -> float:
    """Images a second in the fastest training step of about `seconds` of them."""
    net = net.to(device, memory_format=torch.channels_last)
    update = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    images = torch.rand(BATCH, *image, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(10, (BATCH,), device=device)
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        start = time.perf_counter()
        update.zero_grad()
        functional.cross_entropy(net(images), labels).backward()
        update.step()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return BATCH / min(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0, help="of measuring each network")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("device,network,macs,images_per_second")
    for name, width, channels, pixels in NETWORKS:
        image = (channels, pixels, pixels)
        net = networks.build(name, width=width, in_channels=channels)
        macs = cost.macs(net, image)
        speed = images_per_second(net, image, options.device, options.seconds)
        print(f"{options.device},{name},{macs},{speed:.0f}", flush=True)


if __name__ == "__main__":
    main()
