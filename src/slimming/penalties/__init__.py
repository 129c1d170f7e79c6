"""Sparsity penalties on scaling factors: value, subgradient and proximal operator, elementwise. One module a penalty.

A penalty lam p(|gamma|) pulls the scaling factor gamma of an unimportant channel towards 0. This package
knows the formulas and the domains of their parameters; how they act on a network is not its matter.

    >>> import torch
    >>> from slimming import penalties
    >>> tl1 = penalties.get("tl1", a=1.0)
    >>> tl1.slug
    'tl1-1'
    >>> tl1.subgradient(torch.tensor([-1.0, 0.0, 1.0]), lam=2.0)
    tensor([-1.,  0.,  1.])
    >>> tl1.prox(torch.tensor([-3.0, 0.5, 3.0]), lam=2.0, step=0.5)
    tensor([-2.8662,  0.0000,  2.8662])

A module here with a class of Penalty is found by itself. Only methods of tensors are called: importing imports no
torch. The scale is that of Bui et al. 2021, IEEE Access, who put all of these on scaling factors.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping

from slimming.errors import InputError, unknown
from slimming.penalties.base import Penalty


@functools.cache
def registry() -> Mapping[str, type[Penalty]]:
    """{name: penalty} of every class of Penalty in a module of this package."""
    modules = [importlib.import_module(found.name) for found in pkgutil.iter_modules(__path__, f"{__name__}.")]
    classes = [kind for module in modules for kind in vars(module).values() if isinstance(kind, type)]
    return {kind.name: kind for kind in classes if issubclass(kind, Penalty) and kind is not Penalty}


def get(name: str, /, **parameters: float) -> Penalty:
    """The penalty `name`; parameters left out take their defaults.

    InputError for an unknown penalty, a parameter it does not have, or a value outside its interval.
    """
    if name not in registry():
        raise unknown("penalty", name, registry())
    known = registry()[name].parameters()
    for parameter in parameters:
        if not known:
            raise InputError(f"{name}: takes no parameters, got {parameter!r}")
        if parameter not in known:
            raise unknown(f"parameter of {name}", parameter, known)
    return registry()[name](**parameters)
