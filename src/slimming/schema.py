"""The tables of a ledger as data: columns with types and ranges, and where in a record the rows come from.

Not for reading or writing: that is ledger's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pandera.pandas import Check, Column

from slimming.stages import table

RUN = ["dataset", "network", "method", "seed"]
KEY = [*RUN, "ratio", "stage"]

# Where a record holds what a column of ledger.csv says. Latency is that of one image.
SOURCES = {
    "dataset": "run.dataset",
    "network": "run.network",
    "method": "run.method_slug",
    "seed": "run.seed",
    "ratio": "ratio",
    "stage": "stage",
    "accuracy": "measured.accuracy",
    "accuracy_top5": "measured.accuracy_top5",
    "accuracy_best": "measured.accuracy_best",
    "loss": "measured.loss",
    "parameters": "measured.parameters",
    "nonzero": "measured.nonzero",
    "macs": "measured.macs",
    "macs_nonzero": "measured.macs_nonzero",
    "compression_ratio": "measured.compression_ratio",
    "speedup": "measured.speedup",
    "bytes": "measured.bytes",
    "channels": "measured.channels",
    "ratio_of": "compression.ratio_of",
    "ratio_reached": "measured.ratio_reached",
    "compression_seconds": "compression.seconds",
    "compression_passes": "compression.passes",
    "latency_ms": "measured.latency_ms.1.median",
    "epochs": "training.epochs",
    "seconds": "training.seconds",
    "device": "provenance.device",
    "threads": "provenance.threads",
    "checkpoint_sha256": "checkpoint.sha256",
    "record": "path",
}
IDENTITY = ("study", "dataset", "network", "method_slug", "seed")  # of a run; the rest are its settings
UNSHARED = ("command", "started")  # of provenance: each record has its own, and keeps it


class Table(NamedTuple):
    """A CSV file: the columns that make its rows unique, the other columns, and the rows that a record gives.

    A row may leave out the columns of KEY; they are filled in from the record.
    """

    key: list[str]
    values: dict[str, Column]
    rows: Callable[[Mapping], Iterable[Mapping]]

    @property
    def columns(self) -> dict[str, Column]:
        """All columns in the order of the file."""
        return {name: (KEY_COLUMNS | self.values)[name] for name in dict.fromkeys([*self.key, *self.values])}


def at(record: Mapping, path: str) -> Any:
    """The value at "outer.inner" in a record, None where there is none."""
    value: Any = record
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _text(*checks: Check, nullable: bool = False) -> Column:
    return Column("string" if nullable else str, list(checks), coerce=True, nullable=nullable)


def _number(low: float, high: float = sys.float_info.max, nullable: bool = False) -> Column:
    return Column(float, Check.in_range(low, high), coerce=True, nullable=nullable)


def _count(low: int = 0, nullable: bool = False) -> Column:
    return Column("Int64" if nullable else "int64", Check.ge(low), coerce=True, nullable=nullable)


def _any_number(nullable: bool = False) -> Column:
    return _number(-sys.float_info.max, nullable=nullable)


KEY_COLUMNS = {
    "dataset": _text(),
    "network": _text(),
    "method": _text(),
    "seed": _count(),
    "ratio": _number(0, 1),
    "stage": _text(Check.isin(table.STAGES)),
}


def _measurement(record: Mapping) -> Iterator[dict]:
    yield {column: at(record, path) for column, path in SOURCES.items()}


def _curves(record: Mapping) -> Iterator[dict]:
    history = record["history"]
    for epoch, values in enumerate(zip(*history.values(), strict=True), 1):
        yield {"epoch": epoch} | dict(zip(history, values, strict=True))


def _factors(record: Mapping) -> Iterator[dict]:
    if record["stage"] == "trained":
        edges, counts = record["factors"]["log10_edges"], record["factors"]["counts"]
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
            yield {"log10_low": low, "log10_high": high, "count": count}


def _layers(record: Mapping) -> Iterator[dict]:
    # Before pruning every channel is there, and no later stage changes the shape.
    if record["stage"] == "pruned":
        for position, layer in enumerate(record["layers"], 1):
            yield {"position": position} | layer | record["measured"].get("readers", {}).get(layer["site"], {})


def _classes(record: Mapping) -> Iterator[dict]:
    for label, accuracy in enumerate(record["measured"]["accuracy_per_class"]):
        yield {"class": label, "accuracy": accuracy}


def _latency(record: Mapping) -> Iterator[dict]:
    for batch, times in record["measured"]["latency_ms"].items():
        yield {"batch": int(batch)} | times


def _settings(record: Mapping) -> Iterator[dict]:
    for setting, value in _flat(record["run"]):
        if setting not in IDENTITY:
            yield {"setting": setting, "value": value}


def _provenance(record: Mapping) -> Iterator[dict]:
    yield {"item": "study", "value": record["study"]}
    made, measured = (dict(_flat(part.get("provenance", {}))) for part in (record, record["measured"]))
    named = made | {f"measured.{item}": value for item, value in measured.items() if made.get(item) != value}
    for item, value in named.items():
        if item.removeprefix("measured.") not in UNSHARED:
            yield {"item": item, "value": value}
    for warning in record["warnings"]:
        yield {"item": "warning", "value": warning}


def _missing(record: Mapping) -> Iterator[dict]:
    if "missing" in record:
        yield {"reason": record["missing"]}


def _flat(mapping: Mapping, prefix: str = "") -> Iterator[tuple[str, str]]:
    """("outer.inner", text) of every value that says something."""
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif value not in (None, ""):
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)


TABLES = {
    "ledger": Table(
        KEY,
        {
            "accuracy": _number(0, 1),
            "accuracy_top5": _number(0, 1, nullable=True),
            "accuracy_best": _number(0, 1, nullable=True),
            "loss": _number(0, nullable=True),
            "parameters": _count(1),
            "nonzero": _count(),
            "macs": _count(1),
            "macs_nonzero": _count(nullable=True),
            "compression_ratio": _number(0, nullable=True),
            "speedup": _number(0, nullable=True),
            "bytes": _count(1),
            "channels": _count(1),
            "ratio_of": _text(nullable=True),
            "ratio_reached": _number(0, 1),
            "compression_seconds": _number(0, nullable=True),
            "compression_passes": _number(0, nullable=True),
            "latency_ms": _number(0, nullable=True),
            "epochs": _count(1, nullable=True),
            "seconds": _number(0, nullable=True),
            "device": _text(),
            "threads": _count(1),
            "checkpoint_sha256": _text(Check.str_matches(r"^[0-9a-f]{64}$")),
            "record": _text(),
        },
        _measurement,
    ),
    "curves": Table(
        [*KEY, "epoch"],
        {
            "epoch": _count(1),
            "lr": _number(0),
            "loss": _any_number(),
            "accuracy": _number(0, 1),
            "test_loss": _any_number(nullable=True),
            "test_accuracy": _number(0, 1, nullable=True),
        },
        _curves,
    ),
    "factors": Table(
        [*KEY, "log10_low"],
        {"log10_low": _any_number(), "log10_high": _any_number(), "count": _count()},
        _factors,
    ),
    "layers": Table(
        [*KEY, "position"],
        {
            "position": _count(1),
            "site": _text(),
            "channels": _count(1),
            "kept": _count(),
            "floored": Column(bool, coerce=True),
            "form": _text(nullable=True),
            "rank": _text(nullable=True),
            "kernels": _count(nullable=True),
            "kernels_nonzero": _count(nullable=True),
        },
        _layers,
    ),
    "classes": Table(
        [*KEY, "class"],
        {"class": _count(), "accuracy": _number(0, 1, nullable=True)},
        _classes,
    ),
    "latency": Table(
        [*KEY, "batch"],
        {"batch": _count(1), **dict.fromkeys(("median", "q25", "q75"), _number(0)), "repeats": _count(1)},
        _latency,
    ),
    "settings": Table(
        ["dataset", "network", "method", "setting"],
        {"setting": _text(), "value": _text()},
        _settings,
    ),
    "provenance": Table(
        ["item", "value"],
        {"item": _text(), "value": _text(), "records": _count(1)},
        _provenance,
    ),
}
# Beside them where a study allows networks to be missing: what was not made, and why.
MISSING = "missing"
COMPANIONS = TABLES | {MISSING: Table(KEY, {"reason": _text()}, _missing)}
