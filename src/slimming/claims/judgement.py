"""Verdicts: how tests become words, and how the words of many comparisons become one.

Two one-sided hypotheses are tested of the mean difference d, counted positive in the direction claimed, with m the
margin that would matter:

    direction         for the claim: rejects      against it: rejects
    higher, lower     d <= 0                      d >= m
    similar           |d| >= m                    |d| <= m

    for   against   verdict
    yes   no        reproduced      the difference is there, and may be as large as matters
    yes   yes       partly          it is there, but smaller than would matter
    no    yes       not reproduced  a difference as large as matters is excluded
    no    no        inconclusive    nothing is excluded: the interval is wider than the margin

Each kind of error is so held to the same level. Not for the tests themselves: those are in statistics.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from slimming.claims import rules, statistics

if TYPE_CHECKING:
    from slimming.claims.evidence import Evidence
    from slimming.claims.rules import Comparison, Finding

REPRODUCED, PARTLY, NOT_REPRODUCED = "reproduced", "partly", "not reproduced"
INCONCLUSIVE, NOT_ATTEMPTED = "inconclusive", "not attempted"
VERDICTS = (REPRODUCED, PARTLY, NOT_REPRODUCED, INCONCLUSIVE, NOT_ATTEMPTED)
REASONS = {  # by whether the claim is of similarity
    False: {
        REPRODUCED: "{direction} as claimed",
        PARTLY: "{direction} as claimed, but by less than {margin}",
        NOT_REPRODUCED: "{direction} by {margin} or more is excluded",
        INCONCLUSIVE: "neither no difference nor {direction} by {margin} is excluded",
    },
    True: {
        REPRODUCED: "they differ by less than {margin}",
        NOT_REPRODUCED: "they differ by more than {margin}",
        INCONCLUSIVE: "neither less nor more than {margin} of difference is excluded",
    },
}


def p_values(comparison: Comparison | Finding, evidence: Evidence) -> tuple[float, float]:
    """p for and p against `comparison`, not adjusted.

    Of a curve that ends before accuracy is lost only a bound is known: the reference's smallest network may be smaller
    still, so nothing speaks for the treatment; or the treatment's, so nothing speaks against it.
    """
    differences, margin = evidence.differences, inner_margin(comparison)
    if comparison.direction == "similar":
        return statistics.p_inside(differences, margin), statistics.p_outside(differences, margin)
    gains = differences if comparison.direction == "higher" else -differences
    p, p_against = statistics.p_above(gains, 0.0), statistics.p_below(gains, margin)
    return 1.0 if evidence.open_reference else p, 1.0 if evidence.open_treatment else p_against


def inner_margin(comparison: Comparison | Finding) -> float:
    """The margin in the unit of Evidence: a network m % smaller has a size whose log is -ln(1 - m/100) smaller."""
    return -math.log1p(-comparison.margin / 100) if comparison.unit == "%" else comparison.margin


def verdict(p: float, p_against: float, level: float) -> str:
    """The verdict of one comparison from its two adjusted p values and the one-sided `level`."""
    return {
        (True, False): REPRODUCED,
        (True, True): PARTLY,
        (False, True): NOT_REPRODUCED,
        (False, False): INCONCLUSIVE,
    }[p <= level, p_against <= level]


def with_conditions(main: str, conditions: Collection[str]) -> str:
    """The verdict of a treatment: that of the main comparison, but no more than "partly" unless all conditions hold."""
    return PARTLY if main == REPRODUCED and any(condition != REPRODUCED for condition in conditions) else main


def combine(verdicts: Iterable[str]) -> str:
    """The verdict of several that a claim makes at once: of treatments in a panel, or of panels.

    All alike give that one. Otherwise "partly" if any is reproduced or partly so; else "not reproduced" if any is, as
    a claim that fails somewhere does not hold everywhere; else "inconclusive". None give "not attempted".
    """
    found = set(verdicts) or {NOT_ATTEMPTED}
    if len(found) == 1:
        return found.pop()
    if found & {REPRODUCED, PARTLY}:
        return PARTLY
    return NOT_REPRODUCED if NOT_REPRODUCED in found else INCONCLUSIVE


def reason(comparison: Comparison, evidence: Evidence, level: float, raw: Sequence[float], said: str) -> str:
    """Why the comparison, whose p values were `raw` before adjustment, has the verdict `said`: one line."""
    words, seeds = REASONS[comparison.direction == "similar"][said], len(evidence.differences)
    notes = [words.format(direction=comparison.direction, margin=rules.amount(comparison.margin, comparison.unit))]
    if said == INCONCLUSIVE and min(raw) <= level:
        notes = ["it would be decided if this were the only test, but not after Holm's correction"]
    for who in ("reference", "treatment"):
        if count := getattr(evidence, f"open_{who}"):
            notes.append(f"at the largest ratio the {who} still keeps its accuracy (seeds: {count} of {seeds})")
        if count := getattr(evidence, f"lost_{who}"):
            notes.append(f"no network of the {who} is accurate enough (seeds: {count} of {seeds})")
    if seeds < evidence.seeds:
        notes.append(f"at {seeds} of {evidence.seeds} seeds all was measured")
    if seeds < statistics.FEW:
        notes.append("one seed shows no spread" if seeds == 1 else f"n = {seeds} is small")
    return "; ".join(notes)


def summary(verdicts: Collection[str]) -> str:
    """How often each verdict occurs: "2 of 3 reproduced, 1 of 3 inconclusive"."""
    counts = Counter(verdicts)
    return ", ".join(f"{counts[each]} of {len(verdicts)} {each}" for each in VERDICTS if counts[each])
