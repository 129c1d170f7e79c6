"""BatchNorm statistics of a pruned network, taken anew.

What is removed no longer reaches the layers behind it, whose inputs then have other means and variances than their
BatchNorm layers have stored: by that alone a network may fail whose weights are as good as before. Taking the
statistics again needs a few forward passes and no label (Li et al., 2020, "EagleEye: Fast Sub-net Evaluation for
Efficient Neural Network Pruning", ECCV, call it adaptive batch normalisation). Not for training: no weight changes.
"""

from __future__ import annotations

import copy
import itertools

from torch.optim.swa_utils import update_bn

from slimming import data
from slimming.networks.base import Network

IMAGES, BATCH = 10_000, 200  # a standard error of a hundredth of the standard deviation, before positions are counted


def recalibrate(net: Network, dataset: data.Dataset, seed: int, epoch: int) -> Network:
    """A copy of `net` whose running means and variances are averages over the first IMAGES training images of an epoch.

    Order and augmentation are those of data.batches for (seed, epoch); a smaller training split is used once.
    The copy is in evaluation mode, and `net` is left as it was.
    """
    made = copy.deepcopy(net)
    update_bn(itertools.islice(data.batches(dataset, BATCH, seed, epoch), IMAGES // BATCH), made)
    return made.eval()
