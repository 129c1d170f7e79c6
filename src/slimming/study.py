"""Studies: one YAML file says data sets x networks x methods x seeds x ratios and the schedule; here it becomes runs.

A study is checked whole before anything runs. This module imports no torch: the Snakefile reads it at every call.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from slimming import analyses, datasets, methods, networks, yamlfile
from slimming.errors import InputError, unknown
from slimming.naming import LONGEST, NAME, Name, letters, named_alike
from slimming.settings import (
    Dataset,
    Finetune,
    Machine,
    Network,
    Ratio,
    Schedule,
    Scratch,
    Seed,
    validated,
)
from slimming.stages.table import STAGES, Stage

OWN = ("label", "seeds")  # keys of a method's entry that are no parameters


class Run(Machine):
    """One training and what follows: data set x network x method x seed, with everything that decides its bits."""

    study: Name
    dataset: str
    source: dict[str, Any] | None = Field(
        None, exclude_if=lambda source: source is None, description="images of your own (datasets.own)"
    )
    image_size: int | None = None
    network: Name
    architecture: dict[str, Any]
    method: dict[str, Any]
    method_slug: Name
    seed: Seed
    schedule: Schedule = Schedule()

    @model_validator(mode="after")
    def _known(self) -> Run:
        if self.source:
            datasets.add(self.dataset, self.source)
        else:
            _refuse(datasets.registry(), "data set", self.dataset)
        options = {key: value for key, value in self.architecture.items() if key not in ("name", "width")}
        networks.check(self.architecture.get("name", ""), options)
        _get_method(self.method)
        return self

    @property
    def slug(self) -> str:
        """Path of the run below a study's checkpoints and records."""
        return f"{self.dataset}/{self.network}/{self.method_slug}/seed{self.seed}"

    def settings(self) -> str:
        """The run as one line of JSON, as the command line takes it."""
        return json.dumps(self.model_dump(mode="json", exclude_none=True), sort_keys=True)


