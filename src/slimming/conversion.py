"""A .pth file of somebody's weights as a safetensors file, without running any code that the file may hold."""

from __future__ import annotations

import os
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from slimming import tensorfile
from slimming.errors import InputError

INSIDE = ("state_dict", "model_state_dict", "model", "net", "weights")  # where checkpoints of trainings keep weights
PARALLEL = "module."  # what DataParallel puts before every name


def convert(path: str | os.PathLike, output: str | os.PathLike) -> int:
    """Write the tensors of the state dict in `path` to the safetensors file `output`; their number.

    InputError for a file that is no state dict, which says what it is instead.
    """
    state = _loaded(Path(path))
    if isinstance(state, Mapping):
        state = next((state[key] for key in INSIDE if isinstance(state.get(key), Mapping)), state)
    if not isinstance(state, Mapping):
        raise InputError(f"{path}: holds a {type(state).__name__}, no state dict; save model.state_dict()")
    others = [str(name) for name, value in state.items() if not isinstance(value, Tensor)]
    if others or not state:
        raise InputError(f"{path}: {', '.join(others[:3]) or 'nothing'} in it is no tensor; save model.state_dict()")
    if all(name.startswith(PARALLEL) for name in state):
        state = {name.removeprefix(PARALLEL): value for name, value in state.items()}
    own = {name: value.contiguous().clone() for name, value in state.items()}  # safetensors holds no memory twice
    tensorfile.write_aside(output, lambda path: safetensors.torch.save_file(own, path))
    return len(state)


def _loaded(path: Path) -> object:
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    if _is_safetensors(path):
        raise InputError(f"{path}: is a safetensors file already; name it as it is")
    try:
        with warnings.catch_warnings(action="ignore"):  # the error says it, too
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise InputError(f"{path}: {_nature(str(error))}; save model.state_dict() with torch.save") from error


def _nature(refusal: str) -> str:
    """What a file is that torch.load refuses with these words."""
    if "TorchScript" in refusal:
        return "is a TorchScript archive"
    if found := re.search(r"GLOBAL ([\w.]+)", refusal):
        return f"holds Python objects ({found[1]}), which are not run"
    return "is no file of torch.save, or a damaged one"


def _is_safetensors(path: Path) -> bool:
    try:
        with safetensors.safe_open(path, "pt"):
            return True
    except (OSError, safetensors.SafetensorError):
        return False
