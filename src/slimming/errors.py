"""The errors a user can cause or repair; the command line prints their one line and exits with their status."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SlimmingError(Exception):
    """A failure with a one-line message that says what is wrong, where, and what to do."""

    status = 1


class InputError(SlimmingError):
    """The request, a configuration, an input file or the place for the output is wrong (exit status 2)."""

    status = 2


def unknown(kind: str, name: object, known: Iterable[str]) -> InputError:
    """The error for a name that is not in `known`, with the nearest known one.

    >>> str(unknown("penalty", "l11", ["l1", "lp"]))
    "unknown penalty 'l11': did you mean 'l1'? Known: l1, lp"
    """
    names = sorted(map(str, known))
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.4)
    hint = f" did you mean {near[0]!r}?" if near else ""
    return InputError(f"unknown {kind} {name!r}:{hint} Known: {', '.join(names)}")
