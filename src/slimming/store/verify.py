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
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from slimming import ledger, records, tensorfile
from slimming import study as studies
from slimming.errors import InputError, SlimmingError
from slimming.store import provenance
from slimming.store.trace import network_of

CODE = ("Snakefile", "workflow", "profiles", "config", "src", "paper")
ALLOWED = 1 / 500  # of the test images may be judged otherwise on another kind of machine, one at least
KIND = ("machine.processor", "machine.system", "versions.torch")  # of provenance.csv: what makes machines alike


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
    jobs = provenance.read(folder / "jobs.json")
    yield from _reports(config, jobs)
    yield from _ledger(study.name, folder, measured)
    yield from _networks(folder, measured, provenance.products(jobs))


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
        for name in [*CODE, *sorted((ledgers | inputs) - made)]:
            _copy(name, Path(place), leave=made)
        _snakemake(config, targets, place)
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


def _copy(name: str, place: Path, leave: Iterable[str]) -> None:
    source, target = Path(name), place / name
    left = {os.path.abspath(path) for path in leave}

    def ignore(folder: str, names: list[str]) -> set[str]:
        return {item for item in names if item == "__pycache__" or os.path.abspath(Path(folder, item)) in left}

    if source.is_dir():
        shutil.copytree(source, target, ignore=ignore, dirs_exist_ok=True)
    elif source.is_file() and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def _snakemake(config: str | os.PathLike, targets: list[str], place: str) -> None:
    """Make `targets` in the folder `place`."""
    command = [sys.executable, "-m", "snakemake", *targets, "--cores", "all", "--configfile", os.path.abspath(config)]
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    environment = {**os.environ, "PYTHONPATH": str(Path(place, "src")), "PATH": path} | _history(place)
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
    if done.returncode:
        reason = " ".join(done.stderr.split())[-500:]
        raise SlimmingError(f"{config}: what the ledger gives cannot be made again: {reason}")


def _history(place: str) -> dict[str, str]:
    """Lets git speak of this repository's history in the folder `place`, for what the paper says of commits."""
    asked = ["git", "rev-parse", "--absolute-git-dir"]
    done = subprocess.run(asked, capture_output=True, text=True)
    if done.returncode:
        return {}
    return {"GIT_DIR": done.stdout.strip(), "GIT_WORK_TREE": place, "GIT_OPTIONAL_LOCKS": "0"}


def _ledger(study: str, folder: Path, measured: pd.DataFrame) -> Iterator[Finding]:
    """The ledger's files, compared to the byte with those that the records give."""
    missing = sum(not os.path.isfile(path) for path in measured["record"])
    names = sorted(f"{name}.csv" for name in ledger.TABLES)
    if missing:
        yield from (Finding(str(folder / name), absent=f"{missing} records are not stored here") for name in names)
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
    alike = _alike(folder)
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
        # Training and fine-tuning read the data, and so does pruning, which measures.
        if data is None or not os.path.isfile(data):
            yield Finding(str(network), absent="its prepared data are not stored here")
            continue
        yield Finding(str(network), _remeasured(network, data, row, alike and row["device"] == "cpu", opened))


def _remeasured(network: Path, prepared: str, row: Mapping, exact: bool, opened: dict) -> str | None:
    """How a network's figures differ from its row of the ledger; None if they do not."""
    import torch

    from slimming import checkpoints, data, measure

    if prepared not in opened:
        opened[prepared] = data.load(prepared)
    dataset = opened[prepared]
    torch.set_num_threads(row["threads"])
    net, _ = checkpoints.load(network)
    accuracy = measure.evaluate(net, dataset)["accuracy"]
    now = measure.cost(net, tuple(dataset.test_images.shape[1:]))
    faults = [
        f"{name} {now[name]}, not {row[name]}" for name in ("parameters", "macs", "channels") if now[name] != row[name]
    ]
    images = len(dataset.test_labels)
    turned = 0 if exact else math.ceil(ALLOWED * images)
    if abs(round((accuracy - row["accuracy"]) * images)) > turned:
        faults.append(f"accuracy {accuracy}, not {row['accuracy']} (allowed: {turned} of {images} images)")
    return "; ".join(faults) or None


def _alike(folder: Path) -> bool:
    """Whether all measurements of the ledger come from machines like this one."""
    items = ledger.read(folder / "provenance.csv", "provenance").groupby("item")["value"].agg(set)
    made = records.provenance("cpu", 1)
    here = {
        "machine.processor": made["machine"]["processor"],
        "machine.system": made["machine"]["system"],
        "versions.torch": made["versions"]["torch"],
    }
    return all(items.get(name) == {here[name]} for name in KIND)


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
        raise InputError("nothing is stored here; `dvc pull` or run the study first")
