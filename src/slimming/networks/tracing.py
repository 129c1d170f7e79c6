"""Where the channels of a BatchNorm come from and go to in a network that nobody declared sites for.

The network is traced once (torch.export); the graph serves the analysis alone. A removed channel is zero behind its
BatchNorm. Forward, zeros are followed through operations that keep them to the layers that read them, whose columns
can go. Backward, what nothing else reads is followed to the layers that make it, whose rows can go. An operation that
is not known is a barrier, never a guess: behind it a `spread` puts zeros back in the place of removed channels, before
it a `gather` takes the kept ones.

Not for surgery, which cuts the modules that are named here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from torch import Tensor, fx, nn

from slimming.networks.base import Reader, Site
from slimming.networks.exported import (
    channels_of,
    dim_of,
    flattened,
    is_depthwise,
    is_in_place,
    is_mean_of_channels,
    is_plain,
    keeps_shape,
    name_of,
    shape_of,
    trace,
    users_of,
)

# Operations on (N, C, ...) that work on every channel alone; those of ZEROS make zeros of zeros.
ZEROS = {
    "relu", "relu6", "hardtanh", "hardswish", "silu", "gelu", "leaky_relu", "elu", "celu", "selu", "mish", "tanh",
    "hardshrink", "softshrink", "tanhshrink", "softsign", "dropout", "feature_dropout", "alpha_dropout", "max_pool2d",
    "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "upsample_nearest2d", "upsample_bilinear2d", "clone",
    "contiguous", "detach", "to", "_to_copy", "constant_pad_nd", "abs", "sqrt", "square", "neg",
}  # fmt: skip
ALONE = ZEROS | {"sigmoid", "hardsigmoid", "softplus", "exp", "log_sigmoid"}
FLAT = {"flatten", "view", "reshape", "_unsafe_view", "squeeze", "unsqueeze"}


class Found(NamedTuple):
    """What is known of the BatchNorms of a network.

    sites    of those that can lose channels by themselves, in the order of the forward pass
    tied     {BatchNorm: the one whose site it loses channels with}
    refused  {BatchNorm: why none of its channels can go}
    """

    sites: tuple[Site, ...]
    tied: dict[str, str]
    refused: dict[str, str]


def find_sites(model: nn.Module, example: Tensor, coupled: bool = False, opaque: Collection[str] = ()) -> Found:
    """The sites of `model`, which takes `example` (N, C, H, W), N at least 2, and is left as it was.

    coupled: BatchNorms whose outputs are added lose the same channels, where only layers that can lose columns read
    the sums. Otherwise each is a site by itself, and spreads. opaque: BatchNorms whose readers cannot be cut.

    InputError for a model that torch.export cannot trace.
    """
    graph = _Graph(model, example)
    refused = {path: why for path, module in model.named_modules() if (why := graph.refuses(path, module))}
    above = {path: graph.made_by(node.args[0], node) for path, node in graph.norms.items()}
    tied = {name: path for path, rows in above.items() if rows for name in rows if name in graph.norms}
    free = [path for path in graph.norms if path not in tied]
    sites: dict[str, Site] = {}
    for path in free:
        if path in sites:
            continue
        members, below = [path], None if path in opaque else graph.read_by([path])
        if below is not None and set(below.added) - {path}:
            members, below = graph.sum_of(path, free) if coupled else (members, None)
        for place, member in enumerate(members):
            own = below if place == 0 else below and _Below([], [], [])
            sites[member] = graph.site(member, above[member], own, members[0] if len(members) > 1 else None)
    return Found(tuple(sites[path] for path in free), tied, refused)


class _Below(NamedTuple):
    readers: list[Reader]
    rows: list[str]  # layers whose outputs are zeros, or meet nothing but zeros
    added: list[str]  # BatchNorms in sums


class _Graph:
    """The operations of a model, with the modules that own their weights.

    layers: {node: path of the Conv2d, Linear or BatchNorm2d that this call alone uses}. norms: {path: node} of those
    BatchNorm2d layers that can lose channels.
    """

    def __init__(self, model: nn.Module, example: Tensor):
        self.modules = dict(model.named_modules())
        self.nodes, owners = trace(model, example)
        self.layers = {}
        for node in self.nodes:
            if name_of(node) in ("conv2d", "linear", "batch_norm") and isinstance(node.args[1], fx.Node):
                path, _, leaf = owners.get(node.args[1], "").rpartition(".")
                if leaf == "weight" and len(node.args[1].users) == 1 and is_plain(self.modules[path]):
                    self.layers[node] = path
        self.norms = {path: node for node, path in self.layers.items() if name_of(node) == "batch_norm"}

    def refuses(self, path: str, module: nn.Module) -> str:
        """Why the normalisation layer at `path` can lose no channel; nothing for one that can, and for other layers."""
        if not isinstance(module, nn.modules.batchnorm._NormBase) or path in self.norms:
            return ""
        if type(module) is not nn.BatchNorm2d:
            return f"is a {type(module).__name__}, no BatchNorm2d"
        return "has no scaling factors" if module.weight is None else "is called more than once, or never"

    def layer(self, node: fx.Node) -> nn.Module | None:
        return self.modules[self.layers[node]] if node in self.layers else None

    def site(self, path: str, above: tuple[str, ...] | None, below: _Below | None, leader: str | None) -> Site:
        rows = (*(above or ()), *(below.rows if below else ()))
        readers = tuple(below.readers) if below else ()
        width = self.modules[path].num_features
        one = len(readers) == 1 and not leader and readers[0][1:] == (0, 1)
        one = one and self.modules[readers[0].path].weight.shape[1] == width
        made = len(rows) == 1 and not is_depthwise(self.modules[rows[0]])
        return Site(
            path,
            reader=readers[0].path if one else None,
            producer=rows[0] if made else None,
            readers=() if one else readers,
            tied=() if made else rows,
            gather=above is None,
            spread=below is None,
            leader=leader,
        )

    def sum_of(self, path: str, free: Sequence[str]) -> tuple[list[str], _Below | None]:
        """The BatchNorms that are added to one another, `path` first, and what reads their sums.

        Where all are zero in a channel, the sum is. Where a barrier reads a sum, it is `path` alone, and None.
        """
        members = [path]
        while (below := self.read_by(members)) is not None and set(below.added) - set(members):
            if not set(below.added) <= set(free):
                break
            members = [path, *(other for other in free if other != path and other in {*members, *below.added})]
        else:
            if below is not None:
                return members, below
        return [path], None

    def read_by(self, norms: Sequence[str]) -> _Below | None:
        """Who reads the channels of the `norms`, which are zero where they are removed; None where a barrier does.

        Sums of several are followed.
        """
        nodes = [self.norms[path] for path in norms]
        found, waiting, seen = _Below([], [], []), [(node, 0, 1) for node in nodes], set()
        while waiting:
            place = waiting.pop()
            if place in seen:
                continue
            seen.add(place)
            node, offset, repeat = place
            if any(is_in_place(user) and user.args[0] is node for user in users_of(node)) and len(users_of(node)) > 1:
                return None
            for user in users_of(node):
                behind = self._behind(user, node, offset, repeat, channels_of(nodes[0]), found)
                if behind is None:
                    return None
                waiting.extend(behind)
        return found

    def _behind(
        self, user: fx.Node, node: fx.Node, offset: int, repeat: int, channels: int, found: _Below
    ) -> list[tuple[fx.Node, int, int]] | None:
        """Where the zeros are behind `user`, which reads `node`; None if it is a barrier. Readers go to `found`."""
        name, layer = name_of(user), self.layer(user)
        if name == "cat" and dim_of(user, default=0) == 1:
            sizes = [channels_of(part) for part in user.args[0]]
            starts = [sum(sizes[:place]) for place, part in enumerate(user.args[0]) if part is node]
            return [(user, before + offset, repeat) for before in starts]
        if user.args[:1] != (node,) and name not in ("add", "mul"):
            return None
        if name in ZEROS and shape_of(user)[1:2] == shape_of(node)[1:2] and len(shape_of(node)) in (2, 4):
            return [(user, offset, repeat)]
        if name == "mean" and is_mean_of_channels(user):
            return [(user, offset, repeat)]
        if name in FLAT and (times := flattened(node, user)):
            return [(user, offset * times, repeat * times)]
        if name == "add" and (offset, repeat, channels) == (0, 1, channels_of(node)):
            sources = [self._sources(part) for part in user.args[:2]]
            if None in sources:
                return None
            found.added.extend(path for some in sources for path in some)
            return [(user, 0, 1)]
        if name == "mul":
            return self._product(user, node, offset, repeat, channels, found)
        if layer is None or (name == "linear" and len(shape_of(node)) != 2):
            return None
        if name == "conv2d" and layer.groups > 1:
            if is_depthwise(layer) and layer.bias is None and (offset, repeat, channels) == (0, 1, channels_of(node)):
                found.rows.append(self.layers[user])
                return [(user, offset, repeat)]
            return None
        if name in ("conv2d", "linear"):
            found.readers.append(Reader(self.layers[user], offset, repeat))
            return []
        return None

    def _product(
        self, user: fx.Node, node: fx.Node, offset: int, repeat: int, channels: int, found: _Below
    ) -> list[tuple[fx.Node, int, int]] | None:
        """Behind a product, where zeros stay zeros; the other factor's channels then have no reader."""
        others = [factor for factor in user.args[:2] if factor is not node]
        if not others or not isinstance(others[0], fx.Node):
            return [(user, offset, repeat)]
        if len(shape_of(others[0])) != len(shape_of(node)):
            return None
        if channels_of(others[0]) != 1:
            rows = self.made_by(others[0], user)
            if rows is None or (offset, repeat, channels) != (0, 1, channels_of(node)):
                return None
            found.rows.extend(rows)
        return [(user, offset, repeat)]

    def _sources(self, node: fx.Node | float) -> list[str] | None:
        """The BatchNorms of which `node` is made by sums, and by what makes zeros of zeros; None if by others, too."""
        if not isinstance(node, fx.Node):
            return None
        if (path := self.layers.get(node)) in self.norms:
            return [path]
        if name_of(node) in ZEROS and channels_of(node.args[0]) == channels_of(node):
            return self._sources(node.args[0])
        if name_of(node) == "add" and len({shape_of(part) for part in node.args[:2] if isinstance(part, fx.Node)}) == 1:
            sources = [self._sources(part) for part in node.args[:2]]
            return None if None in sources else [path for some in sources for path in some]
        return None

    def made_by(self, node: fx.Node, reader: fx.Node) -> tuple[str, ...] | None:
        """The layers that lose a row for a channel of `node` that `reader` does not read; None if others read it."""
        name, layer = name_of(node), self.layer(node)
        if set(users_of(node)) != {reader} or node.op != "call_function":
            return None
        if layer is not None:
            path = self.layers[node]
            if name == "linear":
                return (path,) if len(shape_of(node)) == 2 else None
            if name == "conv2d" and layer.groups == 1:
                return (path,)
            above = self.made_by(node.args[0], node) if name == "batch_norm" or is_depthwise(layer) else None
            return above and (path, *above)
        if name in ALONE or (name == "mean" and is_mean_of_channels(node)) or (name in FLAT and keeps_shape(node)):
            return self.made_by(node.args[0], node) if channels_of(node.args[0]) == channels_of(node) else None
        if name in ("mul", "add") and all(isinstance(part, fx.Node) for part in node.args[:2]):
            parts = [part for part in node.args[:2] if channels_of(part) != 1]
            rows = [self.made_by(part, node) for part in parts]
            return None if None in rows else tuple(path for some in rows for path in some)
        return None
