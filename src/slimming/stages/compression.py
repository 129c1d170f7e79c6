"""What a method has while it plans (methods.base.Setting): training images, the training loop, and finished parts.

A selection may take hours. What `remember` and `train` have finished lies beside the checkpoints until pruning is over,
and a job that was killed goes on from there with the same bits.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from torch import Tensor

from slimming import code, data, tensorfile
from slimming.errors import InputError
from slimming.methods.base import Method, Setting
from slimming.networks.base import Network
from slimming.pruning import Budget, Plan
from slimming.study import Run
from slimming.training import loop


class Work:
    """The planning of a run at all its ratios, each once, and what it took: {ratio: seconds and data passes}."""

    def __init__(self, run: Run, dataset: data.Dataset, folder: Path, parent: str, budget: Budget):
        self.run, self.dataset, self.folder = run, dataset, folder / "parts"
        self.identity = " ".join([parent, repr(budget), run.settings(), *code.closure("stages.prune", *code.kind(run))])
        self.setting = Setting(
            images=self.images,
            labels=dataset.train_labels,
            train=self.train,
            remember=self.remember,
            seed=run.seed,
            epochs=run.schedule.epochs,
            budget=budget,
        )
        self.known: set[str] = set()  # parts that this process has made, or counted
        self.plans: dict[float, Plan] = {}
        self.spent: dict[float, dict[str, float]] = {}
        self.passes, self.before = 0.0, 0.0  # data passes, and seconds before this process, of the plan in the making

    def plan(self, method: Method, net: Network, ratio: float) -> Plan:
        """The method's plan at a ratio, made at the first call. InputError for a form that the method does not name."""
        if ratio not in self.plans:
            self.passes, self.before, begin = 0.0, 0.0, time.monotonic()
            self.plans[ratio] = method.plan(net, ratio, self.setting)
            for form in self.plans[ratio].forms.values():
                if form and form["form"] not in method.forms:
                    raise InputError(
                        f"{method.slug} writes layers in the form {form['form']}, whose change would not rerun it: "
                        f"name it in the method's `forms`"
                    )
            seconds = self.before + time.monotonic() - begin
            self.spent[ratio] = {"seconds": round(seconds, 3), "passes": round(self.passes, 3)}
        return self.plans[ratio]

    def forget(self) -> None:
        """Remove finished parts."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def images(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in data.plain_batches(self.dataset, batch_size):
            self.passes += len(labels) / len(self.dataset.train_labels)
            yield images, labels

    def remember(self, name: str, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        path = self.folder / f"{name}.safetensors"
        kept = _read(path, self.identity)
        if kept is None:
            passes, begin = self.passes, time.monotonic()
            made = compute()
            took = {"seconds": time.monotonic() - begin, "passes": self.passes - passes}
            tensorfile.write(path, made, {"identity": self.identity, **took})
            self.known.add(name)
            return made
        tensors, header = kept
        if name not in self.known:  # an earlier process made it
            self.before += header["seconds"]
            self.passes += header["passes"]
            self.known.add(name)
        return {key: value.clone() for key, value in tensors.items()}

    def train(self, net: Network, method: Method, epochs: int, name: str, part: Tensor | None = None) -> None:
        dataset = self.dataset if part is None else data.part(self.dataset, part)

        def trained() -> dict[str, Tensor]:
            begin, resume = time.monotonic(), self.folder / f"{name}.resume"
            identity, first = f"{self.identity} {name} {epochs}", self.run.schedule.epochs
            state = loop.train(
                net, dataset, self.run.schedule, method, self.run.seed, epochs, resume, identity, first, self.run
            )
            self.before += max(0.0, state.seconds - (time.monotonic() - begin))
            self.passes += epochs * len(dataset.train_labels) / len(self.dataset.train_labels)
            return net.state_dict()

        net.load_state_dict(self.remember(name, trained))


def _read(path: Path, identity: str) -> tuple[dict[str, Tensor], dict] | None:
    """A finished part; None if there is none, or one of another network, other settings or other code."""
    try:
        tensors, header = tensorfile.read(path)
    except InputError:
        return None
    return (tensors, header) if header["identity"] == identity else None
