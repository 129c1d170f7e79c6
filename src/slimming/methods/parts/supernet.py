"""A network in which a layer is one of several operations, all of them trained: their weights are shared by choices."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from slimming import networks
from slimming.networks import forms
from slimming.networks.base import Network

BATCH = 64  # images by which a choice is judged while a policy learns, as the authors' batches


class Choice(nn.Module):
    """`options[taken]` of several layers with the same shapes."""

    def __init__(self, options: Sequence[nn.Module]):
        super().__init__()
        self.options, self.taken = nn.ModuleList(options), 0

    def forward(self, x: Tensor) -> Tensor:
        return self.options[self.taken](x)


class Supernet(Network):
    """The network of a spec whose layers have `options`, {path: forms}, None for the plain layer."""

    def __init__(self, spec: Mapping, options: Mapping[str, Sequence[dict | None]]):
        super().__init__()
        whole = networks.from_spec(spec)
        self.spec, self.sites, self.paths = whole.spec, (), [*options]
        made = {path: [self._layer(whole, path, form) for form in some] for path, some in options.items()}
        for path, layers in made.items():
            whole.set_submodule(path, Choice(layers))
        self.net = whole

    @staticmethod
    def _layer(whole: Network, path: str, form: dict | None) -> nn.Module:
        if form is None:
            return whole.get_submodule(path)
        some = copy.deepcopy(whole)
        forms.prepare(some, {path: form})
        return some.get_submodule(path)

    def parts(self) -> list[Callable[[Tensor], Tensor]]:
        return self.net.parts()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def choices(self) -> list[Choice]:
        return [self.net.get_submodule(path) for path in self.paths]

    def take(self, choice: Sequence[int]) -> None:
        """Compute with these options from now on."""
        for layer, option in zip(self.choices(), choice, strict=True):
            layer.taken = option


class Judge:
    """The accuracy of choices on the training images at `places` (n,), with BatchNorm's statistics of every batch."""

    def __init__(self, net: Supernet, images: Callable[[int], Iterator[tuple[Tensor, Tensor]]], places: Tensor):
        self.net = copy.deepcopy(net).eval()
        for module in self.net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.track_running_stats, module.running_mean, module.running_var = False, None, None
        kept, begin = [], 0
        for batch, labels in images(BATCH):
            mine = torch.isin(torch.arange(begin, begin + len(labels)), places).to(labels.device)
            kept.append((batch[mine], labels[mine]))
            begin += len(labels)
        self.images, self.labels = (torch.cat(some) for some in zip(*kept, strict=True))

    @torch.no_grad()
    def hits(self, choice: Sequence[int], images: Tensor, labels: Tensor) -> int:
        self.net.take(choice)
        return int((self.net(images).argmax(1) == labels).sum())

    def accuracy(self, choice: Sequence[int]) -> float:
        """On all images."""
        batches = zip(self.images.split(BATCH), self.labels.split(BATCH), strict=True)
        return sum(self.hits(choice, *batch) for batch in batches) / len(self.labels)

    def gain(self, choice: Sequence[int], generator: torch.Generator) -> float:
        """The accuracy of a choice less that of the first options, on a batch drawn at random."""
        drawn = torch.randint(len(self.labels), (BATCH,), generator=generator).to(self.labels.device)
        batch = self.images[drawn], self.labels[drawn]
        return (self.hits(choice, *batch) - self.hits([0] * len(choice), *batch)) / BATCH
