"""From scores to a smaller network: one global ranking, a plan of kept channels, and surgery.

    plan = plan(scores, ratio=0.7)   # {site: kept indices}
    small = apply(net, plan)         # a new, smaller module; `net` is left as it was

A pruned network is a smaller network, never a mask. `masked` exists to check that: it computes what the dense network
would with the pruned channels' scale and shift at zero.
"""

from slimming.pruning.budget import Budget, ranked, removals
from slimming.pruning.groups import expanded, merged
from slimming.pruning.ranking import Plan, plan
from slimming.pruning.surgery import apply, masked

__all__ = ["Budget", "Plan", "apply", "expanded", "masked", "merged", "plan", "ranked", "removals"]
