"""Provenance that travels: what Snakemake remembers of the jobs of a study, as one text file beside its ledger.

Snakemake keeps one file for every product in `.snakemake/metadata`: the parameters, the code and the checksums of the
inputs that made it. They are nobody's but the machine's, for all studies at once, and say nothing of the product's own
content. `export` gathers those of one study in `results/<study>/jobs.json`, a line a job in a fixed order, with the
SHA-256 of every product: text, so that git can show and merge what changed, and the ledger's readers have it too.
`restore` gives them back where the very same product lies, after a clone or a pull: Snakemake then has nothing to do,
and knows why. Jobs name the package's files by digest (slimming.code); which file a digest stands for, is said once.

Restored products get the time at which they were made. It is true of that content, and in Snakemake's eyes it makes a
later change of an input newer than what was made of it, which the times of a checkout do not.

Not for deciding what has to run: that is Snakemake's.
"""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from slimming import code, tensorfile
from slimming.errors import InputError
from slimming.naming import counted

FORMAT = 2
# Fields of Snakemake's record that are the product's own, or that decide nothing.
APART = ("starttime", "endtime", "incomplete", "external_jobid", "conda_env", "container_img_url", "log")
OLDEST = 1  # POSIX seconds; Snakemake takes 0 for no time at all
CLOCK = 1e-3  # seconds; Snakemake keeps times as floating point


class Product(NamedTuple):
    """A file that a job made: SHA-256 of its content, when the job started and when it was written (POSIX seconds)."""

    sha256: str
    started: float
    made: float


class Job(NamedTuple):
    """A job that ran: its products by path, and Snakemake's record of it (rule, params, input_checksums, ...)."""

    products: dict[str, Product]
    record: dict


class Provenance(NamedTuple):
    """What is known of a study's jobs.

    code: {digest: file of the package}, for every digest in the parameters of jobs. reaffirmed: by which commit, sample
    and machine jobs that had run were found to give the same with later code (slimming.store.reaffirm).
    """

    jobs: list[Job]
    code: dict[str, str]
    reaffirmed: list[dict]

    def products(self) -> dict[str, tuple[Product, dict]]:
        """{path: (product, Snakemake's record of the job)} of all jobs."""
        return {name: (product, job.record) for job in self.jobs for name, product in job.products.items()}

    def words(self) -> list[str]:
        """A line for each time that the study was reaffirmed."""
        line = (
            "reaffirmed at {commit:.12} by {jobs} of {jobs_of}, sample seed {seed}: all {found} ({machine}, {date:.10})"
        )
        return [line.format(**entry, jobs_of=counted(entry["of"], "job")) for entry in self.reaffirmed]


NOTHING = Provenance([], {}, [])


def export(path: str | os.PathLike, expected: Iterable[str]) -> None:
    """Write what is known of the `expected` products of a study to `path`, from Snakemake's own and from `path`.

    A product that a job has made here counts as it is; of one that does not lie here, or was changed by something
    else since, `path` keeps what it said.
    """
    earlier = known(path)
    before = earlier.products()
    memory = _Memory()
    made: dict[str, tuple[Product, dict]] = {}
    for name in sorted(expected):
        if memory.saw(name):
            found = memory.read(name)
            product, _ = before.get(name, (None, None))
            digest = product.sha256 if product and product.made == found["endtime"] else tensorfile.sha256(name)
            record = {key: value for key, value in found.items() if key not in APART}
            made[name] = Product(digest, found["starttime"], found["endtime"]), record
        elif name in before:
            made[name] = before[name]
    write(path, Provenance(grouped(made), earlier.code | code.paths(), earlier.reaffirmed))


def restore(path: str | os.PathLike, stored: Iterable[str], unseen: Iterable[str] = ()) -> None:
    """Give Snakemake back what `path` says of the products that lie here and are the same to the byte.

    Where an input does not lie here (in a clone with the ledger alone), the record of its product is left out:
    the product counts as it lies. Where Snakemake remembers the very same job, what `path` says of its code counts.
    Another content is no error for what is made in seconds: the product then counts as older than everything. For the
    `stored` products, which hours of training may have made, it is.

    Jobs on a cluster go on when Snakemake has died, which does not know then of what their products were made. Where it
    has no record of the `unseen` as they lie, it is told to send their jobs again.

    Raises InputError for a stored product that is neither what `path` says nor made here; nothing is changed then.
    """
    memory, stored = _Memory(), frozenset(stored)
    same, other = [], []
    for job in known(path).jobs:
        for name, product in job.products.items():
            if not os.path.isfile(name):
                continue
            if memory.saw(name):
                if memory.differs(name, product, job.record):  # what a reaffirmation found elsewhere, say
                    same.append((name, product, job.record))
                continue
            if tensorfile.sha256(name) == product.sha256:
                same.append((name, product, job.record))
            elif memory.read(name) is None:
                other.append(name)
    again = {name for name in unseen if os.path.isfile(name) and not memory.saw(name)}
    again -= {name for name, _, _ in same}
    altered = sorted(stored.intersection(other) - again)
    if altered:
        raise InputError(
            f"{altered[0]}{f' and {len(altered) - 1} more' if altered[1:] else ''}: not what {path} says was made; "
            "delete it and .dvc/cache, and `dvc pull` brings that; delete it alone, and it is made again"
        )
    for name in other:
        os.utime(name, (OLDEST, OLDEST))
    for name in again:
        memory.doubt(name)
    for name, product, record in same:
        os.utime(name, (product.made, product.made))
        if all(map(os.path.exists, record["input"])):
            memory.write(name, record | {"starttime": product.started, "endtime": product.made, "incomplete": False})


