"""Jobs of a study computed again in another folder, with today's code or with that of a commit."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import yaml

from slimming import code, records, study, tensorfile
from slimming.errors import InputError, SlimmingError
from slimming.schema import KEY, TABLES
from slimming.store import elsewhere
from slimming.store.sample import Job

PACKAGE = "src/slimming"
GLANCE = 1.0  # seconds between looks at the state that a training saves


def make(
    config: str | os.PathLike, drawn: list[Job], place: Path, commit: str | None = None, epochs: int | None = None
) -> list[Path]:
    """The records of `drawn`, made in `place` with the code of `commit`, or of today, in a schedule of so many epochs.

    Raises SlimmingError where they cannot be made.
    """
    _set_up(place, commit)
    if epochs:
        config = _shortened(config, epochs, place / "short.yaml")
    elsewhere.snakemake(config, _prepared(drawn), place, show=True)
    if not epochs:
        _lend(drawn, place)
    if not (place / PACKAGE / "stages/measure.py").is_file():  # it measured in the jobs that made the networks
        checkpoints = [name for job in drawn for name in job.planned.outputs if name.endswith(".safetensors")]
        recorded = [_recorded(name) for name in checkpoints]
        elsewhere.snakemake(config, [*checkpoints, *recorded], place, show=True)
        return [place / name for name in recorded]
    elsewhere.snakemake(config, [name for job in drawn for name in job.planned.outputs], place, show=True)
    return list(_measured(drawn, place))


def _recorded(checkpoint: str) -> str:
    """The path of the record of a network in the workflow's folders."""
    return checkpoint.replace("/checkpoints/", "/records/").replace(".safetensors", ".json")


def _measured(drawn: list[Job], place: Path) -> Iterator[Path]:
    """Records of what `drawn` have made in `place`, run by run; Snakemake would measure all of a run."""
    for run in dict.fromkeys(job.run for job in drawn):
        folder, jobs = place / "measured" / run, [job for job in drawn if job.run == run]
        paths = [name for job in jobs for name in job.planned.outputs if name.endswith(".safetensors")]
        elsewhere.slimming("measure", *paths, "--data", *_prepared(jobs), "--records", str(folder), place=place)
        yield from (folder / f"{Path(name).stem}.json" for name in paths)


def histories(config: str | os.PathLike, drawn: list[Job], place: Path, epochs: int) -> pd.DataFrame:
    """The first `epochs` epochs of the trainings `drawn`, as in curves.csv; each is stopped when it has so many.

    Raises SlimmingError where a training fails before.
    """
    _set_up(place, None)
    elsewhere.snakemake(config, _prepared(drawn), place, show=True)
    at_once = max(1, len(os.sched_getaffinity(0)) // study.load(config).threads)
    with ThreadPoolExecutor(at_once) as pool:
        rows = [row for part in pool.map(lambda job: list(_begun(job, place, epochs)), drawn) for row in part]
    return pd.DataFrame(rows, columns=[*TABLES["curves"].columns])


def commit_with(digests: set[str]) -> str:
    """The last commit whose package has every one of these digests (slimming.code). InputError if there is none."""
    known: dict[str, str] = {}
    for commit in _git("log", "--format=%H", "--", PACKAGE).split():
        blobs = [line.split(maxsplit=3)[2:] for line in _git("ls-tree", "-r", commit, PACKAGE).splitlines()]
        for blob, path in blobs:
            if blob not in known:
                content = subprocess.run(["git", "cat-file", "blob", blob], capture_output=True, check=True).stdout
                known[blob] = code.digest(content, path.endswith(".py"))
        if digests <= {known[blob] for blob, _ in blobs}:
            return commit
    raise InputError(
        "no commit of this history has the code that made what is stored: fetch all of it, or run the study"
    )


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"git {arguments[0]} fails here ({' '.join(done.stderr.split())}); the history is needed")
    return done.stdout


def _set_up(place: Path, commit: str | None) -> None:
    """The project in `place`, with the published files of data sets that lie here."""
    place.mkdir()
    if commit:
        elsewhere.check_out(commit, place)
    else:
        for name in elsewhere.PROJECT:
            elsewhere.copy(name, place)
    (place / "data").mkdir()
    for path in Path("data").glob("*"):
        if path.name != "prepared":
            (place / "data" / path.name).symlink_to(path.absolute())


def _prepared(drawn: list[Job]) -> list[str]:
    """The prepared data that the jobs read, directly or not."""
    return sorted({name for job in drawn for name in job.planned.record["input"] if name.startswith("data/")})


def _lend(drawn: list[Job], place: Path) -> None:
    """Copy the checkpoints that lie here, and that the jobs start from, unless they are to be made again too.

    They are newer there than the data of which they were made, so that Snakemake lets them stand.
    """
    made = {name for job in drawn for name in job.products}
    for job in drawn:
        for name, checksum in job.record["input_checksums"].items():
            lies = name.startswith("results/") and name not in made and os.path.isfile(name)
            if lies and tensorfile.sha256(name) == checksum.removeprefix("sha256:"):
                elsewhere.copy(name, place)


def _shortened(config: str | os.PathLike, epochs: int, path: Path) -> Path:
    """The study in a schedule of so many epochs, written to `path`."""
    content = yaml.safe_load(Path(config).read_text(encoding="utf-8"))
    parts = [content, *(part for key in ("datasets", "networks") for part in content[key].values() if part)]
    for part in parts:
        part.get("schedule", {}).pop("epochs", None)
    content.setdefault("schedule", {})["epochs"] = epochs
    content.get("finetune", {}).pop("epochs", None)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def _begun(job: Job, place: Path, epochs: int) -> Iterator[dict]:
    """Rows of curves.csv of a training that is stopped when it has so many epochs, or that ends before."""
    draft, checkpoint = (Path(place, name) for name in job.planned.outputs)
    state = checkpoint.with_suffix(".resume")
    command = job.planned.record["shellcmd"]
    log = place / command.rpartition("2> ")[2]
    for path in (checkpoint, log):
        path.parent.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(
        command, cwd=place, env=elsewhere.environment(place), shell=True, start_new_session=True
    ) as run:
        history = {}
        while len(history.get("loss", ())) < epochs and run.poll() is None:
            time.sleep(GLANCE)
            if state.is_file():
                history = tensorfile.read(state)[1]["history"]
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGTERM)
        elif run.returncode:
            raise SlimmingError(f"{job.name}: fails ({' '.join(log.read_text().split())[-500:]})")
        else:
            history = records.read(draft)["history"]
    dataset, network, method, seed = job.planned.wildcards["run"].split("/")
    key = dict(zip(KEY, (dataset, network, method, int(seed.removeprefix("seed")), 0.0, "trained"), strict=True))
    for row in list(TABLES["curves"].rows({"history": history}))[:epochs]:
        yield key | row
