"""A study's jobs as the workflow would run them today: Snakemake's own graph, after a dry run."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from slimming.errors import InputError, SlimmingError

PROFILE = Path("profiles/default/config.yaml")


class Planned(NamedTuple):
    """A job: its rule, wildcards and outputs, and of Snakemake's record of it what a run would not change."""

    rule: str
    wildcards: dict[str, str]
    outputs: tuple[str, ...]
    record: dict


def jobs(config: str | os.PathLike) -> list[Planned]:
    """Every job of the study in the file `config` that makes something, done or not, in a fixed order."""
    dag = graph(config)
    memory = dag.workflow.persistence
    found = []
    for job in dag.jobs:
        if job.output:
            record = {"rule": job.rule.name, "input": memory._input(job), "params": memory._params(job)}
            record |= {"code": memory._code(job.rule), "shellcmd": job.shellcmd}
            outputs = tuple(sorted(map(str, job.output)))
            found.append(Planned(job.rule.name, dict(job.wildcards_dict), outputs, record))
    return sorted(found, key=lambda job: job.outputs)


def graph(config: str | os.PathLike) -> Any:
    """Snakemake's graph of jobs; call it in the project's folder.

    Raises InputError for a faulty study, SlimmingError where Snakemake cannot plan it.
    """
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
