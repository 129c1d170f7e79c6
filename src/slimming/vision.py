"""torchvision's data sets and transforms, importable also beside a CPU-only torch.

PyPI's torchvision is compiled for the CUDA build of torch. Beside another build its library does not load,
and importing it ends in "operator torchvision::nms does not exist": it registers shape functions for
operators that only the library declares. Declaring their schemas first is enough for all but those operators.

Not for reading data: slimming.data does that.
"""

from __future__ import annotations

import importlib.util
from importlib.machinery import PathFinder

import torch
from torch import library

SCHEMAS = tuple(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor" for name in ("nms", "qnms"))


def _operators_load() -> bool:
    """Whether torchvision's compiled operators fit this torch, found out without importing torchvision."""
    package = importlib.util.find_spec("torchvision")
    compiled = package and PathFinder.find_spec("_C", package.submodule_search_locations)
    if not compiled:
        return False
    try:
        torch.ops.load_library(compiled.origin)
    except OSError:
        return False
    return True


if not _operators_load():
    _declared = library.Library("torchvision", "FRAGMENT")  # freeing the library would undo its definitions
    for schema in SCHEMAS:
        _declared.define(schema)

from torchvision import datasets, transforms  # noqa: E402

__all__ = ["datasets", "transforms"]
