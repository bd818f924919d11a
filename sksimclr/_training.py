"""The training loop: skorch around one step of SimCLR."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, LRScheduler, ProgressBar
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset

from sksimclr._device import to_float
from sksimclr._images import Images
from sksimclr._loss import NTXentLoss
from sksimclr._random import make_generator
from sksimclr.augmentations import Augmentation, make_view

OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, float]]] = {
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9}),
}
_WARM_UP = 0.1  # part of the steps in which the cosine schedule rises to its maximum


@dataclass(frozen=True)
class TrainingPlan:
    """How to train; every field is the parameter of `SimCLRTransformer` so named."""

    temperature: float
    augmentations: tuple[Augmentation, ...]
    image_size: int
    max_epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    optimizer: str
    lr_schedule: str | None
    callbacks: Sequence[Any]
    verbose: int


def train(
    encoder: nn.Module,
    projector: nn.Module,
    images: Images,
    plan: TrainingPlan,
    *,
    device: torch.device,
    order_seed: int,
    view_seed: int,
) -> list[dict[str, float]]:
    """Train `encoder` and `projector` in place, by the loss of two views.

    Parameters
    ----------
    encoder, projector : nn.Module
        Left on `device`.
    images : Images
        At least two.
    plan : TrainingPlan
    device : torch.device
    order_seed, view_seed : int
        Seeds of the order of the images and of their views.

    Returns
    -------
    list of dict
        A row for each epoch: "epoch", "loss", "lr", "seconds", "images_per_second".
    """
    if plan.max_epochs == 0:
        return []
    model = ContrastiveModel(encoder, projector, plan, view_seed)
    net = _make_net(model, len(images), plan, device, order_seed).initialize()
    dataset = _BatchDataset(images)
    net.notify("on_train_begin", X=dataset, y=None)
    try:
        net.fit_loop(dataset)
    except _EarlyStop:
        pass
    net.notify("on_train_end", X=dataset, y=None)
    return [_history_row(row) for row in net.history]


class ContrastiveModel(nn.Module):
    """From a batch of images to the projections of two views of each.

    One forward over the 2 N views, so that batch normalisation sees them together.
    """

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        plan: TrainingPlan,
        view_seed: int,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = projector
        self._augmentations = plan.augmentations
        self._size = plan.image_size
        self._generator = make_generator(view_seed)

    def forward(self, images: Tensor) -> Tensor:
        """Return projections (2 N, d) of images (N, C, H, W): first views, second."""
        images = to_float(images)
        views = [
            make_view(
                images,
                self._augmentations,
                generator=self._generator,
                size=self._size,
            )
            for _ in range(2)
        ]
        both = torch.cat(views).contiguous(memory_format=torch.channels_last)
        projections: Tensor = self.projector(self.encoder(both))
        return projections


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


def collapsed_loss(n_images: int, batch_size: int) -> float:
    """Return the mean loss of an epoch when all embeddings are alike: ln(2 N - 1).

    Examples
    --------
    >>> round(collapsed_loss(64, 64), 3)
    4.844
    """
    sizes = batch_sizes(n_images, batch_size)
    return sum(size * math.log(2 * size - 1) for size in sizes) / sum(sizes)


class _BatchDataset(Dataset[Any]):
    """Images as a torch data set that fetches a whole batch at a time."""

    def __init__(self, images: Images):
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def __getitems__(self, rows: list[int]) -> tuple[Tensor, Tensor]:
        """Return a batch as skorch wants it: images, and targets nobody reads."""
        return torch.from_numpy(self._images.batch(rows)), torch.zeros(len(rows))


def _as_fetched(batch: Any) -> Any:
    """Collate nothing: `_BatchDataset` returns whole batches."""
    return batch


class _SimCLRNet(NeuralNet):
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
    model: ContrastiveModel,
    n_images: int,
    plan: TrainingPlan,
    device: torch.device,
    order_seed: int,
) -> NeuralNet:
    """Put skorch together for one call of `train`."""
    optimizer, settings = OPTIMIZERS[plan.optimizer]
    sizes = batch_sizes(n_images, plan.batch_size)
    return _SimCLRNet(
        model.to(memory_format=torch.channels_last),
        criterion=NTXentLoss,
        criterion__temperature=plan.temperature,
        optimizer=optimizer,
        optimizer__weight_decay=plan.weight_decay,
        **{f"optimizer__{name}": value for name, value in settings.items()},
        lr=plan.lr,
        max_epochs=plan.max_epochs,
        batch_size=sizes[0],
        iterator_train=DataLoader,
        iterator_train__shuffle=True,
        iterator_train__drop_last=sum(sizes) < n_images,
        iterator_train__generator=make_generator(order_seed),
        iterator_train__collate_fn=_as_fetched,
        train_split=None,
        predict_nonlinearity=None,
        callbacks=_callbacks(plan, len(sizes)),
        device=device,
        verbose=plan.verbose,
        **({} if plan.verbose else {"callbacks__print_log": None}),
    )


def _callbacks(plan: TrainingPlan, n_batches: int) -> list[Any]:
    """Return ours, then the caller's."""
    callbacks: list[Any] = [("epoch_record", _EpochRecord())]
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


def _history_row(row: Any) -> dict[str, float]:
    """Return a row of `history_` from an epoch of skorch's history."""
    return {
        "epoch": row["epoch"],
        "loss": float(row["train_loss"]),
        "lr": row["lr"],
        "seconds": row["dur"],
        "images_per_second": row["images_per_second"],
    }
