"""What of a study is done, stale or missing, why, and which jobs running it would cost.

The jobs are those of Snakemake's own dry run. Why, is told by content for every job, also where Snakemake has seen
enough: which file of the package, which setting and which input differ from those that the job had.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from slimming import study as studies
from slimming.errors import InputError, SlimmingError
from slimming.store import provenance

PROFILE = Path("profiles/default/config.yaml")


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
    name = studies.load(config).name
    path = f"results/{name}/jobs.json"
    known = provenance.products(provenance.read(path)) if Path(path).is_file() else {}
    dag = _planned(config)
    found, cost = [], Counter()
    for job in dag.jobs:
        needed = dag.needrun(job)
        if job.output and needed:
            cost[job.rule.name] += 1
        causes = _causes(job, dag, known)
        found += [_product(output, job.rule.name, needed, causes, known) for output in map(str, job.output)]
    return sorted(found), dict(cost)


def show(config: str | os.PathLike) -> str:
    """`status` as text: a line of counts, a line for every rule and cause, and a line of jobs."""
    products, cost = status(config)
    counts = Counter(product.state for product in products)
    lines = [f"{len(products)} products: " + ", ".join(f"{counts[state]} {state}" for state in sorted(counts))]
    groups: dict[tuple, list[str]] = {}
    for product in products:
        if product.state != "done":
            groups.setdefault((product.state, product.rule, product.causes), []).append(product.path)
    for (state, rule, causes), paths in groups.items():
        more = f" and {len(paths) - 1} more" if paths[1:] else ""
        lines.append(f"{state:8}{paths[0]}{more} ({rule})" + "".join(f"\n{'':10}{cause}" for cause in causes))
    jobs = ", ".join(f"{rule} {count}" for rule, count in sorted(cost.items()))
    lines.append(f"to run: {sum(cost.values())} jobs ({jobs})" if cost else "nothing to run")
    return "\n".join(lines)


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


def _planned(config: str | os.PathLike) -> Any:
    """Snakemake's graph of jobs after a dry run."""
    from snakemake.api import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings, SnakemakeApi
    from snakemake.settings.enums import Quietness

    # Snakemake reads its profile on the command line alone.
    size = yaml.safe_load(PROFILE.read_text())["max-checksum-file-size"]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
            workflow = api.workflow(
                resource_settings=ResourceSettings(cores=1),
                config_settings=ConfigSettings(configfiles=[Path(config)]),
                snakefile=Path("Snakefile"),
            )
            workflow.dag(DAGSettings(max_checksum_file_size=_bytes(size))).execute_workflow(executor="dryrun")
            return workflow._workflow.dag  # the API runs a graph, and shows it to nobody
    except SystemExit as error:  # the Snakefile's own refusals
        raise InputError(str(error).removeprefix("slimming: error: ")) from error
    except Exception as error:
        reason = " ".join((said.getvalue() or str(error)).split())
        raise SlimmingError(f"{config}: Snakemake cannot plan it ({reason})") from error


def _bytes(size: str) -> int:
    from humanfriendly import parse_size

    return parse_size(size)


def _causes(job: Any, dag: Any, known: Mapping[str, tuple]) -> list[str]:
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
    causes += _changes(changed.only_old, changed.only_new) if changed else []
    causes += ["another set of input files"] if any(memory.input_changed(job)) else []
    causes += ["the rule's command"] if any(memory.code_changed(job)) else []
    return causes + (["the rule's environment"] if reason.software_stack_changed else [])


def _changes(old: Iterable[str], new: Iterable[str]) -> list[str]:
    """The differences between a job's parameters, each a repr, before and now."""
    before, now = dict(_named(old)), dict(_named(new))
    changes = []
    for key in sorted({*before, *now}, key=str):
        if before.get(key) != now.get(key):
            kind, name = key
            values = f" {before.get(key, 'unset')} -> {now.get(key, 'unset')}" if kind == "setting" else ""
            changes.append(f"{kind} {name}{values}")
    return changes


def _named(parameters: Iterable[str]) -> Iterator[tuple[tuple[str, str], str]]:
    """(("code", file), digest) of package files, (("setting", name), value) of a run's or study's settings."""
    for text in parameters:
        value = ast.literal_eval(text)
        if isinstance(value, list) and all(str(item).startswith("src/") for item in value):
            for item in value:
                file, _, digest = item.partition(" ")
                yield ("code", file), digest
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
