"""Forms: ways to write a convolution or linear layer other than by its dense weight, as small ones after one another.

    write(net, {"features.3.conv": {"form": "svd", "rank": 8}})   # in place; None writes it plainly again

Every form contracts to the weight of the plain layer that computes the same, so surgery stays what it is: contract,
index, write again. `net.spec["forms"]` says which layers have one, and a checkpoint brings them back. A bias is no
form: it stays what it was in any of them.

A module here with a class of Form is found by itself. Not for choosing ranks: that is a method's, which names the
modules of the forms that it writes in Method.modules.
"""

from __future__ import annotations

import copy
import functools
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from slimming.errors import InputError, unknown
from slimming.networks.base import Network, initialise
from slimming.networks.forms.base import Form, writable

__all__ = ["Form", "contracted", "prepare", "registry", "writable", "write"]


@functools.cache
def registry() -> Mapping[str, type[Form]]:
    """{name: form} of every class of Form in a module of this package."""
    modules = [importlib.import_module(found.name) for found in pkgutil.iter_modules(__path__, f"{__name__}.")]
    classes = [kind for module in modules for kind in vars(module).values() if isinstance(kind, type)]
    return {kind.name: kind for kind in classes if issubclass(kind, Form) and kind is not Form}


def write(net: Network, forms: Mapping[str, Mapping[str, Any] | None]) -> None:
    """Write the layers of `net` at the paths `forms` as said, in place; what they compute stays, or nearly.

    A form is {"form": name, ...its parameters}: {"form": "svd", "rank": 8}; None is the plain layer.
    Raises InputError for a path without a convolution or linear layer, an unknown form, and parameters that it does
    not take or has no room for; `net` is unchanged then.
    """
    made = {path: _written(_layer(net, path), path, form) for path, form in forms.items()}
    for path, (module, weight) in made.items():
        if weight is not None:
            module.fit(weight)
        net.set_submodule(path, module.to(next(net.parameters()).device).train(net.training))
    kept = {path: form for path, form in net.spec.get("forms", {}).items() if path not in made}
    kept |= {
        path: {"form": module.name, **module.settings} for path, (module, _) in made.items() if isinstance(module, Form)
    }
    net.spec = {key: value for key, value in net.spec.items() if key != "forms"} | ({"forms": kept} if kept else {})


def prepare(net: Network, forms: Mapping[str, Mapping[str, Any]]) -> None:
    """Give the layers of a fresh `net` these forms, with initial weights like those of any convolution."""
    for path, form in forms.items():
        module, _ = _written(_layer(net, path), path, form)
        initialise(module)
        net.set_submodule(path, module)


def contracted(net: Network) -> Network:
    """A copy of `net` in which every layer is plain."""
    copied = copy.deepcopy(net)
    write(copied, dict.fromkeys(net.spec.get("forms", {})))
    return copied


def _written(module: nn.Module, path: str, form: Mapping[str, Any] | None) -> tuple[nn.Module, Tensor | None]:
    """The module that stands for `module` in a form, and the weight that it is to be fitted to."""
    plain = module.plain() if isinstance(module, Form) else module
    if form is None:
        return plain, None
    parameters = dict(form)
    name = parameters.pop("form", None)
    if name not in registry():
        raise unknown("form", name, registry())
    try:
        weight = plain.weight if plain.weight.dim() > 2 else plain.weight[..., None, None]
        return registry()[name](plain, **parameters), weight
    except TypeError as error:
        raise InputError(f"{path}: form {name} has other parameters than {parameters} ({error})") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _layer(net: Network, path: str) -> nn.Module:
    try:
        module = net.get_submodule(path)
    except AttributeError:
        module = None
    if not isinstance(module, nn.Conv2d | nn.Linear | Form):
        raise InputError(f"{path}: no convolution or linear layer of {net.spec['name']}; name one of its modules")
    return module
