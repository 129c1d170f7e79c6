"""Precedence: whether the rules were fixed before the numbers that they decide on. Git knows; this asks.

A ledger's records name the commit whose code measured them. Where the rules' last change is part of that history, they
came first. Where that commit is not in the repository, the one that brought the ledger in stands for it. Not for
trust: who rewrites history can make it say anything.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from slimming import ledger
from slimming.claims import rules

RULES, NUMBERS, UNKNOWN = "rules first", "numbers first", "unknown"
WORDS = {
    RULES: "The rules were fixed before these measurements were made.",
    NUMBERS: (
        "The rules were fixed only after these measurements had been made: the verdicts are honest about the numbers, "
        "but the rules were not blind to them."
    ),
    UNKNOWN: "Which came first, the rules or these measurements, is not known from the history at hand.",
}
NOT_COMMITTED = "not committed"
CUT_SHORT = "not known, because the history here is cut short (git fetch --unshallow)"


class Precedence(NamedTuple):
    """What came first, and the commits it follows from as "hash, date": of the rules, and of the code that `measured`.

    The commit that holds the ledger is not shown: a page made before it could not be made again byte for byte after.
    """

    first: str
    rules: str
    measured: str

    @property
    def words(self) -> str:
        return WORDS[self.first]


def of(claims_files: rules.Files, ledger_dir: str | os.PathLike) -> Precedence:
    """What git says of the rules in `claims_files` and the ledger in `ledger_dir`; it may know nothing."""
    ledger_dir, given = Path(ledger_dir), rules.files(claims_files)
    provenance = ledger.read(ledger_dir / "provenance.csv", "provenance")
    measured = [value.removesuffix("+") for value in provenance.query("item == 'commit'")["value"]]
    fixed, held = [*map(_last_change, given)], _last_change(ledger_dir / "ledger.csv")
    repository = given[0].parent
    shallow = _git(repository, "rev-parse", "--is-shallow-repository") == "true"
    known = all(fixed) and not shallow
    answers = {_first(repository, commit, measured, held) for commit in fixed} if known else {UNKNOWN}
    first = next(answer for answer in (UNKNOWN, NUMBERS, RULES) if answer in answers)
    # Where history is cut short, git takes the oldest commit at hand for the one that changed a file last.
    changed = CUT_SHORT if shallow and all(fixed) else _shown(repository, dict.fromkeys(fixed))
    return Precedence(first, changed, _shown(repository, measured))


def _first(repository: Path, rules: str, measured: list[str], held: str) -> str:
    answers = [_descends(repository, commit, rules) for commit in measured] or [None]
    if None in answers:  # measured by a commit that is not here
        answers = [held != rules and _descends(repository, held, rules)] if held else [None]
    return UNKNOWN if None in answers else RULES if all(answers) else NUMBERS


def _descends(repository: Path, commit: str, ancestor: str) -> bool | None:
    """Whether `ancestor` is part of the history of `commit`; None where one of them is not known."""
    asked = ["git", "-C", str(repository), "merge-base", "--is-ancestor", ancestor, commit]
    status = subprocess.run(asked, capture_output=True).returncode
    return {0: True, 1: False}.get(status)


def _last_change(path: Path) -> str:
    """The commit that last changed what is in the file, under whatever name; "" if it differs, or is in none."""
    if _git(path.parent, "status", "--porcelain", "--", path.name):
        return ""
    same = ["--follow", "--find-renames=100%", "--diff-filter=AM"]
    return _git(path.parent, "log", "-1", "--format=%H", *same, "--", path.name)


def _shown(repository: Path, commits: Iterable[str]) -> str:
    dated = [
        ", ".join(filter(None, (commit[:12], _git(repository, "log", "-1", "--format=%cs", commit))))
        for commit in commits
        if commit
    ]
    return "; ".join(dated) or NOT_COMMITTED


def _git(folder: Path, *arguments: str) -> str:
    """What git prints; "" where it fails or is not there."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
