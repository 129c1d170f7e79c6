"""Random pruning: plain training, then channels removed at random. A criterion must do better than this."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slimming.methods.base import Method

if TYPE_CHECKING:
    from torch import Tensor

    from slimming.networks.base import Network


@dataclass(frozen=True, kw_only=True)
class Random(Method):
    """Scores are uniform random numbers, a function of the trained scaling factors: other seeds, other channels."""

    slug: str = "random"

    def training(self) -> Method:
        return Method()

    def scores(self, net: Network) -> dict[str, Tensor]:
        import torch

        sizes = super().scores(net)
        digest = hashlib.sha256(torch.cat([*sizes.values()]).cpu().numpy().tobytes()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))
        return {site: torch.rand(len(size), generator=generator) for site, size in sizes.items()}


def _random() -> Random:
    return Random()


METHODS = {"random": _random}
