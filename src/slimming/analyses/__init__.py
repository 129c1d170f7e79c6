"""Analyses: what a network does, beside how well it does. One module an analysis; none is named elsewhere.

    analysis = get("ablation")
    analysis.analyse(net, dense, dataset)   # rows of its table, of one network

A module here that defines ANALYSES = {name: Analysis} is found by itself. Importing it costs no torch.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from slimming.errors import unknown

if TYPE_CHECKING:
    import pandas as pd

    from slimming.data import Dataset
    from slimming.networks.base import Network


class Measure(NamedTuple):
    """A number of one network, made of its rows in an analysis's table: what claims are about.

    unit      "points" of accuracy (hundredths), or "" for a number without
    words     for readers
    of        rows -> the number; NaN where the rows cannot say
    """

    unit: str
    words: str
    of: Callable[[pd.DataFrame], float]


class Analysis(NamedTuple):
    """An analysis of trained networks on test images: for reports, never for a decision.

    table     the file that its rows become, <table>.csv
    columns   of the table, behind the ledger's key
    figures   that are drawn of it (reporting.analysed)
    analyse   analyse(net, dense, dataset) -> rows {column: value}, JSON-able; `dense` is the network before pruning
    measures  {name: measure} of the rows of a network
    """

    table: str
    columns: tuple[str, ...]
    figures: tuple[str, ...]
    analyse: Callable[[Network, Network, Dataset], list[dict[str, Any]]]
    measures: Mapping[str, Measure] = {}


@functools.cache
def registry() -> Mapping[str, Analysis]:
    """{name: analysis} of every one in this package."""
    found: dict[str, Analysis] = {}
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        found |= getattr(importlib.import_module(module.name), "ANALYSES", {})
    return found


def get(name: str) -> Analysis:
    """The analysis `name`. InputError for an unknown one."""
    if name not in registry():
        raise unknown("analysis", name, registry())
    return registry()[name]


def measures() -> Mapping[str, Measure]:
    """{name: measure} of every analysis."""
    return {name: measure for analysis in registry().values() for name, measure in analysis.measures.items()}
