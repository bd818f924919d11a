"""The training loop of every estimator: skorch around batches of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, LRScheduler, PassthroughScoring, ProgressBar
from skorch.helper import predefined_split
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from sksimclr._engine.batch_rows import BatchRow, fetch, merge, n_batches_of
from sksimclr._engine.batches import BatchDataset, Batches
from sksimclr._engine.checkpoints import CheckpointFolder, Saver
from sksimclr._engine.state import State, capture, restore
from sksimclr._machine.processes import Processes, same_everywhere
from sksimclr._machine.random import make_generator, torch_seeded
from sksimclr._machine.signals import Interrupted, Interruption

OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, float]]] = {
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9}),
}
_WARM_UP = 0.1  # part of the steps in which the cosine schedule rises to its maximum


@dataclass(frozen=True)
class Seeds:
    """What a training run draws from.

    Attributes
    ----------
    order : int
        Of the order of the images.
    views : int
        Of the views of each image.
    layers : int or None
        Of layers that draw from torch's global generators, such as dropout; None if
        there are none, and no need to hold the lock on those generators.
    """

    order: int
    views: int
    layers: int | None


@dataclass(frozen=True)
class LoopPlan:
    """How and where to run the loop.

    Attributes
    ----------
    max_epochs, batch_size, lr, weight_decay, optimizer, lr_schedule, callbacks, verbose
        The parameters of the estimator so named.
    device : torch.device
    seeds : Seeds
    processes : Processes
        Those that share each batch and save one run; by default this one alone.
    """

    max_epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    optimizer: str
    lr_schedule: str | None
    callbacks: Sequence[Any]
    verbose: int
    device: torch.device
    seeds: Seeds
    processes: Processes = Processes()


def run_loop(
    model: nn.Module,
    criterion: nn.Module,
    dataset: BatchDataset,
    plan: LoopPlan,
    *,
    own_callbacks: Sequence[Callback] = (),
    valid_dataset: BatchDataset | None = None,
    checkpoints: CheckpointFolder | None = None,
    state: State | None = None,
) -> tuple[list[dict[str, Any]], State]:
    """Train `model` in place, until the end or until a callback stops it.

    Parameters
    ----------
    model : nn.Module
        From a batch of images to what `criterion` compares with the targets, with an
        attribute `generator`, all it draws from besides layers. Left on the device.
    criterion : nn.Module
        Its mean over an epoch counts each batch by its number of images, or by what a
        method `weight_of` says of the batch's targets.
    dataset : BatchDataset
        At least two images.
    plan : LoopPlan
    own_callbacks : sequence of skorch callbacks
        Run before the caller's, which are in `plan`.
    valid_dataset : BatchDataset, optional
        Images on which the loss is measured after every epoch.
    checkpoints : CheckpointFolder, optional
        Where the run is saved, and from where it goes on if it was.
    state : dict, optional
        Of an earlier run, to go on from.

    Returns
    -------
    history : list of dict
        A row for each epoch: "epoch", "loss" (mean over the images), maybe
        "valid_loss", "lr", "seconds", "images_per_second" and what callbacks recorded.
    state : dict
        From which another run can go on; not a copy.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C. With `checkpoints`, the run was saved after the last batch.
    """
    batches = Batches(
        dataset,
        batch_size=plan.batch_size,
        device=plan.device,
        generator=make_generator(plan.seeds.order),
        processes=plan.processes,
    )
    interruption = Interruption()
    layers_draw = plan.seeds.layers is not None
    if checkpoints is not None:
        state = _saved(checkpoints, plan) or state
    callbacks = [
        *_callbacks(plan, len(batches), own_callbacks),
        Saver(checkpoints, state, batches, interruption, layers_draw=layers_draw),
    ]
    net = _make_net(model, criterion, batches, plan, callbacks, valid_dataset)
    net.initialize()
    with (
        nullcontext() if plan.seeds.layers is None else torch_seeded(plan.seeds.layers),
        nullcontext() if checkpoints is None or plan.processes else interruption,
    ):
        net.notify("on_train_begin", X=dataset, y=None)
        if state is not None:
            with nullcontext() if checkpoints is None else checkpoints.misfit_named():
                restore(net, batches, state)
        is_interrupted = False
        try:
            net.fit_loop(dataset, epochs=max(0, plan.max_epochs - len(net.history)))
        except _EarlyStop:
            pass
        except Interrupted:
            is_interrupted = True
        if is_interrupted:  # not above, where it would be shown as an error's error
            interruption.deliver()
        net.notify("on_train_end", X=dataset, y=None)
        state = capture(net, batches, layers_draw=layers_draw)
    model.zero_grad()  # gradients would be as large as the model
    return [history_row(row) for row in net.history], state


def _saved(checkpoints: CheckpointFolder, plan: LoopPlan) -> State | None:
    """Return the state that the first process reads, the same in all of them.

    Raises a ValueError if the run was saved by more or fewer processes.
    """
    processes = plan.processes
    saved = checkpoints.read(plan.max_epochs) if processes.rank == 0 else None
    saved = cast(State | None, same_everywhere(saved, processes))
    n_processes = processes.n_processes if saved is None else len(saved["views"])
    if n_processes != processes.n_processes:
        raise ValueError(
            f"checkpoint_dir holds a run of {n_processes} process(es), and there are "
            f"{processes.n_processes}: their batches would differ. Go on with as many, "
            "or use another folder."
        )
    return saved


class _Net(NeuralNet):
    """skorch's net on batches of ours.

    Ctrl-C is an error and early stopping is not, a device is not waited for before the
    end of an epoch, and the history of an epoch stays short.
    """

    _batches: Batches

    def notify(self, method_name: str, **kwargs: Any) -> None:
        """Tell the callbacks; those that stop training raise KeyboardInterrupt."""
        try:
            super().notify(method_name, **kwargs)
        except KeyboardInterrupt as stop:
            if method_name != "on_epoch_end":
                raise
            raise _EarlyStop from stop

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        """Return batches of images, for other data sets those of skorch."""
        if training:
            return self._batches
        if isinstance(dataset, BatchDataset):
            return Batches(dataset, batch_size=self.batch_size, device=self.device)
        return super().get_iterator(dataset, training=training)

    def on_batch_begin(self, net: NeuralNet, *args: Any, **kwargs: Any) -> None:
        """Begin a row of the history."""
        self.history[-1]["batches"].append(BatchRow())

    def run_single_epoch(
        self, iterator: Any, training: bool, prefix: str, step_fn: Any, **kwargs: Any
    ) -> None:
        """Run an epoch as skorch does, and look at the losses when it is over."""
        if iterator is None:
            return
        weight_of = getattr(self.criterion_, "weight_of", None)
        measured = [f"{prefix}_loss", *([f"{prefix}_loss_weight"] if weight_of else [])]
        for batch in iterator:
            merge(self.history[-1]["batches"], prefix, measured)
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **kwargs)
            loss = step["loss"].detach()
            if loss.device.type == "cpu":  # many small tensors would split the memory
                loss = loss.item()
            self.history.record_batch(f"{prefix}_loss", loss)
            self.history.record_batch(f"{prefix}_batch_size", len(batch[0]))
            if weight_of is not None:
                self.history.record_batch(measured[1], weight_of(batch[1]))
            self.notify("on_batch_end", batch=batch, training=training, **step)
        rows = [row for row in self.history[-1]["batches"] if f"{prefix}_loss" in row]
        fetch(rows, measured)
        self.history.record(f"{prefix}_batch_count", n_batches_of(rows))


class _MeanLoss(PassthroughScoring):
    """The mean of a loss over the images of an epoch, whatever their batches."""

    def get_avg_score(self, history: Any) -> Any:
        """Return the mean over the batches."""
        names = [f"{self.name}_weight", self.name]
        if not any(names[0] in row for row in history[-1, "batches"]):
            return super().get_avg_score(history)  # by their numbers of images
        weights, losses = zip(*history[-1, "batches", :, names], strict=True)
        return np.average(losses, weights=weights)


class _EarlyStop(Exception):
    """A callback asked to stop training at the end of an epoch."""


def _make_net(
    model: nn.Module,
    criterion: nn.Module,
    batches: Batches,
    plan: LoopPlan,
    callbacks: list[Any],
    valid_dataset: BatchDataset | None,
) -> NeuralNet:
    """Put skorch together for one run of the loop."""
    optimizer, settings = OPTIMIZERS[plan.optimizer]
    if plan.device.type == "cuda":
        settings = settings | {"fused": True}
    net = _Net(
        model.to(memory_format=torch.channels_last),
        criterion=criterion,
        optimizer=optimizer,
        optimizer__weight_decay=plan.weight_decay,
        **{f"optimizer__{name}": value for name, value in settings.items()},
        lr=plan.lr,
        max_epochs=plan.max_epochs,
        batch_size=plan.batch_size,
        train_split=predefined_split(valid_dataset) if valid_dataset else None,
        predict_nonlinearity=None,
        callbacks__train_loss=_MeanLoss("train_loss", on_train=True),
        callbacks__valid_loss=_MeanLoss("valid_loss"),
        callbacks=callbacks,
        device=plan.device,
        verbose=plan.verbose,
        **({} if plan.verbose else {"callbacks__print_log": None}),
    )
    net._batches = batches
    return net


def _callbacks(
    plan: LoopPlan, n_batches: int, own_callbacks: Sequence[Callback]
) -> list[Any]:
    """Return ours, then the caller's."""
    record = _EpochRecord(plan.processes.n_processes)
    callbacks: list[Any] = [("epoch_record", record), *own_callbacks]
    if plan.lr_schedule == "cosine":
        schedule = _WarmUpCosine(plan.max_epochs * n_batches)
        scheduler = LRScheduler(LambdaLR, lr_lambda=schedule, step_every="batch")
        callbacks.append(("lr_schedule", scheduler))
    if plan.verbose:
        shown = (
            ["train_loss"] if plan.device.type == "cpu" else [""]
        )  # others would wait
        bar = ProgressBar(batches_per_epoch=n_batches, postfix_keys=shown)
        callbacks.append(("progress_bar", bar))
    return callbacks + list(plan.callbacks)


