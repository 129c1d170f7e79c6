"""Intervals and tests are those of the textbook, worked out by hand or by another route, and keep their promises."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from slimming.claims import statistics

SAMPLES = st.integers(2, 8).flatmap(lambda n: arrays(float, n, elements=st.floats(-100, 100, width=32)))
STUDENT = {1: np.tan(0.475 * np.pi), 2: 0.95 / (2 * 0.975 * 0.025) ** 0.5, 3: 3.182446305}  # 97.5 % quantiles


def chance(n, p):
    """The counts that n trials of probability p give in 999 of 1000 cases."""
    return stats.binom.interval(0.999, n, p)


@pytest.mark.parametrize(
    ("differences", "mean", "error"),
    [([1, 3], 2, 1), ([1, 2, 6], 3, (7 / 3) ** 0.5), ([-2, 0, 1, 5], 1, (26 / 12) ** 0.5)],
)
def test_few_seeds_have_students_interval(differences, mean, error):
    half = STUDENT[len(differences) - 1] * error  # mean -+ t s / sqrt(n)
    assert statistics.interval(differences) == pytest.approx((mean - half, mean + half), rel=1e-8)


def test_another_confidence_has_another_quantile():
    half = 0.9 / (2 * 0.95 * 0.05) ** 0.5 * (7 / 3) ** 0.5  # the 95 % quantile of t(2)
    assert statistics.interval([1, 2, 6], 0.9) == pytest.approx((3 - half, 3 + half), rel=1e-8)


def test_one_seed_has_no_interval():
    assert np.isnan(statistics.interval([1.5])).all()


@pytest.mark.parametrize("differences", [[0.3, 0.1, 0.8, 0.2, 2.1], [1, 2, 3, 4, 5], [-4, -1, 0, 0, 1, 1.5]])
def test_more_seeds_have_the_bca_interval_of_all_resamples(differences):
    values = np.array(differences, dtype=float)
    means = np.array([np.mean(resample) for resample in itertools.product(values, repeat=len(values))])
    below = (np.mean(means < values.mean()) + np.mean(means <= values.mean())) / 2  # bias correction, ties shared
    bias = stats.norm.ppf(below)
    left_out = np.array([np.delete(values, i).mean() for i in range(len(values))])
    skew = left_out.mean() - left_out
    acceleration = (skew**3).sum() / (6 * (skew**2).sum() ** 1.5)
    shifted = bias + stats.norm.ppf([0.025, 0.975])
    levels = stats.norm.cdf(bias + shifted / (1 - acceleration * shifted))
    error = 3.3 * np.sqrt(levels * (1 - levels) / statistics.RESAMPLES)  # of 9999 resamples, 99.9 %
    found = np.array(statistics.interval(values))
    assert (np.quantile(means, levels - error) <= found).all()
    assert (found <= np.quantile(means, levels + error)).all()


def test_the_bootstrap_starts_at_five_seeds_and_repeats_itself():
    values = np.array([0.3, 0.1, 0.8, 0.2, 2.1])
    assert statistics.interval(values) == statistics.interval(values)
    assert statistics.interval(values) != statistics.interval(values, random_state=1)
    assert statistics.interval(values) != pytest.approx(stats.t.interval(0.95, 4, values.mean(), stats.sem(values)))


@given(SAMPLES)
def test_an_interval_is_finite_ordered_and_within_reach_of_the_differences(values):
    low, high = statistics.interval(values)
    assert low <= high
    assert np.isfinite([low, high]).all()
    if len(values) >= statistics.FEW:
        assert values.min() - 1e-9 <= low <= high <= values.max() + 1e-9


def test_students_interval_covers_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(1, 2, (2000, 3))
    covered = sum(low <= 1 <= high for low, high in map(statistics.interval, draws))
    low, high = chance(2000, 0.95)
    assert low <= covered <= high


def test_the_bootstrap_of_five_seeds_is_too_narrow_for_verdicts():
    draws = np.random.default_rng(0).normal(1, 2, (500, 5))
    covered = sum(low <= 1 <= high for low, high in map(statistics.interval, draws))
    assert covered < chance(500, 0.95)[0]
    low, high = chance(500, 0.85)
    assert low <= covered <= high


def test_a_one_sided_p_is_that_of_students_t():
    # t = 3 / sqrt(7/3), and Student's distribution with two degrees of freedom is 1/2 + t / (2 sqrt(2 + t^2)).
    assert statistics.p_above([1, 2, 6], 0) == pytest.approx((1 - (27 / 41) ** 0.5) / 2, rel=1e-12)
    assert statistics.p_above([1, 2, 6], 3) == pytest.approx(0.5, rel=1e-12)
    assert statistics.p_below([1, 2, 6], 0) == pytest.approx((1 + (27 / 41) ** 0.5) / 2, rel=1e-12)


@given(SAMPLES, st.floats(-10, 10))
def test_the_two_sides_share_one_distribution(values, bound):
    if np.ptp(values) > 1e-6:
        assert statistics.p_above(values, bound) + statistics.p_below(values, bound) == pytest.approx(1)


@pytest.mark.parametrize("noise", [0.0, 1e-16])
def test_equal_differences_are_counted_not_measured(noise):
    values = [0.2, 0.2 + noise, 0.2 - noise]
    assert statistics.p_above(values, 0) == 1 / 8
    assert statistics.p_below(values, 0) == 1
    assert statistics.p_below(values, 1) == 1 / 8
    assert (statistics.p_above(values, 0.2), statistics.p_below(values, 0.2)) == (1, 1)
    assert statistics.p_above([3.0], 0) == 1 / 2
    assert statistics.interval(values) == pytest.approx((0.2, 0.2))


@pytest.mark.parametrize("margin", [0.5, 1, 4])
def test_similarity_is_tested_from_both_sides(margin):
    ours, theirs = np.array([3, 1, 4, 1, 5.5]), np.array([2.5, 1.5, 3.5, 1.2, 5])
    p, _, _ = ttost_paired(ours, theirs, -margin, margin)
    assert statistics.p_inside(ours - theirs, margin) == pytest.approx(p, rel=1e-12)


def test_difference_beyond_a_margin_is_tested_from_both_sides():
    values = np.array([2.0, 3.0, 2.2, 2.9])
    one_sided = stats.ttest_1samp(values, 1, alternative="greater").pvalue
    assert statistics.p_outside(values, 1) == statistics.p_outside(-values, 1) == pytest.approx(2 * one_sided)
    assert statistics.p_outside(values, 5) == 1


def test_holm_multiplies_the_smallest_p_by_all_tests_and_the_next_by_one_less():
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])  # 3 x, then 2 x; never falling
    assert statistics.holm([0.5, 0.01]) == pytest.approx([0.5, 0.02])
    assert statistics.holm([0.6, 0.7, 0.02, 0.02]) == pytest.approx([1, 1, 0.08, 0.08])


def test_holm_agrees_with_statsmodels():
    p = np.random.default_rng(0).beta(0.3, 2, 50)
    assert statistics.holm(p) == pytest.approx(multipletests(p, method="holm")[1], rel=1e-12)


def test_among_many_true_hypotheses_holm_rejects_any_as_seldom_as_one_test_would():
    draws = np.random.default_rng(0).uniform(size=(4000, 12))
    rejected = sum(statistics.holm(p).min() <= 0.025 for p in draws)
    low, high = chance(4000, 1 - (1 - 0.025 / 12) ** 12)
    assert low <= rejected <= high


def test_holm_leaves_out_what_was_not_tested():
    assert statistics.holm([np.nan, 0.02, np.nan, 0.03]) == pytest.approx([np.nan, 0.04, np.nan, 0.04], nan_ok=True)
    assert np.isnan(statistics.holm([np.nan])).all()
    assert statistics.holm([]).shape == (0,)


@given(arrays(float, st.integers(1, 12), elements=st.floats(0, 1)))
def test_holm_keeps_the_order_and_lies_between_p_and_bonferroni(p):
    given_p, adjusted = p.copy(), statistics.holm(p)
    assert (p == given_p).all()
    assert (adjusted >= p - 1e-15).all()
    assert (adjusted <= np.minimum(1, p * len(p)) + 1e-12).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()
