"""The training loop of every estimator: skorch around batches of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from skorch.callbacks import Callback, LRScheduler, ProgressBar
from skorch.helper import predefined_split
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset

from sksimclr._images import Images
from sksimclr._random import make_generator

OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, float]]] = {
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9}),
}
_WARM_UP = 0.1  # part of the steps in which the cosine schedule rises to its maximum


@dataclass(frozen=True)
class LoopPlan:
    """How to run the loop; every field is the parameter of the estimator so named."""

    max_epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    optimizer: str
    lr_schedule: str | None
    callbacks: Sequence[Any]
    verbose: int


def run_loop(
    model: nn.Module,
    criterion: nn.Module,
    dataset: BatchDataset,
    plan: LoopPlan,
    *,
    device: torch.device,
    order_seed: int,
    own_callbacks: Sequence[Callback] = (),
    valid_dataset: BatchDataset | None = None,
) -> list[dict[str, Any]]:
    """Train `model` in place, until the end or until a callback stops it.

    Parameters
    ----------
    model : nn.Module
        From a batch of images to what `criterion` compares with the targets. Left on
        `device`.
    criterion : nn.Module
    dataset : BatchDataset
        At least two images.
    plan : LoopPlan
        With at least one epoch.
    device : torch.device
    order_seed : int
        Seed of the order of the images.
    own_callbacks : sequence of skorch callbacks
        Run before the caller's, which are in `plan`.
    valid_dataset : BatchDataset, optional
        Images on which the loss is measured after every epoch.

    Returns
    -------
    list of dict
        A row for each epoch: "epoch", "loss" (mean over the batches), maybe
        "valid_loss", "lr", "seconds", "images_per_second" and what `own_callbacks`
        recorded.
    """
    net = _make_net(
        model,
        criterion,
        dataset,
        plan,
        device,
        order_seed,
        own_callbacks,
        valid_dataset,
    ).initialize()
    net.notify("on_train_begin", X=dataset, y=None)
    try:
        net.fit_loop(dataset)
    except _EarlyStop:
        pass
    net.notify("on_train_end", X=dataset, y=None)
    model.zero_grad()  # gradients would be as large as the model
    return [_history_row(row) for row in net.history]


def batch_sizes(n_images: int, batch_size: int) -> list[int]:
    """Return the sizes of the batches of one epoch.

    A last batch of a single image is left out: it has no negatives, and would break
    batch normalisation. A batch is never larger than the data.

    Examples
    --------
    >>> batch_sizes(10, 4), batch_sizes(9, 4), batch_sizes(3, 4)
    ([4, 4, 2], [4, 4], [3])
    """
    size = min(batch_size, n_images)
    rest = n_images % size
    return [size] * (n_images // size) + [rest] * (rest > 1)


class BatchDataset(Dataset[Any]):
    """Images as a torch data set that fetches a whole batch at a time.

    Parameters
    ----------
    images : Images
    targets : ndarray of shape (n_images,), int64, optional
        Zeros, which nobody reads, by default.
    rows : ndarray of int, optional
        Which of the images belong to the data set; all by default.
    """

    def __init__(
        self,
        images: Images,
        targets: NDArray[Any] | None = None,
        rows: NDArray[Any] | None = None,
    ):
        self._images = images
        n_images = len(images)
        self._targets = (
            torch.zeros(n_images) if targets is None else torch.from_numpy(targets)
        )
        self._rows = range(n_images) if rows is None else rows.tolist()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitems__(self, numbers: list[int]) -> tuple[Tensor, Tensor]:
        """Return a batch as skorch wants it: images and targets."""
        rows = [self._rows[number] for number in numbers]
        return torch.from_numpy(self._images.batch(rows)), self._targets[rows]


def _as_fetched(batch: Any) -> Any:
    """Collate nothing: `BatchDataset` returns whole batches."""
    return batch


class _Net(NeuralNet):
    """skorch's net, in which Ctrl-C is an error and early stopping is not."""

    def notify(self, method_name: str, **kwargs: Any) -> None:
        """Tell the callbacks; those that stop training raise KeyboardInterrupt."""
        try:
            super().notify(method_name, **kwargs)
        except KeyboardInterrupt as stop:
            if method_name != "on_epoch_end":
                raise
            raise _EarlyStop from stop


class _EarlyStop(Exception):
    """A callback asked to stop training at the end of an epoch."""


def _make_net(
    model: nn.Module,
    criterion: nn.Module,
    dataset: BatchDataset,
    plan: LoopPlan,
    device: torch.device,
    order_seed: int,
    own_callbacks: Sequence[Callback],
    valid_dataset: BatchDataset | None,
) -> NeuralNet:
    """Put skorch together for one run of the loop."""
    optimizer, settings = OPTIMIZERS[plan.optimizer]
    sizes = batch_sizes(len(dataset), plan.batch_size)
    return _Net(
        model.to(memory_format=torch.channels_last),
        criterion=criterion,
        optimizer=optimizer,
        optimizer__weight_decay=plan.weight_decay,
        **{f"optimizer__{name}": value for name, value in settings.items()},
        lr=plan.lr,
        max_epochs=plan.max_epochs,
        batch_size=sizes[0],
        iterator_train=DataLoader,
        iterator_train__shuffle=True,
        iterator_train__drop_last=sum(sizes) < len(dataset),
        iterator_train__generator=make_generator(order_seed),
        iterator_train__collate_fn=_as_fetched,
        iterator_valid__collate_fn=_as_fetched,
        train_split=predefined_split(valid_dataset) if valid_dataset else None,
        predict_nonlinearity=None,
        callbacks=_callbacks(plan, len(sizes), own_callbacks),
        device=device,
        verbose=plan.verbose,
        **({} if plan.verbose else {"callbacks__print_log": None}),
    )


def _callbacks(
    plan: LoopPlan, n_batches: int, own_callbacks: Sequence[Callback]
) -> list[Any]:
    """Return ours, then the caller's."""
    callbacks: list[Any] = [("epoch_record", _EpochRecord()), *own_callbacks]
    if plan.lr_schedule == "cosine":
        schedule = _WarmUpCosine(plan.max_epochs * n_batches)
        scheduler = LRScheduler(LambdaLR, lr_lambda=schedule, step_every="batch")
        callbacks.append(("lr_schedule", scheduler))
    if plan.verbose:
        callbacks.append(("progress_bar", ProgressBar(batches_per_epoch=n_batches)))
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
    """Add learning rate and speed to skorch's history."""

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Note the learning rate the epoch starts with."""
        net.history.record("lr", net.optimizer_.param_groups[0]["lr"])

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Note how fast it was; skorch's own timer comes first."""
        n_images = sum(net.history[-1, "batches", :, "train_batch_size"])
        net.history.record("images_per_second", n_images / net.history[-1, "dur"])


# what a row of `history_` holds, by skorch's name
_COLUMNS = {
    "epoch": "epoch",
    "train_loss": "loss",
    "valid_loss": "valid_loss",
    "alignment": "alignment",
    "uniformity": "uniformity",
    "effective_rank": "effective_rank",
    "lr": "lr",
    "dur": "seconds",
    "images_per_second": "images_per_second",
}


def _history_row(row: Any) -> dict[str, Any]:
    """Return a row of `history_` from an epoch of skorch's history."""
    return {ours: row[name] for name, ours in _COLUMNS.items() if name in row}
