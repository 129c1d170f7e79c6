"""torchvision beside a CPU-only torch, each time in a fresh process, since an import cannot be undone."""

from __future__ import annotations

import subprocess
import sys


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_data_sets_and_transforms_are_importable_beside_this_torch():
    done = run("from slimming.vision import datasets, transforms; datasets.CIFAR10; transforms.RandomCrop")
    assert done.returncode == 0, done.stderr


def test_schemas_are_declared_exactly_when_the_compiled_operators_do_not_load():
    code = """
import torch
from slimming import vision
print(vision._operators_load(), hasattr(vision, "_declared"), torch.ops.torchvision.nms.default._schema)
"""
    loads, declared, schema = run(code).stdout.split(maxsplit=2)
    assert (loads == "True") != (declared == "True")
    assert schema.strip() == "torchvision::nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def test_torchvision_alone_still_needs_the_guard():
    """When this fails, torchvision can be imported without help and the guard can go."""
    alone = run("import torchvision")
    if alone.returncode:
        assert "torchvision::nms does not exist" in alone.stderr
    else:
        assert "True" in run("from slimming import vision; print(vision._operators_load())").stdout
