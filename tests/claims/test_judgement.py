"""The table of verdicts, cell by cell."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from slimming.claims import judgement, statistics
from slimming.claims.evidence import Evidence
from slimming.claims.judgement import INCONCLUSIVE, NOT_ATTEMPTED, NOT_REPRODUCED, PARTLY, REPRODUCED
from slimming.claims.rules import Comparison

LEVEL = 0.025


def comparison(direction="higher", margin=1.0, metric="accuracy", tolerance=None):
    return Comparison(metric=metric, stage="pruned", direction=direction, margin=margin, tolerance=tolerance)


def judged(differences, *asked, **kwargs):
    evidence = Evidence(np.array(differences, dtype=float), {}, **kwargs)
    return judgement.verdict(*judgement.p_values(comparison(*asked), evidence), LEVEL)


@pytest.mark.parametrize(
    ("centre", "spread", "higher", "lower", "similar"),
    [
        (5.0, 0.1, REPRODUCED, NOT_REPRODUCED, NOT_REPRODUCED),
        (1.0, 0.1, REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE),
        (0.5, 0.1, PARTLY, NOT_REPRODUCED, REPRODUCED),
        (0.0, 0.1, NOT_REPRODUCED, NOT_REPRODUCED, REPRODUCED),
        (0.0, 9.0, INCONCLUSIVE, INCONCLUSIVE, INCONCLUSIVE),
        (-0.5, 0.1, NOT_REPRODUCED, PARTLY, REPRODUCED),
        (-5.0, 0.1, NOT_REPRODUCED, REPRODUCED, NOT_REPRODUCED),
    ],
)
def test_a_verdict_follows_from_the_difference_the_margin_and_the_spread(centre, spread, higher, lower, similar):
    differences = centre + spread * np.array([-1, 0, 1, 0.5, -0.5])
    assert judged(differences, "higher") == higher
    assert judged(differences, "lower") == lower
    assert judged(differences, "similar") == similar


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=4), st.sampled_from(["higher", "lower", "similar"]))
def test_inconclusive_means_that_the_interval_is_wider_than_the_margin(differences, direction):
    # For similarity the interval lies inside the range, beyond it, or is inconclusive.
    low, high = statistics.interval(differences)
    if np.ptp(differences) > 1e-6 and direction != "similar" and judged(differences, direction) == INCONCLUSIVE:
        assert high - low >= 1 - 1e-9
    if np.ptp(differences) > 1e-6 and direction == "similar":
        within, beyond = -1 < low <= high < 1, low > 1 or high < -1
        assert (judged(differences, direction) == REPRODUCED) == within
        assert beyond or judged(differences, direction) != NOT_REPRODUCED


@pytest.mark.parametrize(
    ("direction", "truth", "seeds", "wrong", "rate"),
    [
        ("higher", 0, 3, {REPRODUCED, PARTLY}, 0.025),
        ("lower", 0, 5, {REPRODUCED, PARTLY}, 0.025),
        ("higher", 1, 5, {NOT_REPRODUCED, PARTLY}, 0.025),
        ("lower", -1, 3, {NOT_REPRODUCED, PARTLY}, 0.025),
        ("similar", 1, 3, {REPRODUCED}, 0.025),
        ("similar", 1, 5, {NOT_REPRODUCED}, 0.0125),
    ],
)
def test_a_wrong_verdict_comes_out_as_often_as_the_level_says(direction, truth, seeds, wrong, rate):
    """At the edge of each hypothesis, where errors are most frequent: 999 of 1000 counts lie within the bounds."""
    draws = np.random.default_rng(11).normal(truth, 0.2, (800, seeds))
    count = sum(judged(differences, direction) in wrong for differences in draws)
    assert stats.binom.ppf(0.0005, 800, rate) <= count <= stats.binom.ppf(0.9995, 800, rate)


@pytest.mark.parametrize("spread", [1, 20])
def test_similarity_is_never_judged_wrongly_more_often_than_the_level_says(spread):
    draws = np.random.default_rng(12).normal(1, spread, (800, 3))
    verdicts = [judged(differences, "similar") for differences in draws]
    most = stats.binom.ppf(0.9995, 800, LEVEL)
    assert max(verdicts.count(REPRODUCED), verdicts.count(NOT_REPRODUCED)) <= most


def test_the_margin_of_a_size_counts_from_the_larger_of_the_two():
    assert judgement.inner_margin(comparison("lower", 10, "parameters")) == pytest.approx(np.log(1 / 0.9))
    assert judgement.inner_margin(comparison("lower", 10, "accuracy")) == 10
    smaller = np.log(0.85) + 0.001 * np.arange(4)  # 15 % smaller
    assert judged(smaller, "lower", 10, "parameters") == REPRODUCED
    assert judged(smaller, "lower", 20, "parameters") == PARTLY
    assert judged(smaller, "similar", 20, "parameters") == REPRODUCED
    assert judged(-smaller, "similar", 20, "parameters") == REPRODUCED
    assert judged(-smaller, "similar", 10, "parameters") == NOT_REPRODUCED


def test_a_curve_that_does_not_end_gives_only_a_bound():
    asked = ("lower", 10, "parameters", 1)
    smaller, larger = np.log(0.5) + 0.01 * np.arange(4), np.log(2) + 0.01 * np.arange(4)
    assert judged(smaller, *asked) == judged(smaller, *asked, open_treatment=1) == REPRODUCED
    assert judged(smaller, *asked, open_reference=1) == INCONCLUSIVE
    assert judged(larger, *asked) == judged(larger, *asked, open_reference=4) == NOT_REPRODUCED
    assert judged(larger, *asked, open_treatment=1) == INCONCLUSIVE


def test_the_level_belongs_to_the_rejection():
    assert judgement.verdict(0.025, 1, 0.025) == REPRODUCED
    assert judgement.verdict(0.0251, 1, 0.025) == INCONCLUSIVE
    assert judgement.verdict(0.025, 0.025, 0.025) == PARTLY
    assert judgement.verdict(0.0251, 0.025, 0.025) == NOT_REPRODUCED


@pytest.mark.parametrize(
    ("main", "conditions", "verdict"),
    [
        (REPRODUCED, [], REPRODUCED),
        (REPRODUCED, [REPRODUCED, REPRODUCED], REPRODUCED),
        (REPRODUCED, [REPRODUCED, INCONCLUSIVE], PARTLY),
        (REPRODUCED, [NOT_REPRODUCED], PARTLY),
        (REPRODUCED, [NOT_ATTEMPTED], PARTLY),
        (NOT_REPRODUCED, [REPRODUCED], NOT_REPRODUCED),
        (INCONCLUSIVE, [REPRODUCED], INCONCLUSIVE),
        (NOT_ATTEMPTED, [REPRODUCED], NOT_ATTEMPTED),
        (PARTLY, [INCONCLUSIVE], PARTLY),
    ],
)
def test_conditions_can_lower_a_verdict_and_never_raise_it(main, conditions, verdict):
    assert judgement.with_conditions(main, conditions) == verdict


@pytest.mark.parametrize(
    ("verdicts", "combined"),
    [
        ([], NOT_ATTEMPTED),
        *(([each, each], each) for each in judgement.VERDICTS),
        ([REPRODUCED, INCONCLUSIVE], PARTLY),
        ([REPRODUCED, NOT_ATTEMPTED], PARTLY),
        ([REPRODUCED, NOT_REPRODUCED], PARTLY),
        ([PARTLY, NOT_REPRODUCED], PARTLY),
        ([NOT_REPRODUCED, INCONCLUSIVE], NOT_REPRODUCED),
        ([NOT_REPRODUCED, NOT_ATTEMPTED, INCONCLUSIVE], NOT_REPRODUCED),
        ([INCONCLUSIVE, NOT_ATTEMPTED], INCONCLUSIVE),
    ],
)
def test_verdicts_combine(verdicts, combined):
    assert judgement.combine(verdicts) == judgement.combine(verdicts[::-1]) == combined


def reason(differences, said, raw=(0.2, 0.2), asked=(), **kwargs):
    evidence = Evidence(np.array(differences, dtype=float), {}, **kwargs)
    return judgement.reason(comparison(*asked), evidence, LEVEL, raw, said)


def test_a_reason_says_what_is_excluded_and_what_the_evidence_lacks():
    five = range(5)
    assert reason(five, REPRODUCED) == "higher as claimed"
    assert reason(five, PARTLY, asked=("lower", 10, "bytes")) == "lower as claimed, but by less than 10 %"
    assert reason(five, NOT_REPRODUCED) == "higher by 1 point or more is excluded"
    assert reason(five, INCONCLUSIVE) == "neither no difference nor higher by 1 point is excluded"
    similar = ("similar", 0.5)
    assert reason(five, REPRODUCED, asked=similar) == "they differ by less than 0.5 points"
    assert reason(five, NOT_REPRODUCED, asked=similar) == "they differ by more than 0.5 points"
    assert (
        reason(five, INCONCLUSIVE, asked=similar) == "neither less nor more than 0.5 points of difference is excluded"
    )


def test_a_reason_says_when_only_the_number_of_tests_prevents_a_verdict():
    text = "it would be decided if this were the only test, but not after Holm's correction"
    assert reason(range(5), INCONCLUSIVE, raw=(0.01, 1)) == reason(range(5), INCONCLUSIVE, raw=(1, 0.02)) == text
    assert reason(range(5), REPRODUCED, raw=(0.01, 1)) == "higher as claimed"


def test_a_reason_says_that_seeds_are_few():
    assert reason([1, 2, 3, 4], REPRODUCED) == "higher as claimed; n = 4 is small"
    assert reason([1], INCONCLUSIVE, raw=(0.5, 1)).endswith("; one seed shows no spread")


def test_a_reason_says_where_a_curve_does_not_end():
    asked = ("lower", 10, "bytes", 1)
    text = "at the largest ratio the {} still keeps its accuracy (seeds: {} of 5)"
    found = reason(range(5), INCONCLUSIVE, (1, 1), asked, open_treatment=2, open_reference=5)
    assert found.split("; ")[1:] == [text.format("reference", 5), text.format("treatment", 2)]


def test_a_reason_says_where_no_network_is_accurate_enough():
    found = reason(range(5), INCONCLUSIVE, (1, 1), ("lower", 10, "bytes", 1), lost_treatment=3, lost_reference=1)
    text = "no network of the {} is accurate enough (seeds: {} of 5)"
    assert found.split("; ")[1:] == [text.format("reference", 1), text.format("treatment", 3)]


def test_a_summary_counts_the_verdicts():
    assert judgement.summary([INCONCLUSIVE, REPRODUCED, REPRODUCED]) == "2 of 3 reproduced, 1 of 3 inconclusive"