class _WarmUpCosine:
    """Factor of the learning rate: a linear rise, then half a cosine towards zero."""

    def __init__(self, n_steps: int):
        self._warm_up = max(1, round(_WARM_UP * n_steps))
        self._cosine = max(1, n_steps - self._warm_up) + 1

    def __call__(self, step: int) -> float:
        """Return the factor, in [0, 1], at `step`."""
        if step < self._warm_up:
            return (step + 1) / self._warm_up
        part = min(1.0, (step - self._warm_up + 1) / self._cosine)
        return 0.5 * (1 + math.cos(math.pi * part))


class _EpochRecord(Callback):
    """Add learning rate, speed and the time that is left to skorch's history."""

    def __init__(self, n_processes: int):
        self._n_processes = n_processes

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Note the learning rate the epoch starts with."""
        net.history.record("lr", net.optimizer_.param_groups[0]["lr"])

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Note how fast it was; skorch's own timer comes first."""
        n_images = sum(net.history[-1, "batches", :, "train_batch_size"])
        seconds = net.history[-1, "dur"]
        speed = n_images * self._n_processes / max(seconds, 1e-9)  # a clock may stop
        net.history.record("images_per_second", speed)
        left = seconds * (net.max_epochs - len(net.history))
        net.history.record("time_left", str(timedelta(seconds=round(left))))


# what skorch's history has for itself, and what of the rest has another name in ours
_OF_SKORCH = ("batches", "train_batch_count", "valid_batch_count", "time_left")
_RENAMED = {"train_loss": "loss", "dur": "seconds"}
_FIRST = ("epoch", "loss", "valid_loss", "alignment", "uniformity", "effective_rank")
_NEXT = ("lr", "seconds", "images_per_second")


def history_row(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of `history_` from an epoch of skorch's history."""
    kept = {
        _RENAMED.get(name, name): value.item()
        if isinstance(value, np.generic)
        else value
        for name, value in row.items()
        if name not in _OF_SKORCH and not name.endswith("_best")
    }
    return {name: kept[name] for name in (*_FIRST, *_NEXT, *kept) if name in kept}
