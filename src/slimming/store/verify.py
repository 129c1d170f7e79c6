"""Whether stored results are what they claim: everything after the ledger made again, every network measured again.

Tables, figures, numbers and the paper are rebuilt by the workflow itself in a temporary folder that holds the ledger
and the code, and compared to the byte. The ledger is collected again where all records lie here. Networks are
measured again: parameters, MACs and SHA-256 must agree to the unit; so must accuracy on the kind of machine that
measured it first, while elsewhere rounding may turn a few images (ALLOWED).
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from slimming import ledger, tensorfile
from slimming import study as studies
from slimming.errors import InputError, SlimmingError
from slimming.naming import counted
from slimming.store import elsewhere, machines, provenance, remote
from slimming.store.trace import network_of

ALLOWED = 1 / 500  # of the test images may be judged otherwise on another kind of machine, one at least


class Finding(NamedTuple):
    """A thing that was compared (`fault` is None or says how it differs), or could not be (`absent` says why)."""

    subject: str
    fault: str | None = None
    absent: str | None = None


def verify(config: str | os.PathLike) -> Iterator[Finding]:
    """Compare everything that is stored of the study in the file `config`; call it in the project's folder.

    Raises InputError for a study without a stored ledger or provenance, SlimmingError where it cannot be made again.
    """
    study = studies.load(config)
    folder = Path("results", study.name)
    measured = ledger.read(folder / "ledger.csv")
    known = provenance.read(folder / "jobs.json")
    yield from _reports(config, known.jobs)
    yield from _ledger(study.name, folder, measured)
    yield from _networks(folder, measured, known.products())


def _reports(config: str | os.PathLike, jobs: Iterable[provenance.Job]) -> Iterator[Finding]:
    """What is made of the ledger, compared to the byte with the same made again elsewhere."""
    ledgers = {name for job in jobs if job.record["rule"] == "ledger" for name in job.products}
    made, inputs = _following(ledgers, jobs)
    made = {name for name in made if not name.endswith(".html")}  # the page shows records and git's history, too
    typeset = shutil.which("latexmk")
    targets = []
    for name in sorted(made):
        if not os.path.isfile(name):
            yield Finding(name, absent="not stored here")
        elif name.endswith("paper.pdf") and not typeset:
            yield Finding(name, absent="latexmk is not installed")
        else:
            targets.append(name)
    with tempfile.TemporaryDirectory(prefix="slimming-verify-") as place:
        for name in [*elsewhere.PROJECT, *sorted((ledgers | inputs) - made)]:
            elsewhere.copy(name, Path(place), leave=made)
        elsewhere.snakemake(config, targets, place)
        for name in targets:
            same = Path(place, name).read_bytes() == Path(name).read_bytes()
            yield Finding(name, None if same else "differs from what the stored ledger gives")


def _following(products: Iterable[str], jobs: Iterable[provenance.Job]) -> tuple[set[str], set[str]]:
    """What jobs made of `products`, directly or not, and all inputs of these jobs."""
    made, inputs, size = set(products), set(), -1
    while size != len(made):
        size = len(made)
        for job in jobs:
            if made.intersection(job.record["input"]):
                made |= job.products.keys()
                inputs |= set(job.record["input"])
    return made - set(products), inputs


def _ledger(study: str, folder: Path, measured: pd.DataFrame) -> Iterator[Finding]:
    """The ledger's files, compared to the byte with those that the records give."""
    missing = sum(not os.path.isfile(path) for path in measured["record"])
    names = sorted(f"{name}.csv" for name in ledger.TABLES)
    if missing:
        yield from (
            Finding(str(folder / name), absent=f"not stored here: {counted(missing, 'record')}") for name in names
        )
        return
    with tempfile.TemporaryDirectory(prefix="slimming-verify-") as place:
        ledger.write(study, measured["record"], place)
        for name in names:
            same = Path(place, name).read_bytes() == Path(folder, name).read_bytes()
            yield Finding(str(folder / name), None if same else "differs from what the records give")


def _networks(
    folder: Path, measured: pd.DataFrame, products: Mapping[str, tuple[provenance.Product, dict]]
) -> Iterator[Finding]:
    """Every network of the ledger: its bytes, and what it measures now."""
    alike = machines.alike(folder)
    opened: dict[str, object] = {}
    for row in measured.to_dict("records"):
        network = network_of(Path(row["record"]))
        if not network.is_file():
            yield Finding(str(network), absent="not stored here")
            continue
        if tensorfile.sha256(network) != row["checkpoint_sha256"]:
            yield Finding(str(network), "not the bytes that the ledger's sha256 stands for")
            continue
        _, record = products.get(str(network), (None, {"input": []}))
        data = next((name for name in record["input"] if name.startswith("data/prepared/")), None)
        if data is None or not os.path.isfile(data):
            yield Finding(str(network), absent="its prepared data are not stored here")
            continue
        yield Finding(str(network), _remeasured(network, data, row, alike and row["device"] == "cpu", opened))


def _remeasured(network: Path, prepared: str, row: Mapping, exact: bool, opened: dict) -> str | None:
    """How a network's figures differ from its row of the ledger; None if they do not."""
    import torch

    from slimming import checkpoints, data
    from slimming.measuring import accuracy, cost

    if prepared not in opened:
        opened[prepared] = data.load(prepared)
    dataset = opened[prepared]
    torch.set_num_threads(row["threads"])
    net, _ = checkpoints.load(network)
    right = accuracy.evaluate(net, dataset)["accuracy"]
    now = cost.count(net, tuple(dataset.test_images.shape[1:]))
    faults = [
        f"{name} {now[name]}, not {row[name]}" for name in ("parameters", "macs", "channels") if now[name] != row[name]
    ]
    images = len(dataset.test_labels)
    turned = 0 if exact else math.ceil(ALLOWED * images)
    if abs(round((right - row["accuracy"]) * images)) > turned:
        faults.append(f"accuracy {right}, not {row['accuracy']} (allowed: {turned} of {images} images)")
    return "; ".join(faults) or None


def report(findings: Iterable[Finding]) -> Iterator[str]:
    """Lines for a reader: every difference, what could not be compared by reason, and the count at the end.

    Raises SlimmingError after the last line if anything differs, InputError if nothing could be compared.
    """
    compared, differing, absent = 0, 0, {}
    for finding in findings:
        if finding.absent:
            absent[finding.absent] = absent.get(finding.absent, 0) + 1
            continue
        compared += 1
        if finding.fault:
            differing += 1
            yield f"{finding.subject}: {finding.fault}"
    for reason, count in absent.items():
        yield f"not compared: {count} ({reason})"
    yield f"compared {compared}, of which {differing} differ"
    if differing:
        raise SlimmingError(f"{differing} of {compared} stored results are not what they claim to be")
    if not compared:
        raise InputError(f"nothing is stored here: {remote.advice()}")
