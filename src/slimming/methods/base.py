"""The interface of a method: what it may do to a run, and nothing more. Every hook has a default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from slimming.networks.base import Network


@dataclass(frozen=True, kw_only=True)
class Method:
    """Plain training; channels are scored by their scaling factors' magnitude |gamma|.

    `slug` names the method with its parameters in paths, tables and figures: "none", "lp-0.5", "mcp-5000".
    """

    slug: str = "none"

    def cautions(self, gamma: float) -> list[str]:
        """One line for each reason why the method cannot act from initial scaling factors of size `gamma`."""
        return []

    def add_gradient(self, gamma: Tensor, gradient: Tensor) -> None:
        """Add the method's gradient for the scaling factors, in place, after the loss's and before weight decay.

        gamma, gradient: (all prunable channels,) float32, in the order of the network's sites.
        """

    def scores(self, net: Network) -> dict[str, Tensor]:
        """{site: (channels,) tensor}; the channels with the lowest scores go first."""
        from slimming import networks

        return {site: norm.weight.detach().abs() for site, norm in networks.prunable(net).items()}


def _none() -> Method:
    return Method()


METHODS = {"none": _none}
