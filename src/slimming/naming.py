"""Names and counts in words: what becomes of a study's names in folders and in the paper. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"  # of what becomes a folder
LONGEST = 100  # characters: file systems allow 255 bytes, and files add endings and other names to one
Name = Annotated[str, Field(pattern=NAME, max_length=LONGEST)]

WORDS = ("Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Point", "Plus")
SPELLED = dict(zip("0123456789.+", WORDS, strict=True))


def letters(*names: object) -> str:
    """`names` in letters only, digits and "+" spelled out, "." between digits as Point; words start with a capital.

    >>> letters("accuracy", "lp-0.5")
    'AccuracyLpZeroPointFive'
    """
    words = re.findall(r"[A-Za-z]+|[0-9]|(?<=[0-9])[.](?=[0-9])|[+]", " ".join(map(str, names)))
    return "".join(SPELLED.get(word, word[0].upper() + word[1:]) for word in words)


def named_alike(names: Iterable[tuple[object, ...]]) -> list[tuple[object, ...]]:
    r"""Two of `names` whose macros in the paper, \<letters> and \<letters>Sd, are one; an empty list if none are."""
    seen: dict[str, tuple[object, ...]] = {}
    for parts in names:
        spelled = letters(*parts)
        for macro in (spelled, f"{spelled}Sd"):
            if macro in seen:
                return [seen[macro], parts]
            seen[macro] = parts
    return []


def counted(number: int, noun: str) -> str:
    """A number and a noun, which is singular for one.

    >>> counted(1, "job"), counted(2, "job")
    ('1 job', '2 jobs')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"
