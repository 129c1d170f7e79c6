"""What of a study is done, stale or missing, why, and which jobs running it would cost.

The jobs are those of Snakemake's own dry run. Why, is told by content for every job, also where Snakemake has seen
enough: which file of the package, which setting and which input differ from those that the job had.
"""

from __future__ import annotations

import ast
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from slimming import code, costs, planning
from slimming import study as studies
from slimming.naming import counted
from slimming.store import planned, provenance, remote


class Product(NamedTuple):
    """A file of the study: path, rule, "done", "stale", "missing" or "altered", and what changed."""

    path: str
    rule: str
    state: str
    causes: tuple[str, ...] = ()


def status(config: str | os.PathLike) -> tuple[list[Product], dict[str, int]]:
    """Every product of the study in the file `config`, and the jobs {rule: count} that would make the study whole.

    Raises InputError for a faulty study, SlimmingError where Snakemake cannot plan it; call it in the project's folder.
    """
    stored = _stored(config)
    known, files = stored.products(), stored.code | code.paths()
    dag = planned.graph(config)
    found, cost = [], Counter()
    for job in dag.jobs:
        needed = dag.needrun(job)
        if job.output and needed:
            cost[job.rule.name] += 1
        causes = _causes(job, dag, known, files)
        found += [_product(output, job.rule.name, needed, causes, known) for output in map(str, job.output)]
    return sorted(found), dict(cost)


def show(config: str | os.PathLike) -> str:
    """`status` as text: a line of counts, a line for every rule and cause, and a line of jobs."""
    products, cost = status(config)
    counts = Counter(product.state for product in products)
    lines = [
        f"{counted(len(products), 'product')}: " + ", ".join(f"{counts[state]} {state}" for state in sorted(counts))
    ]
    stored = _stored(config)
    known = stored.products()
    lines += stored.words()
    groups: dict[tuple, list[str]] = {}
    for product in products:
        if product.state != "done":
            groups.setdefault((product.state, product.rule, product.causes), []).append(product.path)
    for (state, rule, causes), paths in groups.items():
        more = f" and {len(paths) - 1} more" if paths[1:] else ""
        lines.append(f"{state:8}{paths[0]}{more} ({rule})" + "".join(f"\n{'':10}{cause}" for cause in causes))
    if any(product.state == "missing" and product.path in known for product in products):
        lines.append(f"{'':8}of what is missing: {remote.advice()}")
    jobs = ", ".join(f"{rule} {count}" for rule, count in sorted(cost.items()))
    lines.append(
        f"to run: {counted(sum(cost.values()), 'job')} ({jobs}), about {_hours(config, cost):.1f} hours of jobs"
        if cost
        else "nothing to run"
    )
    return "\n".join(lines)


def _hours(config: str | os.PathLike, cost: Mapping[str, int]) -> float:
    """What jobs {rule: count} take together, by the shipped speeds and those that records here have."""
    study = studies.load(config)
    records = Path("results", study.name, "records").rglob("trained.json")
    here = planning.Profile("here", None, {})
    lines, _ = planning.plan(study, here, [*planning.speeds(sorted(records)), *costs.shipped()])
    return sum(cost.get(line.rule, 0) * line.hours / line.jobs for line in lines)


def _stored(config: str | os.PathLike) -> provenance.Provenance:
    path = Path("results", studies.load(config).name, "jobs.json")
    return provenance.read(path) if path.is_file() else provenance.NOTHING


def _product(path: str, rule: str, needed: bool, causes: list[str], known: Mapping[str, tuple]) -> Product:
    if not os.path.exists(path):
        return Product(path, rule, "missing", tuple(causes))
    if needed:
        return Product(path, rule, "stale", tuple(causes or ["what it is made of is made again"]))
    if causes:  # of an older time than what was made of it
        return Product(
            path, rule, "stale", (*causes, "Snakemake goes by time here, and would not notice: touch the input")
        )
    if path in known and provenance.digest(path, known) != known[path][0].sha256:
        return Product(path, rule, "altered", ("not what its job made; delete it to have it made again",))
    return Product(path, rule, "done")


def _causes(job: Any, dag: Any, known: Mapping[str, tuple], files: Mapping[str, str]) -> list[str]:
    """What differs from what a job had when it ran here or elsewhere; nothing for a job that never did."""
    memory = dag.workflow.persistence
    if not job.output or not memory.has_metadata(job):
        return []
    record, reason = memory.metadata(job.output[0]), dag.reason(job)
    causes = []
    for path, recorded in sorted(record.input_checksums.items()):
        now = provenance.digest(path, known)
        if now and now != recorded.removeprefix("sha256:"):
            causes.append(f"input {path}")
    changed = memory.params_changed(job)
    causes += _changes(changed.only_old, changed.only_new, files) if changed else []
    causes += ["another set of input files"] if any(memory.input_changed(job)) else []
    causes += ["the rule's command"] if any(memory.code_changed(job)) else []
    return causes + (["the rule's environment"] if reason.software_stack_changed else [])


def _changes(old: Iterable[str], new: Iterable[str], files: Mapping[str, str]) -> list[str]:
    """The differences between a job's parameters, each a repr, before and now; `files`: what digests stand for."""
    before, now = dict(_named(old, files)), dict(_named(new, files))
    changes = []
    for key in sorted({*before, *now}, key=str):
        if before.get(key) != now.get(key):
            kind, name = key
            values = f" {before.get(key, 'unset')} -> {now.get(key, 'unset')}" if kind == "setting" else ""
            changes.append(f"{kind} {name}{values}")
    return changes


def _named(parameters: Iterable[str], files: Mapping[str, str]) -> Iterator[tuple[tuple[str, str], str]]:
    """(("code", file), digest) of package files, (("setting", name), value) of a run's or study's settings."""
    for text in parameters:
        value = ast.literal_eval(text)
        if digests := provenance.listed(value):
            for digest in digests:
                yield ("code", files.get(digest, "that is not known any more")), digest
        elif isinstance(value, str) and value.startswith("{"):
            yield from ((("setting", name), item) for name, item in _flat(json.loads(value)))
        else:
            yield ("setting", "of the rule"), text


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    items = value.items() if isinstance(value, dict) else ()
    for key, item in items:
        yield from _flat(item, f"{prefix}.{key}".lstrip("."))
    if not isinstance(value, dict):
        yield prefix, json.dumps(value)
