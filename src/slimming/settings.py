"""Settings: what a study says, part by part, and the one line about what is wrong with it. Imports no torch.

What training needs of a study is here: Schedule and Machine. Not for the grid of runs: that is study's.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from slimming.errors import InputError, unknown

Ratio = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Model(BaseModel):
    """Immutable, and strict about keys: a mistyped one is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Schedule(Model):
    """SGD as in the paper: constant learning rate, cut at the given fractions of the epochs."""

    epochs: int = Field(160, ge=1, description="epochs of training")
    batch_size: int = Field(64, ge=2, description="BatchNorm needs two; a last batch of one joins the one before")
    lr: float = Field(0.1, gt=0, description="initial learning rate")
    milestones: tuple[Fraction, ...] = Field(
        (0.5, 0.75), description="fractions of the epochs after which lr is cut, never before the first epoch has ended"
    )
    lr_decay: float = Field(0.1, gt=0, le=1, description="factor of each cut")
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(1e-4, ge=0, description="on every parameter, scaling factors included")
    evaluate_every: int = Field(
        1,
        ge=1,
        exclude_if=lambda every: every == 1,
        description="epochs from test to test; the last one always",
    )


class Dataset(Model):
    image_size: int | None = Field(None, ge=8, description="resize to this many pixels; default: as published")
    folder: str | None = Field(None, description="images of your own: a folder with a folder a class, or train/, test/")
    npz: str | None = Field(None, description="images of your own: arrays x_train, y_train, x_test, y_test")
    test: Fraction | None = Field(None, description="share set aside where your images are in one part; default: 0.2")
    flip: bool | None = Field(None, description="whether your images may be mirrored in training; default: yes")
    padding: int | None = Field(None, ge=0, description="pixels before your images are cropped; default: size / 8")
    schedule: dict[str, Any] = Field({}, description="differs from the study's schedule in these keys")

    def own(self) -> dict[str, Any] | None:
        """What datasets.own needs of images of somebody's own; None for a published data set."""
        settings = self.model_dump(exclude={"schedule"}, exclude_none=True)
        if not settings.keys() & {"folder", "npz"}:
            if rest := settings.keys() & {"test", "flip", "padding"}:
                raise InputError(f"{min(rest)} is for images of your own: name their folder or npz")
            return None
        if {"folder", "npz"} <= settings.keys():
            raise InputError("folder and npz are two data sets; name one")
        return settings


class Network(Model):
    """What it says besides are options of the architecture's family: `growth` of DenseNet, say.

    Or they are arguments of the function that builds somebody else's network (networks.adoption).
    """

    model_config = ConfigDict(extra="allow")

    build: str | None = Field(
        None,
        description="architecture, where the entry's name is not one; or a function that builds a network of your own, "
        "package.module:function or file.py:function",
    )
    state_dict: str | None = Field(
        None, description="weights of a network of your own to start from, a safetensors file"
    )
    selection: Literal["own", "coupled"] = Field(
        "own",
        exclude_if=lambda selection: selection == "own",
        description="of a network of your own: whether BatchNorms that are added lose the same channels",
    )
    width: float = Field(1.0, gt=0, description="multiplies every channel count")
    schedule: dict[str, Any] = Field({}, description="differs from the study's schedule in these keys")


class Finetune(Model):
    ratios: list[Ratio] = Field([], description="the ratios of the study that are fine-tuned too")
    epochs: int | None = Field(None, ge=1, description="default: as many as the training had")


class Scratch(Model):
    ratios: list[Ratio] = Field([], description="the ratios of the study whose shapes are trained from scratch too")


class Machine(Model):
    """What computes a run, and how: part of its identity, because all of it changes the bits."""

    threads: int = Field(1, ge=1, description="CPU threads of a job; their number changes the bits")
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["fp32", "bf16"] = Field("fp32", description="of convolutions in training; measured in fp32")
    compile: bool = Field(False, description="by torch.compile: pays for trainings of hours, costs minutes each")


def validated(model: type[Model], content: Any, origin: str) -> Any:
    """`content` as `model`; pydantic's report becomes one line about the first fault."""
    try:
        return model.model_validate(content)
    except InputError as error:
        raise InputError(f"{origin}: {error}") from error
    except ValidationError as error:
        # A mistyped key is both unknown and missing; the first says more.
        fault = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
        where = ".".join(map(str, fault["loc"])) or "the top level"
        if fault["type"] == "missing":
            raise InputError(f"{origin}: {where} is missing") from error
        if fault["type"] == "extra_forbidden":
            known = _keys(model, fault["loc"][:-1])
            raise InputError(f"{origin}: {where}: {unknown('key', fault['loc'][-1], known)}") from error
        raise InputError(f"{origin}: {where}: {fault['msg']}, got {fault['input']!r}") from error


def _keys(model: type[Model], path: tuple) -> list[str]:
    """The keys that the mapping at `path` inside `model` may have."""
    nested = {"datasets": Dataset, "networks": Network, "schedule": Schedule}
    nested |= {"finetune": Finetune, "scratch": Scratch}
    found = next((nested[part] for part in reversed(path) if part in nested), model)
    return list(found.model_fields)
