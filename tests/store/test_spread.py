"""How far an accuracy may lie from what is stored, on another kind of machine."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from slimming.errors import InputError
from slimming.schema import KEY
from slimming.store.reaffirm import ALPHA, LEAST, _spread


def ledger(accuracies: np.ndarray) -> pd.DataFrame:
    """Trained networks: accuracies by method (rows) and seed (columns)."""
    rows = [
        dict(zip(KEY, ("digits", "vgg11", f"m{method}", seed, 0.0, "trained"), strict=True)) | {"accuracy": accuracy}
        for method, seeds in enumerate(accuracies)
        for seed, accuracy in enumerate(seeds)
    ]
    return pd.DataFrame(rows).assign(accuracy_best=1.0)


def test_numbers_that_differ_by_chance_are_accepted_as_often_as_promised():
    generator = np.random.default_rng(0)
    alarms = 0
    for _ in range(400):
        stored, made = (ledger(0.5 + 0.05 * generator.standard_normal((7, 3))) for _ in range(2))
        alarms += bool(list(_spread(made, stored)))
    assert alarms <= 400 * 10 * ALPHA


def test_a_number_ten_deviations_off_is_named():
    accuracies = 0.5 + 0.01 * np.random.default_rng(0).standard_normal((7, 3))
    other = accuracies.copy()
    other[2, 1] += 0.15
    (fault,) = _spread(ledger(other), ledger(accuracies))
    assert fault.startswith("digits vgg11 m2 1 0.0 trained: accuracy")


def test_one_image_more_is_no_fault_where_seeds_agree():
    same = np.full((3, 3), 0.5)
    assert list(_spread(ledger(same + LEAST * 0.99), ledger(same))) == []
    assert len(list(_spread(ledger(same + LEAST * 1.01), ledger(same)))) == 9


def test_one_seed_says_nothing():
    with pytest.raises(InputError, match="one seed"):
        list(_spread(ledger(np.ones((3, 1))), ledger(np.ones((3, 1)))))
