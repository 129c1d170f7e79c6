"""Data sets: one module each, or for a family, found by itself. Studies check names against them: imports no torch.

A module here that defines SOURCES, a list of base.Source, is found. A source says where the files come from (download
fetches them), what they are, and how they are read.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping

from slimming.datasets.base import Source
from slimming.errors import unknown


@functools.cache
def registry() -> Mapping[str, Source]:
    """{name: source} of every data set in this package."""
    return {name: source for name, (source, _) in _found().items()}


def get(name: str) -> Source:
    """The data set of that name; InputError with the nearest known name if there is none."""
    if name not in registry():
        raise unknown("data set", name, registry())
    return registry()[name]


def module(name: str) -> str:
    """The module below the package that defines the data set `name`: "datasets.digits"."""
    return _found()[name][1]


@functools.cache
def _found() -> Mapping[str, tuple[Source, str]]:
    found = {}
    for info in pkgutil.iter_modules(__path__):
        for source in getattr(importlib.import_module(f"{__name__}.{info.name}"), "SOURCES", ()):
            found[source.name] = source, f"datasets.{info.name}"
    return found
