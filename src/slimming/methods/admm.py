"""Training towards low ranks (Yin, Sui, Liao and Yuan, CVPR 2021): the alternating direction method of multipliers.

The network is trained in its dense form, and comes to have weights W that can be written in few ranks exactly:

    minimise   loss(W) + rho / 2 sum |W - Z + U|^2         by the training, step by step
    Z <- the nearest to W + U of the ranks that the budget allows    before every epoch
    U <- U + W - Z

Z is W written in the form `format` and contracted again: TT-SVD from left to right, Tucker-2 from HOSVD, or SVD. rho
is five times as large in the last 15 % of the training. Ranks follow from `target` by the rule of `decompose`. After
the training W is decomposed, and what is lost is |W - Z| / |W|.

    admm   format "tt", "tucker" or "svd"; target, the share of multiply-accumulates that goes; rho

The authors' rho is 0.001 over 200 epochs of CIFAR-10, 78 200 steps. What draws W to Z acts through the number of steps,
so that a shorter training needs more: without a rho of its own, it is 0.001 x 78 200 / steps.

Other than the authors: ranks are not set by hand; labels are not smoothed, as no other method's are here.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slimming.errors import InputError
from slimming.methods import decomposition
from slimming.methods.base import Method
from slimming.methods.decomposition import Decomposition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from slimming.methods.base import Part, Setting, Step
    from slimming.networks.base import Network
    from slimming.pruning import Plan

LATE, FASTER = 0.85, 5.0  # of the training, and how much larger rho is from then on
PULL = 0.001 * 78_200  # rho times steps, in the authors' trainings


@dataclass(frozen=True, kw_only=True)
class ADMM(Decomposition):
    budgets = ("macs",)  # of which `target` is a share

    target: float
    rho: float | None

    def training(self) -> Method:
        return self

    def prepare(self, step: Step) -> None:
        for path, part in self._layers(step):
            step.state[f"z.{path}"] = part.values.clone()
            step.state[f"u.{path}"] = part.values.new_zeros(part.values.shape)

    def on_epoch(self, step: Step) -> None:
        for path, part in self._layers(step):
            z, u = self._pair(step, path)
            if step.epoch:
                z.copy_(self._projected(step, path, part.values + u))
                u.add_(part.values - z)
            else:
                z.copy_(self._projected(step, path, part.values))

    def add_gradient(self, step: Step) -> None:
        rho = (self.rho or PULL / step.steps) * (FASTER if step.progress >= LATE else 1.0)
        rho = min(rho, 1 / step.lr)  # a step is never longer than the way to Z
        for path, part in self._layers(step):
            z, u = self._pair(step, path)
            part.gradient.add_(part.values - z + u, alpha=rho)

    def finish(self, step: Step) -> None:
        """Leave |W - Z|^2 and |W|^2 of every layer, Z the nearest to W that has its ranks: (layers, 2)."""
        import torch

        sizes = []
        for path, part in self._layers(step):
            lost = part.values - self._projected(step, path, part.values)
            sizes.append(torch.stack([lost.square().sum(), part.values.square().sum()]))
        step.net.learned["admm"] = torch.stack(sizes).cpu()

    def plan(self, net: Network, ratio: float, setting: Setting) -> Plan:
        plan = super().plan(net, ratio, setting)
        lost, whole = net.learned["admm"].double().sum(0).sqrt().tolist()
        plan.found = {"residual": lost / whole, "target": self.target}
        return plan

    def _layers(self, step: Step) -> Iterator[tuple[str, Part]]:
        for path in self._ranks(step):
            yield path, step.layers[f"{path}.weight"]

    def _pair(self, step: Step, path: str) -> tuple[Tensor, Tensor]:
        return step.state[f"z.{path}"], step.state[f"u.{path}"]

    def _projected(self, step: Step, path: str, weight: Tensor) -> Tensor:
        """The weight of these ranks that is nearest to `weight`, or nearly so (networks.forms)."""
        import torch

        from slimming.networks import forms

        settings = dict(self._ranks(step)[path])
        plain = step.net.get_submodule(path)
        made = forms.registry()[settings.pop("form")](plain, **settings).to(weight.device)
        with torch.no_grad():
            made.fit(weight)
            return made.dense()

    def _ranks(self, step: Step) -> dict[str, dict]:
        return _ranks(self.slug, json.dumps(step.net.spec), self.format, self.target, step.image)


@functools.lru_cache(maxsize=4)
def _ranks(slug: str, spec: str, format: str, target: float, image: tuple[int, int, int]) -> dict[str, dict]:
    """{convolution: form} of the target, of the network whose spec is this line of JSON."""
    from slimming.pruning import Budget

    return decomposition.chosen(slug, json.loads(spec), format, target, Budget("macs", image))


def _admm(*, format: str = "tt", target: float = 0.5, rho: float | None = None) -> ADMM:
    decomposition.check_format("admm", format)
    if not 0 < target < 1:
        raise InputError(f"admm: target must lie in (0, 1), got {target!r}")
    if rho is not None and not rho > 0:
        raise InputError(f"admm: rho must be positive, got {rho!r}")
    return ADMM(slug=f"admm-{format}-{target:g}", format=format, target=target, rho=rho)


METHODS = {"admm": _admm}
