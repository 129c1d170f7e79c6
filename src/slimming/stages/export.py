"""Stage `export`: a stored network as a file that runs without this package, tried on test images beside the dense one.

A batch of any size goes in. `pt2` is torch's own format (torch.export.load), `onnx` that of most other engines.
"""

from __future__ import annotations

import copy
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from slimming import checkpoints, data, networks, tensorfile
from slimming.errors import InputError
from slimming.measuring import cost, latency
from slimming.networks.base import Network

FORMATS = ("pt2", "onnx")
BATCH = 200
TOLERANCE = 1e-3  # of logits, relative to the largest: engines round otherwise, and other networks differ by far more


def export(
    checkpoint: str | os.PathLike, prepared: str | os.PathLike, kind: str, output: str | os.PathLike | None = None
) -> dict:
    """Write the network in `checkpoint` as a file of the format `kind`, one of FORMATS; what it is worth, and costs.

    output: default: beside the checkpoint. The figures: `accuracy` of the file on the test images and
    `accuracy_of_checkpoint`, the largest `difference` of logits relative to the largest logit (or 1), and
    {"exported" and "dense": bytes, parameters, macs, latency_ms}, the dense network as a file of the same format.

    InputError where the file computes something else, and then it is not kept.
    """
    net, _ = checkpoints.load(checkpoint)
    dataset = data.load(prepared)
    image = tuple(dataset.test_images.shape[1:])
    if (net.spec["in_channels"], net.spec["num_classes"]) != (image[0], len(dataset.classes)):
        raise InputError(f"{checkpoint}: built for other images than those of {dataset.name}")
    output = Path(output or Path(checkpoint).with_suffix(f".{kind}"))
    write, load = {"pt2": (_write_pt2, _load_pt2), "onnx": (_write_onnx, _load_onnx)}[kind]
    compared: dict = {}

    def written(path: Path) -> None:
        write(net, path, image)
        compared.update(_compared(net, load(path), dataset))
        if compared["difference"] > TOLERANCE:
            raise InputError(
                f"{checkpoint}: as {kind}, its logits differ by {compared['difference']:.2g}; none is kept"
            )

    tensorfile.write_aside(output, written)
    dense = networks.from_spec(networks.whole(net.spec)).eval()
    with tempfile.TemporaryDirectory() as folder:
        beside = Path(folder, output.name)
        write(dense, beside, image)
        sizes = {
            name: {
                "bytes": path.stat().st_size,
                **{key: cost.count(some, image)[key] for key in ("parameters", "macs")},
                "latency_ms": latency.of_calls(load(path), image),
            }
            for name, some, path in (("exported", net, output), ("dense", dense, beside))
        }
    return {"file": str(output), **compared, **sizes}


def lines(figures: dict) -> list[str]:
    """What `export` found, for people to read."""
    small, dense = figures["exported"], figures["dense"]
    rows = [
        f"{figures['file']}: accuracy {figures['accuracy']:.4f}, of the checkpoint "
        f"{figures['accuracy_of_checkpoint']:.4f}; logits differ by {figures['difference']:.1e} at most",
        f"{'':18}{'exported':>14}{'dense':>14}{'ratio':>8}",
    ]
    for name, key in (("bytes", "bytes"), ("parameters", "parameters"), ("MACs", "macs")):
        rows.append(f"{name:18}{small[key]:>14}{dense[key]:>14}{small[key] / dense[key]:>8.2f}")
    for batch in map(str, latency.BATCHES):
        one, other = (some["latency_ms"][batch]["median"] for some in (small, dense))
        rows.append(f"{f'ms, batch {batch}':18}{one:>14.3f}{other:>14.3f}{one / other:>8.2f}")
    return rows


def _compared(net: Network, run: Callable[[Tensor], Tensor], dataset: data.Dataset) -> dict:
    hits, own, difference, largest = 0, 0, 0.0, 0.0
    with torch.no_grad():
        for images, labels in data.evaluation_batches(dataset, BATCH):
            expected, found = net(images), run(images)
            difference = max(difference, (expected - found).abs().max().item())
            largest = max(largest, expected.abs().max().item())
            hits += int((found.argmax(1) == labels).sum())
            own += int((expected.argmax(1) == labels).sum())
    total = len(dataset.test_labels)
    return {"accuracy": hits / total, "accuracy_of_checkpoint": own / total, "difference": difference / max(1, largest)}


def _exported(net: Network, image: tuple[int, int, int]) -> torch.export.ExportedProgram:
    example = torch.zeros(2, *image)
    batch = torch.export.Dim("batch", min=1)
    return torch.export.export(copy.deepcopy(net).eval(), (example,), dynamic_shapes=({0: batch},), strict=False)


def _write_pt2(net: Network, path: Path, image: tuple[int, int, int]) -> None:
    torch.export.save(_exported(net, image), path)


def _load_pt2(path: Path) -> nn.Module:
    return torch.export.load(path).module()


def _write_onnx(net: Network, path: Path, image: tuple[int, int, int]) -> None:
    options = {"dynamo": True, "external_data": False, "verbose": False, "input_names": ["images"]}
    try:
        with warnings.catch_warnings(action="ignore"):  # of torch about itself
            torch.onnx.export(_exported(net, image), f=path, **options)
    except ImportError as error:
        raise InputError(f"ONNX needs the package {error.name}: pip install slimming[onnx]") from error


def _load_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(f"ONNX needs the package {error.name}: pip install slimming[onnx]") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (name,) = (given.name for given in session.get_inputs())
    return lambda images: torch.from_numpy(session.run(None, {name: images.numpy()})[0])
