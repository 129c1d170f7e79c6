"""What of a study is done, stale or missing, why, and which jobs running it would cost.

The jobs are those of Snakemake's own dry run; content decides, not time, because provenance.restore has put right the
times of what was cloned, pulled or copied, and Snakemake compares checksums where times moved. Here its reasons become
names: which file of the package, which setting, which input.
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
        if not job.output:
            continue
        needed = dag.needrun(job)
        if needed:
            cost[job.rule.name] += 1
        causes = _causes(dag.reason(job)) if needed else ()
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


def _product(path: str, rule: str, needed: bool, causes: tuple[str, ...], known: Mapping[str, tuple]) -> Product:
    if not os.path.exists(path):
        return Product(path, rule, "missing", causes)
    if needed:
        return Product(path, rule, "stale", causes)
    if path in known and provenance.digest(path, known) != known[path][0].sha256:
        return Product(
            path, rule, "altered", ("its content is not what its job made; delete it to have it made again",)
        )
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


def _causes(reason: Any) -> tuple[str, ...]:
    """What made Snakemake run a job: files and settings by name."""
    causes = [f"input {path}" for path in sorted(map(str, reason.updated_input))]
    if reason.params_changed:
        causes += _changes(reason.params_changed.only_old, reason.params_changed.only_new)
    if reason.input_changed:
        causes.append("another set of input files")
    if reason.code_changed:
        causes.append("the rule's command")
    if reason.software_stack_changed:
        causes.append("the rule's environment")
    if not causes and reason.updated_input_run:
        causes.append("what it is made of is made again")
    return tuple(causes)


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
