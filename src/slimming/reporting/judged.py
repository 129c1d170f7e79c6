r"""Claims, verdicts and published results as the paper shows them: macros for the numbers, LaTeX for the tables.

    \Claim<Claim><Column>                                                 of the overall verdict
    \Claim<Claim><Data set><Network><Treatment>Versus<Reference><Metric><Stage><Column>     of a comparison
    \Claim<Claim><Data set><Network><Method><Measure><Stage><Column>      of a finding
    \Published<Column><Stage><Data set><Network><Method>[At<Ratio>]Source<Number>   as printed, accuracies in per cent

Names are spelled as in macros; columns are those of claims.csv and references.csv. Not for judging: what is printed
here stands in claims.csv. templates/claims.tex has the words.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from slimming import ledger, tensorfile
from slimming.claims import evaluation, judgement, precedence, references, rules, statistics
from slimming.naming import letters
from slimming.reporting import tex
from slimming.reporting.tex import Macro

COMPARED = ["dataset", "network", "treatment", "reference", "metric", "stage"]
COLUMNS = {"seeds": "d", "estimate": "z.2f", "low": "z.2f", "high": "z.2f", "p": ".2g", "p_against": ".2g"}
PUBLISHED = ("accuracy", "parameters")


def numbers(ledger_dir: Path, references_file: str | os.PathLike) -> dict[str, Macro]:
    """{name: macro} of every number in claims.csv's verdicts and comparisons, and of the published results used."""
    table = evaluation.read(ledger_dir / "claims.csv")
    found = dict(_judged(table))
    published = references.compare(ledger_dir, references_file)
    file = Path(os.path.relpath(references_file, ledger_dir)).as_posix()
    return found | dict(_published(published, file))


def write(ledger_dir: Path, output: Path, claims_files: rules.Files, references_file: str | os.PathLike) -> None:
    """Write claims.tex, which defines what the paper prints of claims and published results, as the file `output`.

    It needs the macros of `numbers` and of macros. InputError for a faulty ledger or file, and a missing claims.csv.
    """
    table = evaluation.read(ledger_dir / "claims.csv")
    measured = ledger.read(ledger_dir / "ledger.csv")
    asked = {claim.id: claim for claim in rules.load(claims_files).claims}
    levels = {name: rows.to_dict("records") for name, rows in table.groupby("level")}
    claims = [
        {
            "rules": asked[row["claim"]],
            "overall": row,
            "panels": [panel for panel in levels.get("panel", []) if panel["claim"] == row["claim"]],
            "blocks": _blocks(asked[row["claim"]], levels.get("comparison", [])),
        }
        for row in levels["overall"]
    ]
    text = tex.template("claims.tex", macro=_claim_macro, published=_published_macro, ours=_our_macro).render(
        claims=claims,
        order=precedence.of(claims_files, ledger_dir),
        seeds=int(measured.groupby(["dataset", "network"])["seed"].nunique().min()),
        few=statistics.FEW,
        one_panel=len(measured[["dataset", "network"]].drop_duplicates()) == 1,
        verdicts=judgement.VERDICTS,
        not_attempted=judgement.NOT_ATTEMPTED,
        counts=table[table["level"] == "overall"]["verdict"].value_counts().to_dict(),
        amount=rules.amount,
        pairs=references.compare(ledger_dir, references_file).to_dict("records"),
    )
    tensorfile.write_text(output, text)


def _blocks(claim: rules.Claim, comparisons: list[dict]) -> list[dict]:
    """The comparisons of a claim, each with its rows: what decides first, then the conditions."""
    mine = [row for row in comparisons if row["claim"] == claim.id]
    return [
        {"comparison": comparison, "rows": [row for row in mine if row["comparison"] == comparison.words]}
        for comparison in (claim.decides, *claim.provided)
    ]


def _judged(table: pd.DataFrame) -> Iterator[tuple[str, Macro]]:
    for row in table[table["level"].isin(["overall", "comparison"])].to_dict("records"):
        rows = {key: row[key] for key in ("claim", "level", *COMPARED) if row[key]}
        verdict = Macro(tex.escape(row["verdict"]), row["verdict"], "claims.csv", "verdict", "as it stands", rows)
        yield _claim_macro(row, "verdict"), verdict
        for column, form in COLUMNS.items():
            if row["level"] == "comparison" and pd.notna(row[column]):
                value = format(row[column], form)
                macro = Macro(tex.numbers([value]), value, "claims.csv", column, "as it stands", rows)
                yield _claim_macro(row, column), macro


def _published(pairs: pd.DataFrame, file: str) -> Iterator[tuple[str, Macro]]:
    for row in pairs.to_dict("records"):
        where = {"source": row["source"], "network": row["published_network"]}
        rows = where | {key: row[key] for key in ("dataset", "method", "stage", "ratio")}
        for column in PUBLISHED:
            value = row[f"published_{column}"]
            if pd.notna(value):
                shown = f"{100 * value:.2f}" if column == "accuracy" else f"{value:.0f}"
                statistic = "as it stands, or 100 minus the error" if column == "accuracy" else "as it stands"
                yield _published_macro(row, column), Macro(tex.numbers([shown]), shown, file, column, statistic, rows)


def _claim_macro(row: Mapping, column: str) -> str:
    dataset, network, treatment, reference, metric, stage = (row[key] for key in COMPARED)
    versus = ["versus", reference] if reference else []
    where = [dataset, network, treatment, *versus, metric, stage] if metric else []
    return letters("claim", row["claim"], *where, column)


def _published_macro(row: Mapping, column: str) -> str:
    ratio = [] if row["stage"] == "trained" else ["at", row["ratio"]]
    names = (row[key] for key in ("stage", "dataset", "published_network", "method"))
    return letters("published", column, *names, *ratio, "source", row["number"])


def _our_macro(row: Mapping, measure: str) -> str:
    ratio = [] if row["stage"] == "trained" else ["at", row["ratio"]]
    return letters(measure, *(row[key] for key in ("stage", "dataset", "network", "method")), *ratio)
