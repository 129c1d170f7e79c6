"""Rules: files of claims, checked whole before any number is seen. config/claims/nonconvex-slimming.yaml has each key.

Not for deciding anything: evaluation does that, with these rules and a ledger.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, get_args

from pydantic import Field, ValidationError, field_validator, model_validator

from slimming import analyses, yamlfile
from slimming.errors import InputError, unknown
from slimming.naming import NAME
from slimming.settings import Model, Ratio
from slimming.stages.table import STAGES

Pattern = Annotated[str, Field(min_length=1)]


def amount(value: float, unit: str) -> str:
    """ "1 point", "0.5 points", "10 %"."""
    return f"{value:g} {'point' if (value, unit) == (1, 'points') else unit}".strip()


class Comparison(Model):
    """A measure compared between two methods: its mean over ratios, or with `tolerance` a size read off a curve."""

    metric: Literal["accuracy", "parameters", "macs", "bytes"]
    stage: Literal[*STAGES]
    direction: Literal["higher", "lower", "similar"] = Field(description="of the treatment against the reference")
    margin: float = Field(gt=0, lt=100, description="the difference that would matter, in `unit`")
    tolerance: float | None = Field(None, gt=0, lt=100, description="points of accuracy that may be lost")

    @model_validator(mode="after")
    def _sensible(self) -> Comparison:
        curve = self.metric != "accuracy" and STAGES[self.stage].parent and self.direction == "lower"
        if self.tolerance is not None and not curve:
            raise ValueError("a tolerance needs a size, lower, of networks after pruning")
        return self

    @property
    def unit(self) -> str:
        """Of margin, estimate and interval: percentage points of accuracy, or per cent of a size."""
        return "points" if self.metric == "accuracy" else "%"

    @property
    def subject(self) -> str:
        """What is compared at one ratio."""
        return f"{self.metric} {STAGES[self.stage].words}"

    @property
    def words(self) -> str:
        """What is compared, and what is claimed of it."""
        if self.tolerance is None:
            return f"{self.subject}, mean over ratios: {self.direction}"
        points = amount(self.tolerance, "points")
        return f"{self.subject} of the smallest network within {points} of the dense accuracy: {self.direction}"


class Finding(Model):
    """A measure of analyses, of a network by itself: its mean over ratios is compared with a number."""

    measure: str
    stage: Literal[*STAGES]
    direction: Literal["higher", "lower", "similar"]
    than: float = Field(0, description="what the measure is compared with, in its unit")
    margin: float = Field(gt=0, description="the difference that would matter, in the measure's unit")

    tolerance: ClassVar[None] = None

    @field_validator("measure")
    @classmethod
    def _known(cls, measure: str) -> str:
        if measure not in analyses.measures():
            raise ValueError(str(unknown("measure", measure, analyses.measures())))
        return measure

    @property
    def metric(self) -> str:
        return self.measure

    @property
    def unit(self) -> str:
        return analyses.measures()[self.measure].unit

    @property
    def subject(self) -> str:
        """What is measured at one ratio."""
        return f"{analyses.measures()[self.measure].words}, {STAGES[self.stage].words}"

    @property
    def words(self) -> str:
        """What is measured, and what is claimed of it."""
        to = "to" if self.direction == "similar" else "than"
        return f"{self.subject}: {self.direction} {to} {amount(self.than, self.unit)}"


class Claim(Model):
    id: Annotated[str, Field(pattern=NAME)]
    words: str = Field(description="the claim as the paper puts it")
    source: str
    reading: str = Field(description="what it is taken to say")
    treatments: list[Pattern] = Field(min_length=1, description="methods by name, or by pattern as in file names")
    reference: Pattern | None = Field(None, description="what they are compared with, by name or pattern")
    compare: Comparison | None = Field(None, description="what decides, where there is a reference")
    find: Finding | None = Field(None, description="what decides, where there is none")
    provided: list[Comparison] = Field([], description="conditions that must hold too")
    datasets: list[Pattern] = Field(["*"], description="names or patterns; default: all of the study")
    networks: list[Pattern] = Field(["*"], description="names or patterns; default: all of the study")
    ratios: list[Ratio] = Field([], description="default: all that the study has at the stage")

    @property
    def decides(self) -> Comparison | Finding:
        return self.compare or self.find

    @model_validator(mode="after")
    def _one_question(self) -> Claim:
        if bool(self.compare) == bool(self.find):
            raise ValueError("give it compare, or find")
        if bool(self.compare) != bool(self.reference):
            raise ValueError("a comparison needs a reference" if self.compare else "what is found has no reference")
        if self.find and self.provided:
            raise ValueError("conditions go with compare; make two claims of two findings")
        return self

    @model_validator(mode="after")
    def _distinct(self) -> Claim:
        measures = [(part.metric, part.stage, part.tolerance) for part in (self.decides, *self.provided)]
        if len(set(measures)) < len(measures):
            raise ValueError("two of its comparisons are of the same measure")
        return self


class Rules(Model):
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of intervals")
    dense: str = Field("none", description="the method from whose accuracy before pruning a tolerance is counted")
    claims: list[Claim] = Field(min_length=1)

    @model_validator(mode="after")
    def _distinct(self) -> Rules:
        names = [claim.id for claim in self.claims]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two claims have the id {name}")
        return self

    @property
    def level(self) -> float:
        """Of one-sided tests: the share of errors that a two-sided interval makes on one side."""
        return (1 - self.confidence) / 2


Files = str | os.PathLike | Sequence[str | os.PathLike]  # of claims: one, or one a paper


def files(given: Files) -> list[Path]:
    """The files of claims in `given`."""
    return [Path(given)] if isinstance(given, str | os.PathLike) else [*map(Path, given)]


def load(given: Files) -> Rules:
    """The claims in one or several YAML files, one after another, which must agree in everything else.

    InputError, one line, names the first key that is wrong, and two files that do not go together.
    """
    first, *others = ((path, _read(path)) for path in files(given))
    found = first[1]
    for path, more in others:
        for name in ("confidence", "dense"):
            if getattr(more, name) != getattr(found, name):
                raise InputError(f"{path}: another {name} than in {first[0]}; claims judged together need the same")
        twice = {claim.id for claim in found.claims} & {claim.id for claim in more.claims}
        if twice:
            raise InputError(f"{path}: a claim has the id {min(twice)}, which one in another file has too")
        found = found.model_copy(update={"claims": [*found.claims, *more.claims]})
    return found


class Paper(NamedTuple):
    """What a file of claims is about; `source` names authors, venue and year."""

    title: str
    source: str
    url: str


def papers(given: Files) -> list[Paper]:
    """The papers that papers.csv beside the files of claims has for them. InputError for a faulty one."""
    found = []
    for path in files(given):
        listed = path.parent / "papers.csv"
        if not listed.is_file():
            continue
        try:
            with listed.open(encoding="utf-8", newline="") as stream:
                known = {row.pop("claims"): Paper(**row) for row in csv.DictReader(stream)}
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{listed}: its columns are claims, title, source, url ({error})") from error
        found += [known[path.stem]] if path.stem in known else []
    return found


def _read(path: Path) -> Rules:
    content = yamlfile.read(path)
    try:
        return Rules.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: {_fault(error.errors()[0], content)}") from error


def _fault(fault: Any, content: Any) -> str:
    """One line about a fault that pydantic found in `content`; a claim is named by its id where it has one."""
    path = list(fault["loc"])
    if path[:1] == ["claims"] and len(path) > 1:
        claim = content["claims"][path[1]]
        path[1] = claim.get("id", path[1]) if isinstance(claim, dict) else path[1]
    if "find" in path:
        model = Finding
    else:
        model = Comparison if {"compare", "provided"} & set(path) else Claim if path[:1] == ["claims"] else Rules
    if fault["type"] == "extra_forbidden":
        return f"{_joined(path[:-1])}: {unknown('key', path[-1], model.model_fields)}"
    if fault["type"] == "literal_error":
        return (
            f"{_joined(path)}: {unknown(path[-1], fault['input'], get_args(model.model_fields[path[-1]].annotation))}"
        )
    if fault["type"] == "missing":
        return f"{_joined(path)} is missing"
    if fault["type"] == "value_error":
        return f"{_joined(path)}: {fault['ctx']['error']}"
    return f"{_joined(path)}: {fault['msg']}, got {fault['input']!r}"


def _joined(path: list) -> str:
    return ".".join(map(str, path)) or "the top level"