def known(path: str | os.PathLike) -> Provenance:
    """What `export` wrote, NOTHING before it has written anything; InputError as of `read`."""
    return read(path) if Path(path).is_file() else NOTHING


def read(path: str | os.PathLike) -> Provenance:
    """What `export` wrote; InputError if the file is missing, torn by a merge, or of another format."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}, not {FORMAT}")
        jobs = [
            Job({name: Product(*product) for name, product in job.pop("products").items()}, job)
            for job in content["jobs"]
        ]
        return Provenance(jobs, dict(content["code"]), list(content["reaffirmed"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not readable as provenance ({error}); take one from git") from error


def write(path: str | os.PathLike, known: Provenance) -> None:
    """Write jobs, a line each, in the order of their first products, and the files that their digests stand for."""
    jobs = sorted(json.dumps({"products": dict(sorted(job.products.items()))} | job.record) for job in known.jobs)
    used = {digest for job in known.jobs for digest in digests(job.record)}
    files = sorted((known.code[digest], digest) for digest in used & known.code.keys())
    named = [json.dumps({digest: file})[1:-1] for file, digest in files]
    parts = (_block("{", named, "}"), _block("[", map(json.dumps, known.reaffirmed), "]"), _block("[", jobs, "]"))
    text = '{{"format": {}, "code": {}, "reaffirmed": {}, "jobs": {}}}\n'.format(FORMAT, *parts)
    tensorfile.write_text(path, text)


def _block(opening: str, lines: Iterable[str], closing: str) -> str:
    """Part of a JSON text with a line for each item, so that git shows what changed."""
    return f"{opening}\n" + ",\n".join(lines) + f"\n{closing}"


def digests(record: Mapping) -> list[str]:
    """The digests of the package's files that decided a job, from Snakemake's record of it."""
    return [digest for text in record["params"] if (found := listed(ast.literal_eval(text))) for digest in found]


def listed(parameter: object) -> list[str] | None:
    """A job's parameter, if it is such a list of digests."""
    whole = isinstance(parameter, list) and parameter and all(re.fullmatch("[0-9a-f]{16}", str(x)) for x in parameter)
    return parameter if whole else None


def grouped(made: Mapping[str, tuple[Product, dict]]) -> list[Job]:
    """The jobs that made these products: Provenance.products undone."""
    jobs: dict[str, Job] = {}
    for name, (product, record) in made.items():
        jobs.setdefault(json.dumps(record, sort_keys=True), Job({}, record)).products[name] = product
    return list(jobs.values())


def digest(name: str, known: Mapping[str, tuple[Product, dict]]) -> str | None:
    """SHA-256 of the file `name`, None where there is none; what is `known` of it spares reading it."""
    if not os.path.isfile(name):
        return None
    if name in known and _lies_as_made(name, known[name][0].made):
        return known[name][0].sha256
    return tensorfile.sha256(name)


def _lies_as_made(name: str, made: float) -> bool:
    """Whether the file `name` exists and has the time at which it was made."""
    try:
        return abs(os.stat(name).st_mtime - made) < CLOCK
    except OSError:
        return False


class _Memory:
    """Snakemake's records in `.snakemake`, through its own class, which knows names and formats."""

    def __init__(self) -> None:
        from snakemake.persistence import MetadataRecord
        from snakemake.persistence.file import FilePersistence

        self._files, self._record = FilePersistence(nolock=True), MetadataRecord

    def read(self, name: str) -> dict | None:
        found = self._files._read_record(name)
        return None if found is None else dict(found.items())

    def saw(self, name: str) -> bool:
        """Whether Snakemake saw the end of the job that made the product `name` as it lies here."""
        found = self.read(name)
        return found is not None and _lies_as_made(name, found["endtime"])

    def differs(self, name: str, product: Product, record: Mapping) -> bool:
        """Whether of the very making of `product` Snakemake remembers other parameters than `record` has."""
        found = self.read(name)
        return found["endtime"] == product.made and found["params"] != record["params"]

    def write(self, name: str, record: Mapping) -> None:
        self._files._write_record(name, self._record.model_validate(dict(record)))

    def doubt(self, name: str) -> None:
        """Mark a product as that of a job that was interrupted."""
        self._files._mark_incomplete(name, None)