class Study(Machine):
    name: Name
    description: str = ""
    datasets: dict[str, Dataset] = Field(min_length=1)
    networks: dict[Name, Network] = Field(min_length=1)
    methods: list[dict[str, Any]] = Field(
        min_length=1, description="a parameter may be a list: a method for each value; `seeds`: other than the study's"
    )
    lam: dict[str, float] = Field(1e-4, validate_default=True, description="strength of penalties, one or by network")
    seeds: list[Seed] = Field(min_length=1)
    ratios: list[Ratio] = Field(min_length=1, description="shares to remove, of what the budget says")
    budget: Literal["channels", "parameters", "macs"] | None = Field(
        None, description="what a ratio is a share of, for all methods; default: what each method counts"
    )
    round_to: int | None = Field(None, ge=1, description="pruned widths stay multiples of this")
    compensate: bool = Field(False, description="prune once more, with constants folded into biases")
    recalibrate: bool = Field(False, description="prune once more, with BatchNorm's statistics taken anew")
    allow_missing: bool = Field(
        False,
        exclude_if=lambda allowed: not allowed,
        description="report on what there is where a run fails; what is missing is said everywhere",
    )
    claims: list[Name] = Field(
        ["nonconvex-slimming"],
        min_length=1,
        exclude_if=lambda names: names == ["nonconvex-slimming"],
        description="papers whose claims are judged: files of config/claims/",
    )
    analyses: list[Name] = Field(
        [],
        exclude_if=lambda names: not names,
        description="what networks do, beside how well: ablation, xgrad-cam",
    )
    finetune: Finetune = Finetune()
    scratch: Scratch = Scratch()
    schedule: Schedule = Schedule()

    @field_validator("datasets", "networks", mode="before")
    @classmethod
    def _defaults(cls, value: Any) -> Any:
        """`digits:` without settings means all defaults."""
        return {key: settings or {} for key, settings in value.items()} if isinstance(value, dict) else value

    @field_validator("lam", mode="before")
    @classmethod
    def _by_network(cls, value: Any, info: ValidationInfo) -> Any:
        """One strength counts for every network."""
        return value if isinstance(value, dict) else dict.fromkeys(info.data.get("networks", ()), value)

    @field_validator("methods", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        """`l1` is short for `{name: l1}`."""
        if not isinstance(value, list):
            return value
        return [{"name": item} if isinstance(item, str) else _numbers(item) for item in value]

    @model_validator(mode="after")
    def _consistent(self) -> Study:
        subsets = {"finetune": self.finetune.ratios, "scratch": self.scratch.ratios}
        for key, ratio in ((key, ratio) for key, ratios in subsets.items() for ratio in ratios):
            if ratio not in self.ratios:
                raise InputError(f"{key} ratio {ratio:g} is not among the ratios {self.ratios}")
        for parameter, value in [("lam", self.lam), *(item for method in self.methods for item in method.items())]:
            for key in value if isinstance(value, Mapping) else ():
                _refuse(self.networks, f"network in {parameter}", key)
        for name in self.analyses:
            analyses.get(name)
        for ratio in self.ratios:
            if float(f"{ratio:g}") != ratio:
                raise InputError(f"ratios: {ratio} has more than the six digits that names of files hold")
        named = {"ratios": self.ratios} | {f"{key}.ratios": ratios for key, ratios in subsets.items()}
        texts = {key: [f"{ratio:g}" for ratio in ratios] for key, ratios in named.items()}
        own = {
            f"seeds of {_name(method)}": _seeds(method["seeds"], _name(method))
            for method in self.methods
            if "seeds" in method
        }
        for key, values in [("seeds", self.seeds), *own.items(), *texts.items()]:
            for value in values:
                if values.count(value) > 1:
                    raise InputError(f"{key} holds {value} twice")
        for method in {run.method["name"]: methods.get(**run.method) for run in self.runs()}.values():
            if self.budget and self.budget not in method.budgets:
                raise InputError(
                    f"budget: {method.slug} can have one of {' or '.join(method.budgets)}, not {self.budget}"
                )
            if self.round_to and "channels" not in method.budgets:
                raise InputError(f"round_to: {method.slug} does not choose channels alone, and has no widths to round")
        slugs = [run.slug for run in self.runs()]
        twice = {slug for slug in slugs if slugs.count(slug) > 1} if len(slugs) > len(set(slugs)) else set()
        if twice:
            raise InputError(f"methods: two share the slug of {min(twice)}; give one of them a `label`")
        grid = dict.fromkeys(tuple(slug.split("/")[:3]) for slug in slugs)
        endings = [(stage, "at", ratio) if STAGES[stage].parent else (stage,) for stage, ratio in self.steps()]
        alike = named_alike((stage, *place, *ratio) for place in grid for stage, *ratio in endings)
        if alike:
            one, other = ("/".join(map(str, names[1:4])) for names in alike)
            raise InputError(
                f"{one} and {other} would have one name in the paper, \\{letters(*alike[0])}; "
                "give a network another name, or a method another label"
            )
        return self

    def runs(self) -> list[Run]:
        """Every run of the grid, in the order of the file."""
        grid = itertools.product(self.datasets, self.networks, self._entries())
        return [
            self._run(dataset, network, method, listed, seed)
            for dataset, network, (method, listed) in grid
            for seed in _seeds(method.get("seeds", self.seeds), _name(method))
        ]

    def shared(self) -> dict[str, Run]:
        """{slug of a run: another run whose trained network it takes, because it would train the same}."""
        first: dict[tuple, Run] = {}
        found = {}
        runs = [(run, _get_method(run.method)) for run in self.runs()]
        for run, method in sorted(runs, key=lambda pair: pair[1].training() != pair[1]):
            rest = run.model_dump_json(exclude={"method", "method_slug"})
            found[run.slug] = first.setdefault((rest, method.training()), run)
        return {slug: other for slug, other in found.items() if other.slug != slug}

    def finds(self) -> list[str]:
        """What the methods find out while they plan, of what has a figure of its own (reporting.found)."""
        return [*dict.fromkeys(item for run in self.runs() for item in getattr(_get_method(run.method), "finds", ()))]

    def steps(self) -> list[tuple[str, float]]:
        """(stage, ratio) of every checkpoint that a run makes, in the order of stages.table."""
        return [(stage.name, ratio) for stage in STAGES.values() for ratio in self._ratios(stage)]

    def epochs(self, stage: Stage, run: Run) -> int:
        """Epochs of a stage that trains, as the study asks: its own, or those of the run's schedule."""
        return getattr(getattr(self, stage.key or "", None), "epochs", None) or run.schedule.epochs

    def _ratios(self, stage: Stage) -> list[float]:
        asked = True if stage.key is None else getattr(self, stage.key)
        if isinstance(asked, bool):
            return (self.ratios if stage.parent else [0.0]) if asked else []
        return asked.ratios

    def settings(self) -> str:
        """The study as one line of JSON, as the command line takes it."""
        return json.dumps(self.model_dump(mode="json", exclude_none=True), sort_keys=True)

    def _entries(self) -> Iterator[tuple[dict, dict[str, list]]]:
        """Every method with one value for each parameter, and the lists that the study gives, by parameter."""
        for method in self.methods:
            listed = {
                key: value for key, value in method.items() if isinstance(value, list) and key not in ("name", *OWN)
            }
            for key, values in listed.items():
                if not values:
                    raise InputError(f"methods: {key} of {_name(method)} is an empty list")
            for values in itertools.product(*listed.values()):
                yield method | dict(zip(listed, values, strict=True)), listed

    def _run(self, dataset: str, network: str, method: Mapping, listed: Mapping[str, list], seed: int) -> Run:
        settings = self.networks[network]
        architecture = _architecture(network, settings)
        given = {key: value for key, value in method.items() if key not in OWN}
        if methods.takes(_name(given), "lam"):
            given = {"lam": self.lam} | given
        parameters = {key: _for_network(key, value, network) for key, value in given.items()}
        label = str(method.get("label") or _get_method(parameters).slug)
        for key, values in listed.items():
            slugs = {_get_method(parameters | {key: _for_network(key, value, network)}).slug for value in values}
            if "label" in method or len(slugs) < len(values):  # the slug does not tell them apart
                label += f"-{key}{_text(parameters[key])}"
        if not re.fullmatch(NAME, label) or len(label) > LONGEST:
            raise InputError(
                f"methods: the label {label!r} is no name of a folder, which must match {NAME} "
                f"and have at most {LONGEST} characters"
            )
        changed = self.datasets[dataset].schedule | settings.schedule
        return Run(
            study=self.name,
            dataset=dataset,
            source=self.datasets[dataset].own(),
            image_size=self.datasets[dataset].image_size,
            network=network,
            architecture=architecture,
            method=parameters,
            method_slug=label,
            seed=seed,
            schedule=validated(Schedule, self.schedule.model_dump() | changed, f"schedule of {dataset}, {network}"),
            **{setting: getattr(self, setting) for setting in Machine.model_fields},
        )


def load(path: str | os.PathLike) -> Study:
    """The study in a YAML file, or in JSON text (Study.settings). InputError names the first key that is wrong."""
    if str(path).startswith("{"):
        return parse(_json(str(path), "study"), "study")
    return parse(yamlfile.read(path), str(path))


def parse(content: Any, origin: str) -> Study:
    """The study in a mapping read from `origin`."""
    return validated(Study, content, origin)


def parse_run(text: str) -> Run:
    """The run that one line of JSON (Run.settings) describes."""
    return validated(Run, _json(text, "run"), "run")


def _architecture(network: str, settings: Network) -> dict[str, Any]:
    """What builds a network of a study. InputError for a key that it has no use for."""
    name, options = settings.build or network, settings.model_extra or {}
    if networks.is_foreign(name):
        if settings.width != 1:
            raise InputError(f"networks.{network}: width is of this project's own networks; {name} has its arguments")
        said = {"selection": settings.selection, "state_dict": settings.state_dict, "arguments": options}
        return {"name": name, **{key: value for key, value in said.items() if value}}
    known = [key for key in Network.model_fields if key not in ("state_dict", "selection")]
    family, _ = networks.parse(name)
    for key in settings.model_fields_set | options.keys():
        _refuse([*known, *networks.families()[family].options], f"key of networks.{network}", key)
    return {"name": name, "width": settings.width, **options}


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(f"the {what} is not JSON ({error}); copy it from a record or a printed command") from error


def _numbers(value: Any) -> Any:
    """Numbers that YAML 1.1 reads as text ("1e-4") as numbers; `name` and `label` stay text."""
    if isinstance(value, dict):
        return {key: item if key in ("name", "label") else _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _refuse(known: Collection[str], kind: str, name: str) -> None:
    if name not in known:
        raise unknown(kind, name, known)


def _get_method(parameters: Mapping[str, Any]) -> methods.Method:
    _name(parameters)
    return methods.get(**parameters)


def _name(method: Mapping[str, Any]) -> str:
    if not isinstance(method.get("name"), str):
        raise InputError(f"methods: {dict(method)} has no name")
    return method["name"]


def _seeds(seeds: Any, method: str) -> list[int]:
    """The seeds of a method, its own or the study's. InputError unless they are a list of whole numbers from 0."""
    try:
        return TypeAdapter(Annotated[list[Seed], Field(min_length=1)]).validate_python(seeds, strict=True)
    except ValidationError as error:
        raise InputError(f"methods: seeds of {method} are a list of whole numbers from 0, not {seeds!r}") from error


def _text(value: Any) -> str:
    """A value as a part of a slug."""
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _for_network(parameter: str, value: Any, network: str) -> Any:
    """A method's parameter, given for all networks or by network."""
    if not isinstance(value, Mapping):
        return value
    if network not in value:
        raise InputError(f"{parameter} names {', '.join(value)} but not {network}")
    return value[network]
