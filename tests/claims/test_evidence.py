"""A curve becomes one number a seed, by rules that can be followed with a pencil; a gap in the ledger is named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import simulated
from slimming.claims import evidence
from slimming.claims.rules import Comparison
from slimming.errors import InputError

ACCURACY = Comparison(metric="accuracy", stage="pruned", direction="higher", margin=1)
SIZE = Comparison(metric="parameters", stage="pruned", direction="similar", margin=10)
SMALLEST = Comparison(metric="parameters", stage="pruned", direction="lower", margin=10, tolerance=5)

DENSE = {("trained", 0.0): (0.95, 1600), ("pruned", 0.4): (0.5, 800), ("pruned", 0.8): (0.1, 400)}
L1 = {("trained", 0.0): (0.95, 1600), ("pruned", 0.4): (0.85, 400), ("pruned", 0.8): (0.2, 100)}
TL1 = {("trained", 0.0): (0.94, 1600), ("pruned", 0.4): (0.93, 400), ("pruned", 0.8): (0.87, 100)}


@pytest.fixture
def panel(tmp_path):
    return evidence.read(simulated.write(tmp_path, cells()))


def cells():
    curves = {"none": DENSE, "l1": L1, "tl1-1": TL1}
    return [row for seed in (1, 2) for method, curve in curves.items() for row in simulated.rows(method, seed, curve)]


def shifted(curve, by):
    return {key: (accuracy + by, size) for key, (accuracy, size) in curve.items()}


@pytest.mark.parametrize(
    ("accuracies", "size", "ends"),
    [
        ([0.9, 0.7, 0.1], 200, False),  # 0.8 lies half way between sizes 400 and 100 in the logarithm
        ([0.9, 0.8, 0.1], 100, False),  # reached exactly
        ([0.9, 0.85, 0.8], 25, True),  # still there at the smallest
        ([0.79, 0.5, 0.1], 1600, False),  # never there: nothing can be removed
        ([0.5, 0.9, 0.4], 25 * 4**0.8, False),  # the whole curve counts, not its first fall
        ([0.9, 0.0, 0.0], 400 * 4 ** (-1 / 9), False),
    ],
)
def test_the_smallest_network_is_where_the_curve_crosses_the_accuracy(accuracies, size, ends):
    found = evidence.smallest(np.array([400, 100, 25]), np.array(accuracies), target=0.8, dense=1600)
    assert found == (pytest.approx(size, rel=1e-12), ends)


@given(st.permutations([0, 1, 2]))
def test_the_order_of_the_points_of_a_curve_does_not_matter(order):
    sizes, accuracies = np.array([400, 100, 25]), np.array([0.9, 0.7, 0.1])
    found, _ = evidence.smallest(sizes[order], accuracies[order], 0.8, 1600)
    assert found == pytest.approx(200)


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4), st.floats(0, 1))
def test_the_smallest_network_is_among_the_sizes_and_grows_with_the_accuracy_asked_for(accuracies, target):
    sizes = np.array([800, 400, 100, 25])
    found, ends = evidence.smallest(sizes, np.array(accuracies), target, 1600)
    assert 24.9 < found < 800.1 or found == 1600
    assert ends == (accuracies[-1] >= target)
    assert found <= evidence.smallest(sizes, np.array(accuracies), min(1, target + 0.1), 1600)[0] * (1 + 1e-9)


def test_without_tolerance_seeds_differ_by_the_mean_over_ratios(panel):
    found = evidence.gather(panel, ACCURACY, "tl1-1", "l1")
    assert found.differences == pytest.approx([(8 + 67) / 2] * 2)
    assert {ratio: list(values) for ratio, values in found.by_ratio.items()} == {
        0.4: pytest.approx([8, 8]),
        0.8: pytest.approx([67, 67]),
    }
    assert (found.open_treatment, found.open_reference) == (0, 0)


def test_sizes_differ_by_the_logarithm_of_their_ratio(panel):
    found = evidence.gather(panel, SIZE, "l1", "none")
    assert found.differences == pytest.approx([(np.log(1 / 2) + np.log(1 / 4)) / 2] * 2)


def test_ratios_can_be_chosen(panel):
    assert evidence.gather(panel, ACCURACY, "tl1-1", "l1", [0.8]).differences == pytest.approx([67, 67])


def test_with_tolerance_seeds_differ_by_the_sizes_at_the_dense_accuracy_less_the_tolerance(panel):
    # 0.95 - 0.05 = 0.90 lies half way between 0.95 at 1600 and 0.85 at 400, and half way between 0.93 and 0.87 at 100.
    found = evidence.gather(panel, SMALLEST, "tl1-1", "l1")
    assert found.differences == pytest.approx([np.log(200 / 800)] * 2)
    assert (found.open_treatment, found.open_reference, found.by_ratio) == (0, 0, {})


def test_the_dense_network_of_the_same_seed_sets_the_accuracy(tmp_path):
    runs = [("none", 1, DENSE), ("none", 2, shifted(DENSE, -0.05)), ("l1", 1, L1), ("l1", 2, L1)]
    rows = [row for run in runs for row in simulated.rows(*run)]
    rows += [row for seed in (1, 2) for row in simulated.rows("tl1-1", seed, TL1)]
    found = evidence.gather(evidence.read(simulated.write(tmp_path, rows)), SMALLEST, "tl1-1", "l1")
    assert found.differences == pytest.approx([np.log(200 / 800), np.log(100 / 400)])  # at 0.90, and at 0.85
    assert (found.open_treatment, found.open_reference) == (1, 0)


def test_where_no_network_is_accurate_enough_the_dense_size_counts_and_that_is_said(tmp_path):
    weak = shifted(L1, -0.2)
    rows = [row for run in (("none", 1, DENSE), ("l1", 1, L1), ("tl1-1", 1, weak)) for row in simulated.rows(*run)]
    found = evidence.gather(evidence.read(simulated.write(tmp_path, rows)), SMALLEST, "tl1-1", "l1")
    assert found.differences == pytest.approx([np.log(1600 / 800)])
    assert (found.lost_treatment, found.lost_reference) == (1, 0)
    assert (found.open_treatment, found.open_reference) == (0, 0)


def test_seeds_count_at_which_both_methods_were_measured(tmp_path):
    rows = [row for row in cells() if (row["method"], row["seed"]) != ("tl1-1", 2)] + simulated.rows("l1", 3, L1)
    found = evidence.gather(evidence.read(simulated.write(tmp_path, rows)), ACCURACY, "tl1-1", "l1")
    assert (len(found.differences), found.seeds) == (1, 3)
    whole = evidence.gather(evidence.read(simulated.write(tmp_path, cells())), ACCURACY, "tl1-1", "l1")
    assert found.differences[0] == whole.differences[0]


def test_methods_without_a_common_seed_cannot_be_compared(tmp_path):
    rows = [row for row in cells() if (row["method"] == "l1") == (row["seed"] == 1)]
    frame = evidence.read(simulated.write(tmp_path, rows))
    said = evidence.lacking(frame, ACCURACY, ("tl1-1", "l1"), (), "none")
    assert said == "there is no seed at which all networks of tl1-1 and l1 were measured"


def test_a_missing_ratio_is_refused(tmp_path):
    rows = [row for row in cells() if (row["method"], row["seed"], row["ratio"]) != ("l1", 1, 0.8)]
    with pytest.raises(InputError, match=r"method l1, seed 1, ratio 0\.8, stage pruned"):
        evidence.read(simulated.write(tmp_path, rows))


def test_data_sets_and_networks_may_have_other_seeds_and_methods(tmp_path):
    rows = cells() + simulated.rows("l1", 7, L1, network="resnet11")
    assert len(evidence.read(simulated.write(tmp_path, rows))) == len(rows)


def test_a_duplicate_row_is_refused_and_named(tmp_path):
    with pytest.raises(
        InputError, match=r"line 2 \(.*method l1, seed 1, ratio 0.0, stage trained.*another row with this key"
    ):
        evidence.read(simulated.write(tmp_path, cells() + cells()[3:4]))


@pytest.mark.parametrize("accuracy", [np.nan, np.inf])
def test_a_non_finite_accuracy_is_refused_and_the_row_named(tmp_path, accuracy):
    rows = cells()
    rows[4] = rows[4] | {"accuracy": accuracy}
    with pytest.raises(InputError, match=r"method l1, seed 1, ratio 0.4, stage pruned.*accuracy is (nan|inf)"):
        evidence.read(simulated.write(tmp_path, rows))


def test_what_a_ledger_lacks_is_said(panel):
    assert evidence.lacking(panel, SMALLEST, ("tl1-1", "l1"), [], "none") == ""
    assert evidence.lacking(panel, ACCURACY, ("tl1-1", "l1"), [0.8, 0.9], "dense") == ""
    only = "only l1, none, tl1-1"
    assert evidence.lacking(panel, ACCURACY, ("tl1-1", "vcp*"), [], "none") == f"the ledger has no method vcp*, {only}"
    assert evidence.lacking(panel, SMALLEST, ("tl1-1", "l1"), [], "dense") == f"the ledger has no method dense, {only}"
    assert evidence.lacking(panel, ACCURACY, ("tl1-1", "l1"), [0.3, 0.9], "none") == (
        "the ledger has no pruned networks at ratio 0.3 or 0.9"
    )
    finetuned = ACCURACY.model_copy(update={"stage": "finetuned"})
    text = "the ledger has no finetuned networks of tl1-1"
    assert evidence.lacking(panel, finetuned, ("tl1-1", "l1"), [], "none") == text
    untrained = panel[panel["stage"] != "trained"]
    text = "the ledger has no trained networks of none"
    assert evidence.lacking(untrained, SMALLEST, ("tl1-1", "l1"), [], "none") == text
    assert evidence.lacking(untrained, ACCURACY, ("tl1-1", "l1"), [], "none") == ""


def test_a_method_may_lack_a_stage_but_no_seed_and_no_ratio_of_one_that_it_reaches(tmp_path):
    fine = {("finetuned", 0.4): (0.9, 400), ("finetuned", 0.8): (0.8, 100)}
    rows = cells() + [row for method in ("none", "l1") for seed in (1, 2) for row in simulated.rows(method, seed, fine)]
    panel = evidence.read(simulated.write(tmp_path / "whole", rows))
    finetuned = ACCURACY.model_copy(update={"stage": "finetuned"})
    assert evidence.lacking(panel, finetuned, ("l1", "none"), [], "none") == ""
    assert evidence.lacking(panel, finetuned, ("l1", "tl1-1"), [], "none").endswith("no finetuned networks of tl1-1")
    for left_out in ("finetuned", 2), ("finetuned", 1):
        kept = [row for row in rows if (row["stage"], row["seed"]) != left_out or row["method"] != "l1"]
        with pytest.raises(InputError, match=f"method l1, seed {left_out[1]}, ratio 0.4, stage finetuned"):
            evidence.read(simulated.write(tmp_path / "part", kept))
    kept = [row for row in rows if (row["method"], row["stage"], row["ratio"]) != ("l1", "pruned", 0.8)]
    with pytest.raises(InputError, match=r"method l1, seed 1, ratio 0\.8, stage pruned"):
        evidence.read(simulated.write(tmp_path / "part", kept))
