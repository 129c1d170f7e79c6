"""Methods: how channels become unimportant and how those are told. One module a method; none is named elsewhere.

    method = get("tl1", a=1.0, lam=1e-4)
    method.scores(net)   # {site: (channels,) tensor}, higher is more important

A module here that defines METHODS = {name: factory} is found by itself. Importing it costs no torch: studies are
checked where torch would only slow the scheduler down.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping

from slimming.errors import InputError, unknown
from slimming.methods.base import Method


@functools.cache
def registry() -> Mapping[str, Callable[..., Method]]:
    """{name: factory} of every method in this package."""
    found: dict[str, Callable[..., Method]] = {}
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        found |= getattr(importlib.import_module(module.name), "METHODS", {})
    return found


def get(name: str, **parameters: float) -> Method:
    """The method `name` with its parameters. InputError for an unknown name or a parameter it does not take."""
    if name not in registry():
        raise unknown("method", name, registry())
    factory = registry()[name]
    try:
        inspect.signature(factory).bind(**parameters)
    except TypeError as error:
        raise InputError(f"method {name} {error}") from error
    return factory(**parameters)


def takes(name: str, parameter: str) -> bool:
    """Whether the method `name` has `parameter` by name."""
    return name in registry() and parameter in inspect.signature(registry()[name]).parameters
