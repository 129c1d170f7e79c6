"""LaTeX from the study's names and numbers: escaped text, labels, numbers, names of macros, templates.

Not for what the paper says: its words are in paper.tex and in templates/.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jinja2
import pandas as pd

from slimming.reporting import style

LABELS: dict[str, Callable[[str], str]] = {"dataset": style.name, "network": style.name, "method": style.method}


class Macro(NamedTuple):
    """What LaTeX prints, the same as plain text, and which rows of the ledger it is a statistic of."""

    tex: str
    value: str
    file: str
    column: str
    statistic: str
    rows: dict[str, Any]


def label(column: str, slug: str) -> str:
    return LABELS[column](escape(slug))


def escape(text: str) -> str:
    """`text` for LaTeX, by pandas."""
    cell = pd.DataFrame([[text]]).style.format(escape="latex").hide(axis="index").hide(axis="columns")
    return cell.to_string().rstrip("\n")


def words(text: str) -> str:
    r"""`text` for LaTeX, in which ℓ is a formula, with what stands below it where that follows.

    >>> words("Tℓ1 and ℓp: 95 %")
    'T$\\ell_{1}$ and $\\ell_{p}$: 95 \\%'
    """
    formula = lambda found: rf"$\ell_{{{found[1]}}}$" if found[1] else r"$\ell$"  # noqa: E731
    return re.sub(r"ℓ(\d+(?:/\d+)?|p\b)?", formula, escape(text))


def enumerated(texts: Iterable[str]) -> str:
    *first, last = texts
    return f"{', '.join(first)} and {last}" if first else last


def numbers(values: list) -> str:
    """siunitx' number or list of numbers; "none" if there are none."""
    if not values:
        return "none"
    return rf"\{'numlist' if len(values) > 1 else 'num'}{{{';'.join(map(str, values))}}}"


def template(name: str, **filters: Callable) -> jinja2.Template:
    """A file in templates/, with LABELS and `filters` as filters; its delimiters mean nothing to LaTeX."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("slimming.reporting"),
        undefined=jinja2.StrictUndefined,
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {column: functools.partial(label, column) for column in LABELS}
    environment.filters |= {"percent": lambda ratio: f"{100 * ratio:g}", "words": words} | filters
    return environment.get_template(name)
