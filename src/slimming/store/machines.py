"""What makes two machines alike: on such a one, with as many threads, the same code gives the same bits."""

from __future__ import annotations

from pathlib import Path

from slimming import ledger
from slimming.origin import origin

KIND = ("machine.processor", "machine.instructions", "machine.system", "versions.torch")  # items of provenance.csv


def here() -> dict[str, str]:
    """This machine's kind."""
    made = origin("cpu", 1)
    return {item: made[outer][inner] for item in KIND for outer, _, inner in [item.partition(".")]}


def alike(folder: Path) -> bool:
    """Whether all measurements of the ledger in `folder` come from machines like this one.

    A ledger that does not say all of a machine's kind comes from another: processors of one name give other bits.
    """
    items = ledger.read(folder / "provenance.csv", "provenance").groupby("item")["value"].agg(set)
    return all(
        items.get(item) == {value} and items.get(f"measured.{item}", {value}) == {value}
        for item, value in here().items()
    )
