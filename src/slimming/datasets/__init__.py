"""Data sets: one module each, or for a family, found by itself. Studies check names against them: imports no torch.

A module here that defines SOURCES, a list of base.Source, is found. A source says where the files come from (download
fetches them), what they are, and how they are read.
"""

from __future__ import annotations

import functools
import importlib
import json
import pkgutil
import shlex
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from slimming.datasets.base import Source
from slimming.errors import InputError, unknown


@functools.cache
def registry() -> Mapping[str, Source]:
    """{name: source} of every data set in this package."""
    return {name: source for name, (source, _) in _found().items()}


_OWN: dict[str, Source] = {}  # of this process


def add(name: str, settings: Mapping[str, Any]) -> None:
    """Let `name` be a data set of somebody's own (datasets.own). InputError for a name that a published one has."""
    if name in registry():
        raise InputError(f"datasets.{name}: a published data set has this name; choose another")
    if name not in _OWN or _OWN[name].place != json.dumps(dict(settings), sort_keys=True):
        _OWN[name] = _own().source(name, settings)


def said(name: str) -> str:
    """A data set for the command line of `slimming prepare`: its name, or JSON with the state of its files."""
    if name not in _OWN:
        return name
    settings = json.loads(_OWN[name].place)
    return shlex.quote(json.dumps({"name": name, **settings, "content": _own().listing(settings)}))


def _own() -> ModuleType:
    """By name, as the modules of published data sets are: no other data set depends on it."""
    return importlib.import_module(f"{__name__}.own")


def get(name: str) -> Source:
    """The data set of that name; InputError with the nearest known name if there is none."""
    if name in _OWN:
        return _OWN[name]
    if name not in registry():
        raise unknown("data set", name, registry())
    return registry()[name]


def module(name: str) -> str:
    """The module below the package that defines the data set `name`: "datasets.digits"."""
    return "datasets.own" if name in _OWN else _found()[name][1]


@functools.cache
def _found() -> Mapping[str, tuple[Source, str]]:
    found = {}
    for info in pkgutil.iter_modules(__path__):
        for source in getattr(importlib.import_module(f"{__name__}.{info.name}"), "SOURCES", ()):
            found[source.name] = source, f"datasets.{info.name}"
    return found
