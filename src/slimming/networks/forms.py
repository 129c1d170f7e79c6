"""Forms: ways to write a convolution other than by its dense weight, as small convolutions one after the other.

    write(net, {"features.3.conv": {"form": "svd", "rank": 8}})   # in place; None writes it plainly again

Every form contracts to the weight of the plain convolution that computes the same, so surgery stays what it is:
contract, index, write again. `net.spec["forms"]` says which convolutions have one, and a checkpoint brings them back.
A bias is no form: it stays what it was in any of them.

Not for choosing ranks: that is a method's.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from slimming.errors import InputError, unknown
from slimming.networks.base import Network, initialise
from slimming.networks.kernels import Conv2d


class Form(nn.Module, ABC):
    """A convolution written otherwise: (N, I, H, W) -> (N, O, H', W'). `settings` are those of FORMS, within range."""

    def __init__(self, plain: nn.Conv2d):
        super().__init__()
        self.in_channels, self.out_channels, self.kernel_size = plain.in_channels, plain.out_channels, plain.kernel_size
        self.stride, self.padding = plain.stride, plain.padding
        self.bias = None if plain.bias is None else nn.Parameter(plain.bias.detach().clone())

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What `write` takes to make this form."""

    @abstractmethod
    def fit(self, weight: Tensor) -> None:
        """Take over a dense weight (O, I, k, k), as closely as the form can."""

    @abstractmethod
    def dense(self) -> Tensor:
        """The weight (O, I, k, k) of the plain convolution that computes the same."""

    @abstractmethod
    def compute(self, x: Tensor) -> Tensor:
        """The convolution without its bias."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.compute(x)
        return y if self.bias is None else y + self.bias.to(y.dtype)[:, None, None]

    def plain(self) -> Conv2d:
        """The plain convolution that computes the same."""
        geometry = self.in_channels, self.out_channels, self.kernel_size, self.stride, self.padding
        made = Conv2d(*geometry, bias=self.bias is not None).to(next(self.parameters()).device)
        made.weight.data.copy_(self.dense())
        if self.bias is not None:
            made.bias.data.copy_(self.bias)
        return made


class SVD(Form):
    """W = V U: `rank` filters kxk, and their linear combinations (1x1). The best W of that rank (Eckart and Young)."""

    def __init__(self, plain: nn.Conv2d, rank: int):
        super().__init__(plain)
        _at_least_one("svd", rank=rank)
        # Surgery may have left fewer channels than the rank was chosen for.
        self.rank = min(rank, self.out_channels, self.in_channels * math.prod(self.kernel_size))
        self.filters = Conv2d(self.in_channels, self.rank, self.kernel_size, self.stride, self.padding, bias=False)
        self.combinations = Conv2d(self.rank, self.out_channels, 1, bias=False)

    @property
    def settings(self) -> dict[str, Any]:
        return {"form": "svd", "rank": self.rank}

    @torch.no_grad()
    def fit(self, weight: Tensor) -> None:
        left, values, right = torch.linalg.svd(weight.detach().flatten(1).double(), full_matrices=False)
        roots = values[: self.rank].sqrt()
        self.filters.weight.copy_((roots[:, None] * right[: self.rank]).view_as(self.filters.weight))
        self.combinations.weight.copy_((left[:, : self.rank] * roots)[..., None, None])

    def dense(self) -> Tensor:
        return torch.einsum("or,rikl->oikl", self.combinations.weight[:, :, 0, 0], self.filters.weight)

    def compute(self, x: Tensor) -> Tensor:
        return self.combinations(self.filters(x))


class Tucker(Form):
    """Tucker-2: `inputs` combinations of the input channels (1x1), a kxk core to `outputs`, and combinations of these.

    Fitted by the leading singular vectors of both unfoldings (HOSVD), which is close to the best of these ranks.
    """

    def __init__(self, plain: nn.Conv2d, inputs: int, outputs: int):
        super().__init__(plain)
        _at_least_one("tucker", inputs=inputs, outputs=outputs)
        self.inputs, self.outputs = min(inputs, self.in_channels), min(outputs, self.out_channels)
        self.reduce = Conv2d(self.in_channels, self.inputs, 1, bias=False)
        self.core = Conv2d(self.inputs, self.outputs, self.kernel_size, self.stride, self.padding, bias=False)
        self.expand = Conv2d(self.outputs, self.out_channels, 1, bias=False)

    @property
    def settings(self) -> dict[str, Any]:
        return {"form": "tucker", "inputs": self.inputs, "outputs": self.outputs}

    @torch.no_grad()
    def fit(self, weight: Tensor) -> None:
        whole = weight.detach().double()
        out = torch.linalg.svd(whole.flatten(1), full_matrices=False)[0]
        into = torch.linalg.svd(whole.transpose(0, 1).flatten(1), full_matrices=False)[0]
        out, into = _leading(out, self.outputs), _leading(into, self.inputs)
        self.core.weight.copy_(torch.einsum("oikl,or,is->rskl", whole, out, into))
        self.expand.weight.copy_(out[..., None, None])
        self.reduce.weight.copy_(into.T[..., None, None])

    def dense(self) -> Tensor:
        out, into = self.expand.weight[:, :, 0, 0], self.reduce.weight[:, :, 0, 0]
        return torch.einsum("rskl,or,si->oikl", self.core.weight, out, into)

    def compute(self, x: Tensor) -> Tensor:
        return self.expand(self.core(self.reduce(x)))


FORMS: dict[str, type[Form]] = {"svd": SVD, "tucker": Tucker}


def write(net: Network, forms: Mapping[str, Mapping[str, Any] | None]) -> None:
    """Write the convolutions of `net` at the paths `forms` as said, in place; what they compute stays, or nearly.

    A form is {"form": name, ...its parameters}: {"form": "svd", "rank": 8}; None is the plain convolution.
    Raises InputError for a path without a convolution, an unknown form and wrong parameters; `net` is unchanged then.
    """
    made = {path: _written(_convolution(net, path), path, form) for path, form in forms.items()}
    for path, (module, weight) in made.items():
        if weight is not None:
            module.fit(weight)
        net.set_submodule(path, module.to(next(net.parameters()).device).train(net.training))
    kept = {path: form for path, form in net.spec.get("forms", {}).items() if path not in made}
    kept |= {path: module.settings for path, (module, _) in made.items() if isinstance(module, Form)}
    net.spec = {key: value for key, value in net.spec.items() if key != "forms"} | ({"forms": kept} if kept else {})


def prepare(net: Network, forms: Mapping[str, Mapping[str, Any]]) -> None:
    """Give the convolutions of a fresh `net` these forms, with initial weights like those of any convolution."""
    for path, form in forms.items():
        module, _ = _written(_convolution(net, path), path, form)
        initialise(module)
        net.set_submodule(path, module)


def contracted(net: Network) -> Network:
    """A copy of `net` in which every convolution is plain."""
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
    if name not in FORMS:
        raise unknown("form", name, FORMS)
    try:
        return FORMS[name](plain, **parameters), plain.weight
    except TypeError as error:
        raise InputError(f"{path}: form {name} has other parameters than {parameters} ({error})") from error


def _convolution(net: Network, path: str) -> nn.Module:
    try:
        module = net.get_submodule(path)
    except AttributeError:
        module = None
    if not isinstance(module, nn.Conv2d | Form):
        raise InputError(f"{path}: no convolution of {net.spec['name']}; name one of its modules")
    return module


def _at_least_one(form: str, **ranks: int) -> None:
    for name, rank in ranks.items():
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
            raise InputError(f"form {form}: {name} must be a whole number of at least 1, got {rank!r}")


def _leading(vectors: Tensor, count: int) -> Tensor:
    """The first `count` columns; where there are fewer, zeros fill up."""
    return nn.functional.pad(vectors, (0, max(0, count - vectors.shape[1])))[:, :count]
