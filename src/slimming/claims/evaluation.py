"""What a ledger says of the claims, as one table, from what was compared to the overall verdict.

What is claimed, and what counts, stands in a file (rules); differences come from evidence, verdicts from judgement.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pandera.errors import SchemaError, SchemaErrors
from pandera.pandas import Check, Column, DataFrameSchema

from slimming import analysed, ledger, tensorfile
from slimming.claims import evidence, judgement, rules, statistics
from slimming.claims.rules import Claim, Comparison, Finding, Rules
from slimming.errors import InputError
from slimming.stages.table import STAGES


def _text(*values: str) -> Column:
    return Column(str, Check.isin(values) if values else None, coerce=True)


def _number(*checks: Check) -> Column:
    return Column(float, list(checks), nullable=True, coerce=True)


# claims.csv. Its rows are, by level: a "ratio", whose difference is shown but not tested; a "comparison"; a "panel",
# the verdict on a data set and network; and the "overall" verdict on the claim. What does not apply is empty.
SCHEMA = DataFrameSchema(
    {
        "claim": _text(),
        "level": _text("ratio", "comparison", "panel", "overall"),
        "dataset": _text(),
        "network": _text(),
        "treatment": _text(),
        "reference": _text(),
        "comparison": _text(),
        "metric": _text(),  # accuracy, a size, or a measure of analyses
        "stage": _text("", *STAGES),
        "ratio": _number(Check.in_range(0, 1)),
        "seeds": Column("Int64", Check.ge(1), nullable=True, coerce=True),
        # Mean over seeds, with its interval, in `unit`: of treatment minus reference, or, without a reference, of the
        # measure minus what it is compared with.
        "estimate": _number(),
        "low": _number(),
        "high": _number(),
        "unit": _text("", "points", "%"),
        "margin": _number(Check.gt(0)),
        "p": _number(Check.in_range(0, 1)),  # for the claim and against it, adjusted
        "p_against": _number(Check.in_range(0, 1)),
        "verdict": _text("", *judgement.VERDICTS),
        "reason": _text(),
    },
    unique=["claim", "level", "dataset", "network", "treatment", "reference", "comparison", "ratio"],
    strict=True,
    ordered=True,
)
DIGITS = 12  # significant, of numbers in claims.csv
TEXT = [name for name, column in SCHEMA.columns.items() if str(column.dtype).startswith("string")]


class Case(NamedTuple):
    """A comparison of two methods on a data set and network, or a finding on one; without evidence, `lacking` says why.

    methods: of a finding, its method and "".
    """

    claim: Claim
    comparison: Comparison | Finding
    panel: tuple[str, str]
    methods: tuple[str, str]
    found: evidence.Evidence | None
    lacking: str

    @property
    def subject(self) -> str:
        return " against ".join(filter(None, self.methods))

    def row(self, level: str, comparison: str, **values: Any) -> dict[str, Any]:
        return {
            **{"claim": self.claim.id, "level": level, "comparison": comparison},
            **dict(zip(evidence.PANEL, self.panel, strict=True)),
            **dict(zip(("treatment", "reference"), self.methods, strict=True)),
            **{name: getattr(self.comparison, name) for name in ("metric", "stage", "unit")},
            **values,
        }


def evaluate(ledger_dir: str | os.PathLike, claims_files: rules.Files) -> pd.DataFrame:
    """What the ledger in `ledger_dir` says of the claims in `claims_files`: the rows of claims.csv (SCHEMA).

    Rows are in the order of the files, within a claim by data set, network, methods, comparison and ratio, then the
    verdict on each data set and network, then the overall one. A claim without evidence has rows that say why. The two
    p values of a comparison are adjusted over all comparisons of all claims on its data set and network. InputError
    for a faulty claims file or ledger, one with a missing row included that missing.csv does not list.
    """
    asked, frame, forgone = rules.load(claims_files), evidence.read(ledger_dir), ledger.missing(ledger_dir)
    panels, measures = dict(iter(frame.groupby(evidence.PANEL))), analysed.read_measures(ledger_dir)
    cases = [case for claim in asked.claims for case in _cases(claim, panels, measures, asked.dense)]
    raw = np.array([_p_values(case) for case in cases]).reshape(-1, 2)
    adjusted = np.full_like(raw, np.nan)
    for panel in panels:
        members = [case.panel == panel for case in cases]
        adjusted[members] = np.apply_along_axis(statistics.holm, 0, raw[members])
    rows: list[dict] = []
    for claim in asked.claims:
        judged = []
        for case, *p in zip(cases, raw, adjusted, strict=True):
            if case.claim is claim:
                judged.append((case, _judged(case, *p, asked, forgone)))
                rows += [*_at_ratios(case, asked.confidence), judged[-1][1]]
        summaries = [_panel(part) for part in _grouped(judged, "panel")]
        rows += [*summaries, _overall(claim, summaries)]
    return _validated(_rounded(pd.DataFrame(rows, columns=list(SCHEMA.columns))))


def write(ledger_dir: str | os.PathLike, claims_files: rules.Files, output: str | os.PathLike) -> None:
    """Write what `evaluate` gives as the CSV file `output`, whole or not at all; read as the same numbers again."""
    tensorfile.write_text(output, evaluate(ledger_dir, claims_files).to_csv(index=False, lineterminator="\n"))


def read(path: str | os.PathLike) -> pd.DataFrame:
    """The table that `write` wrote, as `evaluate` gave it. InputError if it is none."""
    try:
        # Only an empty field is a missing value: a method is called "none".
        return _validated(pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""]))
    except (OSError, ValueError, SchemaError, SchemaErrors) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a table of claims ({reason}); make it again") from error


def _rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """Numbers to DIGITS: those that follow differ between processors."""
    numbers = frame.select_dtypes("float").columns
    return frame.assign(**{name: [float(f"{value:.{DIGITS}g}") for value in frame[name]] for name in numbers})


def _validated(frame: pd.DataFrame) -> pd.DataFrame:
    return SCHEMA.validate(frame.fillna(dict.fromkeys(TEXT, "")))


def _cases(
    claim: Claim, panels: Mapping[tuple[str, str], pd.DataFrame], measures: pd.DataFrame, dense: str
) -> Iterator[Case]:
    """Every comparison of a claim: by data set and network, by methods, first what decides, then the conditions."""
    for panel, frame in panels.items():
        dataset, network = panel
        if not (_matching([dataset], claim.datasets) and _matching([network], claim.networks)):
            continue
        known = sorted(frame["method"].unique())
        # A pattern that no method matches stands for itself, so that it is reported as lacking.
        treatments = [name for pattern in claim.treatments for name in _matching(known, [pattern]) or [pattern]]
        references = (_matching(known, [claim.reference]) or [claim.reference]) if claim.reference else [""]
        mine = measures[(measures["dataset"] == dataset) & (measures["network"] == network)]
        for methods in itertools.product(dict.fromkeys(treatments), references):
            if claim.find:
                found = evidence.found(mine, claim.find, methods[0], claim.ratios)
                said = (None, found) if isinstance(found, str) else (found, "")
                yield Case(claim, claim.find, panel, methods, *said)
            for comparison in (claim.compare, *claim.provided) if claim.compare else ():
                lacking = evidence.lacking(frame, comparison, methods, claim.ratios, dense)
                found = None if lacking else evidence.gather(frame, comparison, *methods, claim.ratios, dense)
                yield Case(claim, comparison, panel, methods, found, lacking)


def _matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _p_values(case: Case) -> tuple[float, float]:
    return judgement.p_values(case.comparison, case.found) if case.found else (np.nan, np.nan)


def _at_ratios(case: Case, confidence: float) -> Iterator[dict[str, Any]]:
    for ratio, differences in (case.found.by_ratio if case.found else {}).items():
        described = _described(case.comparison, differences, confidence)
        yield case.row("ratio", case.comparison.subject, ratio=ratio, **described)


def _judged(
    case: Case, raw: Sequence[float], adjusted: Sequence[float], asked: Rules, forgone: pd.DataFrame
) -> dict[str, Any]:
    """The row of a comparison from its p values, for and against; it says what of the methods was not made, and why."""
    row = case.row("comparison", case.comparison.words, margin=case.comparison.margin)
    dataset, network = case.panel
    mine = (forgone["dataset"] == dataset) & (forgone["network"] == network) & forgone["method"].isin(case.methods)
    lost = "".join(f"; {line}" for line in ledger.told(forgone[mine]))
    if case.found is None:
        return row | {"verdict": judgement.NOT_ATTEMPTED, "reason": case.lacking + lost}
    verdict = judgement.verdict(*adjusted, asked.level)
    reason = judgement.reason(case.comparison, case.found, asked.level, raw, verdict) + lost
    described = _described(case.comparison, case.found.differences, asked.confidence)
    return {**row, **described, "p": adjusted[0], "p_against": adjusted[1], "verdict": verdict, "reason": reason}


def _described(comparison: Comparison | Finding, differences: np.ndarray, confidence: float) -> dict[str, Any]:
    """Number of seeds, mean and interval, in the comparison's unit."""
    values = np.array([differences.mean(), *statistics.interval(differences, confidence)])
    shown = 100 * np.expm1(values) if comparison.unit == "%" else values
    return {"seeds": len(differences)} | dict(zip(("estimate", "low", "high"), shown.tolist(), strict=True))


