"""`python -m benchmarks.adoption`: torchvision's classifiers, adopted and pruned to half their multiply-accumulates.

A row a network: how its BatchNorms can lose channels, how far pruned is from masked in float64, what is left at half
the multiply-accumulates when each loses channels by itself and when sums lose them together, whether the exported file
and a checkpoint, read by a fresh process, compute the same. Weights and BatchNorm statistics are random. Where
Torch-Pruning (`pip install torch-pruning`) is there, its groups and the share of parameters that it leaves at the same
budget, drawn at random, stand beside.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from slimming import checkpoints, foreign, networks, pruning, tensorfile
from slimming.measuring import cost
from slimming.networks.base import Network
from slimming.origin import origin
from slimming.stages import export

SIZES = {"inception_v3": 299, "googlenet": 96}  # of images; elsewhere 64 pixels
NAMES = (
    "resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2", "densenet121", "vgg16_bn", "mobilenet_v2",
    "mobilenet_v3_small", "mnasnet1_0", "efficientnet_b0", "regnet_y_400mf", "shufflenet_v2_x1_0", "googlenet",
    "inception_v3",
)  # fmt: skip
FRESH = """
import sys, torch
from slimming import checkpoints, foreign
import functools
net, _ = checkpoints.load(sys.argv[1], functools.partial(foreign.get(sys.argv[2]), **eval(sys.argv[3])))
torch.manual_seed(1)
torch.save(net(torch.randn(2, *net.spec["image"])), sys.argv[4])
"""


def measure(name: str) -> dict:
    """The row of one network."""
    size = SIZES.get(name, 64)
    options = {"num_classes": 10, "weights": None} | ({"init_weights": False} if name in SIZES else {})
    factory, image = foreign.get(f"torchvision.models:{name}"), (3, size, size)
    torch.manual_seed(0)
    model = _randomised(factory(**options))
    images, row = torch.randn(2, *image), {"network": name}
    for selection in ("own", "coupled"):
        begin = time.monotonic()
        net = networks.adopt(model, images, selection=selection).eval()
        row |= {f"seconds, {selection}": round(time.monotonic() - begin, 1)}
        if selection == "own":
            row |= _sites(net)
        whole = cost.count(net, image)
        scores = {site: torch.rand(norm.num_features) for site, norm in networks.prunable(net).items()}
        plan = pruning.ranked(net, scores, 0.5, pruning.Budget("macs", image))
        row[f"difference, {selection}"] = _difference(net, plan, images)
        small = pruning.apply(net, plan).eval()
        found = cost.count(small, image)
        row |= {f"{key} left, {selection}": round(found[key] / whole[key], 3) for key in ("parameters", "macs")}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        export._write_pt2(small, Path(folder, "a.pt2"), image)
        loaded = export._load_pt2(Path(folder, "a.pt2"))
        torch.manual_seed(1)
        images = torch.randn(2, *image)
        row["export differs by"] = (loaded(images) - small(images)).abs().max().item()
        checkpoints.save(Path(folder, "a.safetensors"), small, {})
        command = [sys.executable, "-c", FRESH, Path(folder, "a.safetensors"), f"torchvision.models:{name}"]
        subprocess.run([*command, repr(options), Path(folder, "out")], check=True)
        row["fresh process differs by"] = (torch.load(Path(folder, "out")) - small(images)).abs().max().item()
    return row | _torch_pruning(model, images)


def _sites(net: Network) -> dict[str, int]:
    counts = dict.fromkeys(("own", "gather", "spread", "gather and spread"), 0)
    for site in net.sites:
        kinds = [kind for kind in ("gather", "spread") if getattr(site, kind)]
        counts[" and ".join(kinds) or "own"] += 1
    return counts | {"tied": len(net.tied), "refused": len(net.refused)}


@torch.no_grad()
def _difference(net: Network, plan: pruning.Plan, images: Tensor) -> float:
    net, images = net.double(), images.double()
    small, masked = pruning.apply(net, plan).eval()(images), pruning.masked(net, plan).eval()(images)
    net.float()
    return ((small - masked).abs().max() / masked.abs().max()).item()


def _randomised(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.1)
    return model


def _torch_pruning(model: nn.Module, images: Tensor) -> dict:
    """Its groups, and the share of parameters that it leaves where half the multiply-accumulates are gone."""
    try:
        import torch_pruning as tp
    except ImportError:
        return {}
    model = model.eval()
    ignored = [module for module in model.modules() if isinstance(module, nn.Linear) and module.out_features == 10]
    macs, parameters = tp.utils.count_ops_and_params(model, images[:1])
    steps = {"pruning_ratio": 0.9, "iterative_steps": 90, "global_pruning": True, "ignored_layers": ignored}
    left: float | str = "half not reached"
    try:
        pruner = tp.pruner.BasePruner(model, images, importance=tp.importance.RandomImportance(), **steps)
        groups = len([*pruner.DG.get_all_groups(ignored, pruner.root_module_types)])
        for _ in range(90):
            pruner.step()
            now, count = tp.utils.count_ops_and_params(model, images[:1])
            if now <= 0.5 * macs:
                left = round(count / parameters, 3)
                break
    except Exception as error:  # of another project, whatever it is
        return {"Torch-Pruning": f"{type(error).__name__}: {error}"[:100]}
    return {"groups, Torch-Pruning": groups, "parameters left, Torch-Pruning": left}


def main() -> None:
    asked = argparse.ArgumentParser(prog="python -m benchmarks.adoption", description=__doc__.splitlines()[0])
    asked.add_argument("networks", nargs="*", default=NAMES, metavar="NETWORK")
    asked.add_argument("--output", type=Path, metavar="FILE")
    options = asked.parse_args()
    rows = []
    for name in options.networks:
        rows.append(measure(name))
        print(json.dumps(rows[-1]), flush=True)
        if options.output:
            content = {"rows": rows, "provenance": origin(device="cpu", threads=torch.get_num_threads())}
            tensorfile.write_text(options.output, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
