"""Checkpoints: a network's weights and architecture with the record of how it came about, in one verified file.

A checkpoint reloads into the same function without the dense network it was cut from.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from slimming import networks, tensorfile
from slimming.errors import InputError
from slimming.networks.base import Network

if TYPE_CHECKING:
    from torch import nn

LEARNED = "learned/"  # no module's path holds a slash
NOT_MADE = "was not made: "


def save(path: str | os.PathLike, net: Network, record: Mapping) -> None:
    """Write `net` and `record` (JSON-able) to `path`, whole or not at all."""
    learned = {f"{LEARNED}{name}": value for name, value in net.learned.items()}
    tensorfile.write(path, net.state_dict() | learned, {"spec": net.spec, "record": dict(record)})


def load(path: str | os.PathLike, factory: Callable[..., nn.Module] | None = None) -> tuple[Network, dict]:
    """The network, on the CPU in evaluation mode, and its record.

    factory: what builds an adopted network (networks.adoption), which this file cannot: it holds no code.

    Raises InputError if the file is missing, truncated, altered, or holds no network.
    """
    tensors, header = tensorfile.read(path)
    if "missing" in header:
        raise InputError(f"{path}: {NOT_MADE}{header['missing']}")
    if "spec" not in header:
        raise InputError(f"{path}: holds no network; a checkpoint is expected here")
    net = networks.from_spec(header["spec"], factory)
    learned = [name for name in tensors if name.startswith(LEARNED)]
    net.learned = {name.removeprefix(LEARNED): tensors.pop(name) for name in learned}
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(f"{path}: weights and architecture differ; another version of slimming wrote it") from error
    return net.eval(), header["record"]
