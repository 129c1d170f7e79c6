"""The training loop: stochastic gradient descent as in the paper, resumable at any step with the same bits.

Not for choosing channels or for knowing methods: a method adds its gradient through methods.base.
"""

from __future__ import annotations

import math
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from slimming import data, tensorfile
from slimming.errors import InputError, SlimmingError
from slimming.measuring import accuracy
from slimming.methods.base import Method, Step
from slimming.networks.base import Network
from slimming.settings import Machine, Schedule
from slimming.training.engine import Differentiation
from slimming.training.flat import FlatParameters

SAVE_SHARE = 0.02  # of a training's time may go into saving its state
HISTORY = ("lr", "loss", "accuracy", "test_loss", "test_accuracy")


class DivergedError(SlimmingError):
    """The loss is not finite. `history` holds the epochs before."""

    def __init__(self, message: str, history: dict[str, list[float]]):
        super().__init__(message)
        self.history = history


def learning_rate(schedule: Schedule, epoch: int, epochs: int) -> float:
    """The rate of `epoch` (from 0): lr * decay^(milestones passed), a milestone at max(1, int(fraction * epochs))."""
    passed = sum(epoch >= max(1, int(fraction * epochs)) for fraction in schedule.milestones)
    return schedule.lr * schedule.lr_decay**passed


@dataclass
class State:
    """Where a training stands: before step `step` of epoch `epoch`, with the running sums of that epoch."""

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    sums: Tensor = field(default_factory=lambda: torch.zeros(2, dtype=torch.float64))  # loss, hits
    history: dict[str, list[float | None]] = field(default_factory=lambda: {key: [] for key in HISTORY})


def train(
    net: Network,
    dataset: data.Dataset,
    schedule: Schedule,
    method: Method,
    seed: int,
    epochs: int,
    resume: str | os.PathLike,
    identity: str,
    first_epoch: int = 0,
    machine: Machine = Machine(),  # noqa: B008 (frozen)
) -> State:
    """Train `net` in place and return the history; the state is kept in the file `resume` until the caller removes it.

    The step is w <- w - lr v, v <- m v + g + wd w, g the loss's gradient plus the method's. Order, augmentation and
    the method's random numbers are functions of (seed, first_epoch + epoch). A state in `resume` that was saved for
    the same `identity` is continued, with the same bits as a training that never stopped. Epochs without a test have
    None for its loss and accuracy.

    In bfloat16 (`machine.precision`) convolutions compute with rounded weights and activations; weights, scaling
    factors, penalty, momentum and loss stay float32, and so does `net` when it is returned.

    Raises DivergedError when the loss is not finite.
    """
    net.to(dataset.train_labels.device, memory_format=torch.channels_last)  # convolutions are faster so everywhere
    flat = FlatParameters(net, machine.precision)
    images = len(dataset.train_labels)
    steps = len(data.spans(images, schedule.batch_size))
    step = Step(
        net,
        *(flat.parts[name] for name in ("gamma", "shift", "weights")),
        flat.layers,
        schedule.momentum,
        schedule.weight_decay,
        epochs * steps,
        torch.Generator(flat.values.device),
        tuple(dataset.train_images.shape[1:]),
    )
    method.prepare(step)
    kept = {"values": flat.values, "momentum": flat.momentum}
    kept |= {f"buffer.{name}": value for name, value in net.named_buffers()}
    kept |= {f"method.{name}": value for name, value in step.state.items()}
    state = _restored(resume, identity, kept)
    state.sums = state.sums.to(flat.values.device)
    penalty = None if type(method).loss is Method.loss else lambda: method.loss(step)
    differentiate = Differentiation(net, flat, penalty, state.sums, machine)
    clock = Clock(state.seconds)
    with Progress(epochs, steps, state) as progress:
        while state.epoch < epochs:
            step.lr = learning_rate(schedule, state.epoch, epochs)
            step.epoch = state.epoch
            if state.step == 0:
                method.on_epoch(step)
            net.train()
            batches = data.batches(dataset, schedule.batch_size, seed, first_epoch + state.epoch, first=state.step)
            for batch, labels in batches:
                step.number, step.images, step.labels = state.epoch * steps + state.step, batch, labels
                place = seed, first_epoch + state.epoch, state.step
                step.generator.manual_seed(data.stream_seed("method", *place))
                torch.manual_seed(data.stream_seed("network", *place))  # of adopted networks: dropout draws from it
                method.before_step(step)
                differentiate(batch, labels)
                method.add_gradient(step)
                flat.update(step.lr, schedule.momentum, schedule.weight_decay)
                method.after_step(step)
                state.step += 1
                progress.step()
                if clock.save_due():
                    state.seconds = clock.seconds()
                    _save(resume, identity, kept, state)
                    clock.saved()
            mean_loss, hits = (state.sums / images).tolist()
            flat.round()
            tested = (state.epoch + 1) % schedule.evaluate_every == 0 or state.epoch + 1 == epochs
            test = accuracy.evaluate(net, dataset) if tested else {"loss": None, "accuracy": None}
            losses = mean_loss + (test["loss"] or 0)
            if not math.isfinite(losses) or not torch.isfinite(flat.values).all():
                raise DivergedError(
                    f"the loss is not finite in epoch {state.epoch + 1} of {epochs} (lr {step.lr:g}): "
                    "lower the learning rate or the method's strength",
                    state.history,
                )
            row = (step.lr, mean_loss, hits, test["loss"], test["accuracy"])
            for key, value in zip(HISTORY, row, strict=True):
                state.history[key].append(value)
            state.epoch, state.step = state.epoch + 1, 0
            state.sums.zero_()
            progress.epoch(state)
    flat.restore()
    method.finish(step)
    state.seconds = clock.seconds()
    return state


