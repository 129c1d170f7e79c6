"""The network around somebody's module, whose modules keep their places.

Where a BatchNorm reads a tensor that others read too, it gathers the channels that it keeps; where something unknown
reads it, it spreads them among constants again: zeros, unless surgery compensated. Both are hooks on the BatchNorm; its
buffers are `kept`, the indices, and `fill`, the constants.

Not for finding sites: adoption does that.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from slimming.errors import InputError
from slimming.networks import kernels
from slimming.networks.base import FILL, Network, Reader, Site
from slimming.networks.cuts import cuts


def described(sites: Iterable[Site]) -> list[dict[str, Any]]:
    """Sites as a spec has them: JSON-able, without what is a default."""
    plain = {field.name: field.default for field in fields(Site)}
    found = ({name: getattr(site, name) for name in plain if getattr(site, name) != plain[name]} for site in sites)
    return [{name: _listed(value) for name, value in site.items()} for site in found]


def _listed(value: Any) -> Any:
    return [_listed(each) for each in value] if isinstance(value, tuple) else value


def _site(said: Mapping[str, Any]) -> Site:
    readers = tuple(Reader(*reader) for reader in said.get("readers", ()))
    return Site(**{**said, "readers": readers, "tied": tuple(said.get("tied", ()))})


class Adopted(Network):
    """A user's module `model`, with the sites that its spec has, which were found by tracing.

    tied      {BatchNorm: the one with whose channels its own go}
    refused   {BatchNorm: why none of its channels can go}
    """

    activation = None

    def __init__(self, model: nn.Module, spec: Mapping):
        super().__init__()
        self.model = model
        self.sites = tuple(map(_site, spec["sites"]))
        self.tied, self.refused = dict(spec["tied"]), dict(spec["refused"])
        for module in model.modules():
            if type(module) is nn.Conv2d:
                module.__class__ = kernels.Conv2d  # computes in its weight's type, as ours do
            elif type(module) is nn.Linear:
                module.register_forward_pre_hook(_in_type_of_weight)
        for site in self.sites:
            norm = self.get_submodule(site.norm)
            if site.gather or site.spread:
                norm.whole = norm.num_features
                norm.register_buffer("kept", torch.arange(norm.whole, device=norm.weight.device))
            if site.spread:
                norm.register_buffer(FILL, torch.zeros_like(norm.weight.data))
            if site.gather:
                norm.register_forward_pre_hook(_gather)
            if site.spread:
                norm.register_forward_hook(_spread)
        self.add_biases(spec.get("biases", ()))
        self.keep({norm: torch.arange(size, device="cpu") for norm, size in spec["channels"].items()})
        self.spec = {**spec, "channels": dict(spec["channels"])}

    def parts(self) -> list[Callable[[Tensor], Tensor]]:
        raise InputError(
            f"{self.spec['name']} is an adopted network, which is no sequence of parts; choose a method or an analysis "
            "that needs none"
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) images -> (N, num_classes) logits, the first output where `model` gives several."""
        logits = self.model(x)
        logits = logits if isinstance(logits, Tensor) else logits[0]
        return logits if logits.dtype.itemsize >= 4 else logits.float()

    def load_state_dict(self, state_dict: Mapping[str, Tensor], *arguments: bool, **named: bool) -> Any:
        """As torch's. Some modules ask which version of theirs wrote the tensors, which no checkpoint of ours says."""
        if not hasattr(state_dict, "_metadata"):
            state_dict = OrderedDict(state_dict)
            state_dict._metadata = self.state_dict()._metadata
        return super().load_state_dict(state_dict, *arguments, **named)

    def keep(self, kept: Mapping[str, Tensor]) -> None:
        """Remove, in place, the channels of sites that are not among the indices `kept` of {site: indices}."""
        sizes = {site.norm: self.get_submodule(site.norm).num_features for site in self.sites}
        kept = {norm: kept.get(norm, torch.arange(size, device="cpu")) for norm, size in sizes.items()}
        left = {norm: len(index) for norm, index in kept.items()}
        rows, columns = cuts(self, kept)
        for path in {*rows, *columns}:
            _shrink(self.get_submodule(path), rows.get(path), columns.get(path))
        # A reader of several sites has each behind what is left of the ones before.
        pieces = [(reader, site.norm) for site in self.sites for reader in site.readers]
        moved = {
            reader: reader.offset
            - sum(
                (sizes[norm] - left[norm]) * other.repeat
                for other, norm in pieces
                if other.path == reader.path and other.offset < reader.offset
            )
            for reader, _ in pieces
        }
        self.sites = tuple(
            replace(site, readers=tuple(Reader(reader.path, moved[reader], reader.repeat) for reader in site.readers))
            for site in self.sites
        )


def _shrink(layer: nn.Module, rows: Tensor | None, columns: Tensor | None) -> None:
    """Cut a layer's own tensors, and the numbers that say how large it is."""
    for name, tensor in [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]:
        if rows is not None and tensor.dim() and name != FILL:
            tensor.data = tensor.data.index_select(0, rows.to(tensor.device))
        if columns is not None and name == "weight":
            tensor.data = tensor.data.index_select(1, columns.to(tensor.device))
    if isinstance(layer, nn.BatchNorm2d):
        layer.num_features = len(layer.weight)
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif layer.groups > 1:  # depthwise
        layer.groups = layer.in_channels = layer.out_channels = len(layer.weight)
    else:
        layer.out_channels, layer.in_channels = layer.weight.shape[:2]


def _in_type_of_weight(layer: nn.Linear, inputs: tuple[Tensor]) -> Tensor:
    return inputs[0].to(layer.weight.dtype)


def _gather(norm: nn.BatchNorm2d, inputs: tuple[Tensor]) -> Tensor:
    return inputs[0] if norm.num_features == norm.whole else inputs[0].index_select(1, norm.kept)


def _spread(norm: nn.BatchNorm2d, _: tuple, y: Tensor) -> Tensor:
    if norm.num_features == norm.whole:
        return y
    # Not len(y): a traced program would take any batch for this one.
    constants = norm.fill.to(y.dtype)[:, None, None].expand(y.shape[0], -1, *y.shape[2:])
    return constants.index_copy(1, norm.kept, y)
