"""Questions about the operations of a model as torch.export writes them down.

Not for what they mean for channels: that is tracing's.
"""

from __future__ import annotations

import copy
import math
import operator

import torch
from torch import Tensor, fx, nn

from slimming.errors import InputError


def trace(model: nn.Module, example: Tensor) -> tuple[list[fx.Node], dict[fx.Node, str]]:
    """The operations in their order, and {placeholder: path of the parameter or buffer}.

    Traced is a copy in training mode, whose branches for training count, with its BatchNorms in evaluation mode.
    """
    copied = copy.deepcopy(model).train()
    for module in copied.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.eval()
    try:
        program = torch.export.export(copied, (example,), strict=False)
    except Exception as error:  # whatever the model's own code raises, and torch's many kinds
        said = " ".join(str(error).split())[:200]
        raise InputError(f"{type(model).__name__}: torch.export cannot trace it ({said}); mend its forward") from error
    signature = program.graph_signature
    owners = signature.inputs_to_parameters | signature.inputs_to_buffers
    nodes = [*program.graph.nodes]
    return nodes, {node: owners[node.name] for node in nodes if node.op == "placeholder" and node.name in owners}


def is_plain(module: nn.Module) -> bool:
    """Whether cutting the module's own tensors cuts what it computes: no subclass, no weight made of others."""
    plain = type(module).forward in (nn.Conv2d.forward, nn.Linear.forward, nn.BatchNorm2d.forward)
    return plain and "weight" in dict(module.named_parameters(recurse=False)) and not module._forward_pre_hooks


def is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels == layer.out_channels > 1


def name_of(node: fx.Node) -> str:
    """An operation's name without its overload and the underscore of what works in place."""
    if node.op != "call_function" or node.target is operator.getitem:
        return ""
    return node.target._schema.name.removeprefix("aten::").rstrip("_")


def users_of(node: fx.Node) -> list[fx.Node]:
    """What reads a tensor, but for checks that torch.export writes in."""
    return [user for user in node.users if not name_of(user).startswith("_assert")]


def is_in_place(node: fx.Node) -> bool:
    return node.op == "call_function" and getattr(node.target, "_schema", None) and node.target._schema.is_mutable


def shape_of(node: fx.Node) -> tuple[int, ...]:
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def channels_of(node: fx.Node) -> int:
    shape = shape_of(node)
    return shape[1] if len(shape) > 1 else 0


def dim_of(node: fx.Node, default: int) -> int:
    dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", default)
    return dim % len(shape_of(node))


def is_mean_of_channels(node: fx.Node) -> bool:
    """Whether a mean is one of every image's channel by itself: over neither of the first two dimensions."""
    dims = node.args[1] if len(node.args) > 1 and node.args[1] else range(len(shape_of(node.args[0])))
    return not {0, 1} & {dim % len(shape_of(node.args[0])) for dim in dims}


def flattened(node: fx.Node, user: fx.Node) -> int:
    """How many elements a channel has behind (N, C, ...) -> (N, C * elements), 1 for (N, C, 1, 1) -> the like; 0 if
    it is another change of shape."""
    before, after = shape_of(node), shape_of(user)
    if len(before) < 2 or len(after) < 2 or before[0] != after[0]:
        return 0
    if before[1] == after[1]:
        return int(math.prod(before[2:]) == math.prod(after[2:]) == 1 or before == after)
    return math.prod(before[2:]) if after == (before[0], math.prod(before[1:])) else 0


def keeps_shape(node: fx.Node) -> bool:
    return flattened(node.args[0], node) == 1
