"""Whether today's code makes the numbers that are stored: a random sample of a study's jobs, computed again.

It needs nothing but git's text and the data. The workflow itself runs the jobs in a temporary folder, with the whole
chain from the training on where a parent's checkpoint is not stored here. So a stranger spot-checks a published study;
and code that was changed in order to change no number is found to change none, or not.

    on a machine of the same kind   checkpoints are compared with the SHA-256 in jobs.json, every figure but times with
                                    the ledger and the tables beside it, to the bit
    on another kind of machine      accuracies are compared with the ledger's, within what chance does to seeds; where
                                    code has changed, both versions of it run here, and are compared to the bit

Not for stored networks, which `verify` measures again; and not for reports, which are made again in seconds.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from slimming import code, ledger, tensorfile
from slimming import study as studies
from slimming.errors import InputError, SlimmingError
from slimming.naming import counted
from slimming.origin import commit
from slimming.schema import KEY, TABLES
from slimming.store import again, machines, provenance, sample
from slimming.store.sample import Job

COMPARED = ("ledger", "curves", "factors", "layers", "classes")
TIMES = {"seconds", "compression_seconds", "latency_ms", "device", "record"}  # columns that no code decides
ALPHA = 1e-3  # how often chance alone may make one figure of all that a check compares differ
LEAST = 1 / 200  # what an accuracy may differ at least, where seeds do not
WITHIN = f"within what seeds differ by chance (alpha {ALPHA:g} over all figures)"

Tables = dict[str, pd.DataFrame]


def reaffirm(
    config: str | os.PathLike, count: int = 1, seed: int = 0, changed: bool = False, epochs: int | None = None
) -> Iterator[str]:
    """Compute a sample of the stored jobs of the study in the file `config` again; yield what is found, line by line.

    count: jobs drawn for every stage, data set, network and method. changed: only of those whose code has changed.
    epochs: only the first epochs of trainings are repeated, and their histories compared. On another kind of machine,
    where code has changed, both versions then run the whole chain with a schedule of so many epochs.

    Where all is equal and code has changed, jobs.json takes today's digests, and says who reaffirmed what. Raises
    SlimmingError after the last line if anything differs, InputError where there is nothing to compare.
    """
    folder = Path("results", studies.load(config).name)
    known = provenance.read(folder / "jobs.json")
    jobs, others = sample.stored(config, known)
    if others:
        yield f"not stored with today's settings and inputs: {counted(others, 'job')}, which running the study makes"
    touched = [job for job in jobs if job.changed]
    measured = {job.run for job in touched if job.measures}  # otherwise than when they were
    alike = machines.alike(folder)
    drawn = sample.draw([job for job in jobs if job.changed or job.run in measured or not changed], count, seed)
    if epochs and not (touched and not alike):
        drawn = [job for job in drawn if job.trains]  # the others need whole trainings
    if not drawn:
        raise InputError(f"{config}: no stored job{' whose code has changed' if changed else ''} to compute again")
    if touched:
        _refuse_uncommitted()
    yield f"{len(drawn)} of {counted(len(jobs), 'job')}, sample seed {seed}; a change of code touches {len(touched)}"
    if not alike:
        yield "measured on another kind of machine than this one, or on one not fully known: its bits are others"
    stored = {name: ledger.read(folder / f"{name}.csv", name) for name in COMPARED}
    with tempfile.TemporaryDirectory(prefix="slimming-reaffirm-") as place:
        today, then = Path(place, "today"), Path(place, "then")
        if touched and not alike:
            made_by = again.commit_with({digest for job in drawn for digest in provenance.digests(job.record)})
            yield f"both run here: today's code, and that of {made_by[:12]}, which made what is stored"
            made = again.make(config, drawn, today, epochs=epochs)
            faults = _differing(_tables(made), _tables(again.make(config, drawn, then, made_by, epochs)))
            how = f"equal to the bit to the code of {made_by[:12]}, on another kind of machine"
            how += f", in a schedule of {counted(epochs, 'epoch')}" if epochs else ""
        elif epochs:
            curves = {"curves": again.histories(config, drawn, today, epochs)}
            faults = _differing(curves, stored) if alike else _spread(curves["curves"], stored["curves"])
            how = f"trainings, in their first {counted(epochs, 'epoch')}, "
            how += "equal to the bit to what is stored" if alike else WITHIN
        elif alike:
            tables = _tables(again.make(config, drawn, today))
            faults = [*_altered(drawn, today), *_differing(tables, stored)]
            how = "equal to the bit to what is stored"
        else:
            faults = _spread(_tables(again.make(config, drawn, today))["ledger"], stored["ledger"])
            how = WITHIN
        faults = list(faults)
    changes = f" (changed: {', '.join(_changed(known, drawn))})" if touched else ""
    yield from faults
    if faults:
        raise SlimmingError(f"{config}: differ: {counted(len(faults), 'figure')}{changes}; nothing was written")
    yield f"all {how}"
    if touched:
        entry = {"commit": commit().name, "jobs": len(drawn), "of": len(jobs), "seed": seed, "found": how}
        entry |= {"machine": machines.here()["machine.processor"], "date": datetime.now(UTC).isoformat("T", "seconds")}
        provenance.write(folder / "jobs.json", _carried(known, jobs, entry))
        yield f"{folder / 'jobs.json'} takes the digests of today's code"


def _tables(paths: list[Path]) -> Tables:
    """The tables that the records at `paths` give."""
    tables = ledger.collect(paths)
    return {name: tables[name] for name in COMPARED}


def _differing(made: Tables, reference: Tables) -> Iterator[str]:
    """Rows of the tables in `made` that are not in `reference`, or say something else there; times do not count."""
    for name, table in made.items():
        key = TABLES[name].key
        columns = [column for column in table.columns if column not in {*key, *TIMES}]
        stored = reference[name].set_index(key)
        for place, row in table.set_index(key)[columns].iterrows():
            where = f"{name}.csv, {' '.join(map(str, place))}"
            if place not in stored.index:
                yield f"{where}: not stored"
                continue
            then = stored.loc[place]
            # What an older ledger did not have, it has no value for.
            other = [column for column in columns if pd.notna(then[column]) and row[column] != then[column]]
            if other:
                yield f"{where}: " + ", ".join(f"{column} {row[column]}, not {then[column]}" for column in other)


def _altered(drawn: list[Job], place: Path) -> Iterator[str]:
    """Checkpoints that have other bytes than jobs.json says."""
    for job in drawn:
        for name, product in job.products.items():
            if not name.endswith(".json") and tensorfile.sha256(place / name) != product.sha256:
                yield f"{job.name}: {name} has other bytes"


def _spread(made: pd.DataFrame, stored: pd.DataFrame) -> Iterator[str]:
    """Accuracies further from what is stored than chance puts two seeds from each other, or LEAST.

    Allowed is t sqrt(2) s. s is the standard deviation between seeds at the same data set, network, stage, ratio and
    epoch, pooled over the methods; t is Student's two-sided quantile of the pooled degrees of freedom at ALPHA divided
    by the number of figures (Bonferroni). Where a study has one seed, nothing says what chance does: InputError.
    """
    column = "accuracy" if "accuracy_best" in made else "test_accuracy"
    key = [*KEY, *(["epoch"] if "epoch" in made else [])]
    alike = [name for name in key if name not in ("method", "seed")]
    seeds = stored.groupby([*alike, "method"])[column].agg(["var", "count"]).dropna()
    squares = (seeds["var"] * (seeds["count"] - 1)).groupby(alike).sum()
    freedom = (seeds["count"] - 1).groupby(alike).sum()
    if freedom.empty:
        raise InputError("the study has one seed, so that nothing says how far accuracies differ by chance")
    t = stats.t.ppf(1 - ALPHA / len(made) / 2, freedom)
    allowances = (t * np.sqrt(2 * squares / freedom)).clip(lower=LEAST)
    then = stored.set_index(key)[column]
    for row in made.to_dict("records"):
        place = tuple(row[name] for name in key)
        allowed = allowances[tuple(row[name] for name in alike)]
        if not abs(row[column] - then[place]) <= allowed:
            yield f"{' '.join(map(str, place))}: {column} {row[column]}, not {then[place]} (allowed: {allowed:.4f})"


def _changed(known: provenance.Provenance, drawn: list[Job]) -> list[str]:
    """The files of the package whose meaning has changed since the jobs ran."""
    today, files = code.paths(), set()
    for job in drawn:
        before, now = (set(provenance.digests(record)) for record in (job.record, job.planned.record))
        files |= {known.code.get(digest, digest) for digest in before - now}
        files |= {today[digest] for digest in now - before}
    return sorted(files)


def _refuse_uncommitted() -> None:
    name, doubt = commit()
    if doubt or name.endswith("+"):
        why = doubt or "it has changes"
        raise InputError(f"the code is not that of a commit, so that nothing could be said of it ({why}); commit it")


def _carried(known: provenance.Provenance, jobs: list[Job], entry: dict) -> provenance.Provenance:
    """What is known, with today's code in the records of `jobs`, and the entry that says why."""
    made = known.products()
    for job in jobs:
        for name, product in job.products.items():
            made[name] = (product, job.record | job.planned.record)
    return provenance.Provenance(provenance.grouped(made), known.code | code.paths(), [*known.reaffirmed, entry])