def _panel(judged: Sequence[tuple[Case, dict]]) -> dict[str, Any]:
    """The row of a data set and network, from the rows of a claim's comparisons there."""
    verdicts, notes = [], []
    for (case, main), *conditions in _grouped(judged, "methods"):
        verdict = judgement.with_conditions(main["verdict"], [row["verdict"] for _, row in conditions])
        unmet = [f"{row['comparison']}: {row['verdict']}" for _, row in conditions if verdict != main["verdict"]]
        notes.append(case.subject + f": {verdict}" + (f" ({', '.join(unmet)})" if unmet else ""))
        verdicts.append(verdict)
    case = judged[0][0]
    row = {"claim": case.claim.id, "level": "panel", "verdict": judgement.combine(verdicts), "reason": "; ".join(notes)}
    if row["verdict"] == judgement.NOT_ATTEMPTED:
        row["reason"] = "; ".join(dict.fromkeys(case.lacking for case, _ in judged if case.lacking))
    return row | dict(zip(evidence.PANEL, case.panel, strict=True))


def _overall(claim: Claim, panels: Sequence[dict]) -> dict[str, Any]:
    verdicts = [row["verdict"] for row in panels]
    verdict, reason = judgement.combine(verdicts), judgement.summary(verdicts)
    if not panels:
        reason = "the study has none of the data sets and networks that the claim is about"
    elif verdict == judgement.NOT_ATTEMPTED:
        reason = "; ".join(dict.fromkeys(row["reason"] for row in panels))
    return {"claim": claim.id, "level": "overall", "verdict": verdict, "reason": reason}


def _grouped(judged: Sequence[tuple[Case, dict]], attribute: str) -> list[list[tuple[Case, dict]]]:
    """Runs of neighbours whose cases agree in `attribute`."""
    return [list(group) for _, group in itertools.groupby(judged, lambda pair: getattr(pair[0], attribute))]
