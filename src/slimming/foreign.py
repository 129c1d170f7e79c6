"""Functions of somebody else's that build networks: "package.module:function", or "file.py:function".

Nothing is imported because a file names it: `get` is for names that a user gave, in a study or on the command line.
Imports no torch.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from slimming.errors import InputError, unknown


def locate(name: str) -> Path:
    """The file, absolute, that holds the function. InputError if there is none. Nothing is imported."""
    return Path(_spec(name).origin).resolve()


def get(name: str) -> Callable[..., Any]:
    """The function. InputError if its module cannot be imported, or has none of that name."""
    module, _, function = name.rpartition(":")
    spec = _spec(name)
    importlib.import_module("slimming.vision")  # makes torchvision importable, which most of them import
    try:
        if module.endswith(".py"):
            loaded = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(loaded)
        else:
            sys.path[:] = [path for path in _places() if path not in sys.path] + sys.path
            loaded = importlib.import_module(module)
    except Exception as error:  # whatever somebody else's code raises
        raise InputError(f"{name}: importing {module} fails: {type(error).__name__}: {error}") from error
    if not callable(getattr(loaded, function, None)):
        found = [key for key, value in vars(loaded).items() if callable(value) and not key.startswith("_")]
        raise unknown(f"function of {module}", function, found or ["none"])
    return getattr(loaded, function)


def _spec(name: str) -> ModuleSpec:
    module = name.rpartition(":")[0]
    if module.endswith(".py"):
        if not Path(module).is_file():
            raise InputError(f"{name}: there is no file {module}")
        return importlib.util.spec_from_file_location(Path(module).stem, Path(module).resolve())
    spec, places, path = None, _places(), ""
    for part in module.split("."):
        path = f"{path}.{part}" if path else part
        spec = PathFinder.find_spec(path, places)
        if spec is None or not spec.origin:
            raise InputError(f"{name}: there is no module {path}; install its package, or name its file")
        places = spec.submodule_search_locations or []
    return spec


def _places() -> list[str]:
    """Where modules are looked for: in the working directory, too, which a console script leaves out."""
    return [os.getcwd(), *(path for path in sys.path if path)]
