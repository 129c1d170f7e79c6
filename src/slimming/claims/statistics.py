"""Intervals and tests for paired differences: one number a seed, so that n is the number of seeds.

Two methods trained from the same seed share initialisation and order of images, so they are compared seed by seed and
the differences are what is judged. Nothing here sees images or epochs. Not for choosing what is compared: that is
evidence's; not for verdicts: those are judgement's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

FEW = 5  # from this many seeds on intervals are bootstrapped; of fewer there are too few resamples
RESAMPLES = 9999
NOISE = 1e-9  # differences closer than this differ by rounding alone


def interval(differences: ArrayLike, confidence: float = 0.95, random_state: int = 0) -> tuple[float, float]:
    """Interval for the mean of `differences`, (seeds,) float, in their unit.

    From FEW seeds on it is bootstrapped, bias-corrected and accelerated (Efron 1987), with RESAMPLES resamples drawn
    from `random_state`; below that it is Student's, mean -+ t(n - 1) s / sqrt(n). One seed gives (NaN, NaN).
    The bootstrap of few seeds is too narrow: with five seeds of normal differences it covers the mean about 85 times
    in 100 instead of 95. It shows the spread, but no verdict rests on it: the p values here do not come from it.
    """
    values = np.asarray(differences, dtype=float)
    if len(values) < 2:
        return float("nan"), float("nan")
    if _constant(values):
        return float(values.mean()), float(values.mean())
    if len(values) < FEW:
        low, high = stats.t.interval(confidence, len(values) - 1, loc=values.mean(), scale=stats.sem(values))
    else:
        low, high = stats.bootstrap(
            (values,),
            np.mean,
            n_resamples=RESAMPLES,
            confidence_level=confidence,
            method="BCa",
            rng=np.random.default_rng(random_state),
        ).confidence_interval
    return float(low), float(high)


def p_above(differences: ArrayLike, bound: float) -> float:
    """One-sided p of the hypothesis that the mean of `differences`, (seeds,) float, is at most `bound`.

    Student's t test. Where all differences are equal, as with one seed, it has no spread to go by; then it is the
    sign test, whose p is 2^-n if they lie above `bound` and 1 otherwise.
    """
    values = np.asarray(differences, dtype=float)
    if _constant(values):
        return 0.5 ** len(values) if values.mean() > bound + NOISE else 1.0
    return float(stats.ttest_1samp(values, bound, alternative="greater").pvalue)


def p_below(differences: ArrayLike, bound: float) -> float:
    """One-sided p of the hypothesis that the mean of `differences` is at least `bound`; as `p_above`."""
    return p_above(-np.asarray(differences, dtype=float), -bound)


def p_inside(differences: ArrayLike, margin: float) -> float:
    """p of the hypothesis that the mean of `differences` is `margin` or more away from 0.

    Two one-sided tests, of which the larger p counts (TOST: Schuirmann 1987).
    """
    return max(p_above(differences, -margin), p_below(differences, margin))


def p_outside(differences: ArrayLike, margin: float) -> float:
    """p of the hypothesis that the mean of `differences` is at most `margin` away from 0.

    Two one-sided tests, of which the smaller p counts, twice (Bonferroni).
    """
    return min(1.0, 2 * min(p_above(differences, margin), p_below(differences, -margin)))


def holm(p_values: ArrayLike) -> np.ndarray:
    """`p_values`, (tests,) float, adjusted for their number (Holm 1979); NaN marks what was not tested, and stays.

    Rejecting where the adjusted p is at most a level keeps the chance of any false rejection below that level.
    """
    adjusted = np.array(p_values, dtype=float)
    # The k-th smallest of m counts m + 1 - k times, and no p less than one before it. (statsmodels has this too, but it
    # is a large dependency for three lines, and collects garbage at every call.)
    order = np.argsort(adjusted, kind="stable")[: np.count_nonzero(~np.isnan(adjusted))]
    counted = adjusted[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(counted))
    return adjusted


def _constant(values: np.ndarray) -> bool:
    return bool(np.ptp(values) <= NOISE)