class Clock:
    """Seconds of training over all its sessions, and when to save: so often that it costs SAVE_SHARE of the time."""

    def __init__(self, before: float):
        self.begin = time.monotonic() - before
        self.due, self.asked = 0.0, 0.0

    def seconds(self) -> float:
        return time.monotonic() - self.begin

    def save_due(self) -> bool:
        self.asked = time.monotonic()
        return self.asked >= self.due

    def saved(self) -> None:
        now = time.monotonic()
        self.due = now + (now - self.asked) / SAVE_SHARE


def _save(path: str | os.PathLike, identity: str, kept: dict[str, Tensor], state: State) -> None:
    header = {"identity": identity, "epoch": state.epoch, "step": state.step}
    header |= {"seconds": state.seconds, "history": state.history}
    tensorfile.write(path, {**kept, "sums": state.sums}, header)


def _restored(path: str | os.PathLike, identity: str, kept: dict[str, Tensor]) -> State:
    """The saved state, its tensors copied into `kept`; a fresh one if nothing usable was saved."""
    if not Path(path).is_file():
        return State()
    try:
        tensors, header = tensorfile.read(path)
    except InputError as error:
        print(f"starting over: {error}", file=sys.stderr)
        return State()
    if header["identity"] != identity:
        print(f"starting over: {path} was saved by a run with other settings", file=sys.stderr)
        return State()
    for name, value in kept.items():
        value.copy_(tensors[name])
    print(f"continuing at epoch {header['epoch'] + 1}, step {header['step'] + 1}", file=sys.stderr)
    return State(header["epoch"], header["step"], header["seconds"], tensors["sums"].clone(), header["history"])


class Progress:
    """A bar on a terminal; one plain line an epoch in a log."""

    def __init__(self, epochs: int, steps: int, state: State):
        self.epochs = epochs
        done = state.epoch * steps + state.step
        self.bar = tqdm(total=epochs * steps, initial=done, unit="step", disable=not sys.stderr.isatty())

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def step(self) -> None:
        self.bar.update()

    def epoch(self, state: State) -> None:
        last = {key: values[-1] for key, values in state.history.items()}
        text = f"loss {last['loss']:.4f} accuracy {last['accuracy']:.4f}"
        if last["test_accuracy"] is not None:
            text += f" test {last['test_accuracy']:.4f}"
        if self.bar.disable:
            print(f"epoch {state.epoch}/{self.epochs} lr {last['lr']:g} {text}", file=sys.stderr, flush=True)
        else:
            self.bar.set_postfix_str(text)
