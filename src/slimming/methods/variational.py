"""Variational pruning (Zhao et al., 2019), the Bayesian modification of network slimming.

BatchNorm is written gamma (x_hat + beta), so that a channel with gamma = 0 is gone with its shift. gamma has the
posterior N(mu, sigma^2) and the prior N(0, sigma^2) of the same width; the objective is

    E CE(gamma = mu + sigma eps) + kl sum_c mu_c^2 / (2 sigma_c^2),   eps ~ N(0, 1) drawn anew at every step,

the sum being the Kullback-Leibler divergence of the posterior from the prior. The network is evaluated, and stored, at
the mean: scale mu, shift mu beta. Not for retraining: the method claims to need none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slimming.errors import InputError
from slimming.methods.base import Method

if TYPE_CHECKING:
    from torch import Tensor

    from slimming.methods.base import Step
    from slimming.networks.base import Network

NARROWEST = 1e-3  # least sigma: keeps the divergence, and its gradient, finite


@dataclass(frozen=True, kw_only=True)
class Variational(Method):
    """`kl` weighs the divergence against the mean loss of an image, `sigma` is the initial width.

    Between steps the network holds the mean form. Within one, the parts hold what the forward pass computes with,
    gamma = mu + sigma eps and the shift gamma beta, until `add_gradient` carries the gradients over to mu and beta.
    log sigma is the method's own parameter, with the momentum of the others and no weight decay.
    """

    kl: float
    sigma: float

    def prepare(self, step: Step) -> None:
        import torch

        mean = step.gamma.values
        step.state["beta"] = step.shift.values / mean
        step.state["log_sigma"] = torch.full_like(mean, math.log(self.sigma))
        step.state["velocity"] = torch.zeros_like(mean)
        step.state["mean"], step.state["noise"] = torch.zeros_like(mean), torch.zeros_like(mean)

    def before_step(self, step: Step) -> None:
        state, gamma, shift = step.state, step.gamma.values, step.shift.values
        state["mean"].copy_(gamma)
        state["noise"].normal_(generator=step.generator)
        gamma.addcmul_(state["log_sigma"].exp(), state["noise"])
        shift.copy_(gamma * state["beta"])

    def add_gradient(self, step: Step) -> None:
        state, gamma, shift = step.state, step.gamma, step.shift
        gamma.gradient.addcmul_(shift.gradient, state["beta"])
        shift.gradient.mul_(gamma.values)
        gamma.values.copy_(state["mean"])
        shift.values.copy_(state["beta"])

        sigma = state["log_sigma"].exp()
        to_mean, to_log_sigma = divergence_gradient(gamma.values, sigma)
        pull = gamma.gradient * state["noise"] * sigma + self.kl * to_log_sigma
        state["velocity"].mul_(step.momentum).add_(pull)
        state["log_sigma"].sub_(state["velocity"], alpha=step.lr).clamp_(min=math.log(NARROWEST))
        gamma.gradient.add_(to_mean, alpha=self.kl)

    def after_step(self, step: Step) -> None:
        step.state["beta"].copy_(step.shift.values)
        step.shift.values.mul_(step.gamma.values)

    def finish(self, step: Step) -> None:
        step.net.learned["sigma"] = step.state["log_sigma"].exp()

    def scores(self, net: Network) -> dict[str, Tensor]:
        """sqrt(mu^2 + sigma^2), the root mean square of gamma: small where mean and width both are."""
        means = super().scores(net)
        if "sigma" not in net.learned:
            raise InputError(f"{self.slug}: the network was not trained by it and has no posterior to score")
        widths = net.learned["sigma"].split([len(mean) for mean in means.values()])
        return {site: (mean**2 + width**2).sqrt() for (site, mean), width in zip(means.items(), widths, strict=True)}


def divergence(mean: Tensor, sigma: Tensor) -> Tensor:
    """KL(N(mean, sigma^2) || N(0, sigma^2)) = mean^2 / (2 sigma^2), elementwise."""
    return (mean / sigma) ** 2 / 2


def divergence_gradient(mean: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """The derivatives of `divergence` by the mean and by log sigma."""
    return mean / sigma**2, -((mean / sigma) ** 2)


def _vcp(*, kl: float = 1e-4, sigma: float = 0.05) -> Variational:
    for name, value, lowest in (("kl", kl, 0), ("sigma", sigma, NARROWEST)):
        if not lowest <= value < math.inf:
            raise InputError(f"vcp: {name} must lie in [{lowest:g}, inf), got {value!r}")
    return Variational(slug="vcp", kl=kl, sigma=sigma)


METHODS = {"vcp": _vcp}
