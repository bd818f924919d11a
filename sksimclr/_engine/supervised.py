"""Supervised training of an encoder with a linear head on augmented images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from skorch.callbacks import EarlyStopping
from torch import Tensor, nn
from torch.nn import functional as F

from sksimclr._engine.batches import BatchDataset
from sksimclr._engine.loop import LoopPlan, run_loop
from sksimclr._images.images import Images
from sksimclr._images.resizing import resize
from sksimclr._machine.device import to_float
from sksimclr._machine.random import make_generator
from sksimclr.augmentations import Augmentation, make_view


@dataclass(frozen=True)
class FineTuningPlan:
    """What to learn from.

    Attributes
    ----------
    augmentations : tuple of augmentations
    image_size : int
        Side of the images that the network sees, pixels.
    class_weight : ndarray of shape (n_classes,), float32, or None
        Of the classes in the loss, >= 0.
    patience : int
        Epochs without a lower validation loss after which training stops.
    """

    augmentations: tuple[Augmentation, ...]
    image_size: int
    class_weight: NDArray[Any] | None
    patience: int


def with_head(encoder: nn.Module, n_features: int, n_classes: int) -> nn.Sequential:
    """Put a linear layer with random weights behind an encoder."""
    return nn.Sequential(encoder, nn.Linear(n_features, n_classes))


def fine_tune(
    network: nn.Module,
    images: Images,
    targets: NDArray[Any],
    rows: tuple[NDArray[Any], NDArray[Any] | None],
    fine_tuning: FineTuningPlan,
    plan: LoopPlan,
) -> list[dict[str, Any]]:
    """Train `network` in place, by the cross entropy of one view of each image.

    Parameters
    ----------
    network : nn.Module
        From images (n, C, H, W) to logits (n, n_classes). Left on the device.
    images : Images
    targets : ndarray of shape (n_images,), int64
        Number of the class of each image.
    rows : (ndarray of int, ndarray of int or None)
        The images to learn from, at least two; and those, not augmented, on which the
        loss is measured after every epoch. With them, training stops when it no longer
        falls, and the best weights are kept.
    fine_tuning : FineTuningPlan
    plan : LoopPlan

    Returns
    -------
    list of dict
        A row for each epoch: "epoch", "loss", maybe "valid_loss", "lr", "seconds",
        "images_per_second".
    """
    class_weight = fine_tuning.class_weight
    criterion: nn.Module = nn.CrossEntropyLoss()
    if class_weight is not None:
        criterion = _WeightedCrossEntropy(torch.from_numpy(class_weight))
    (train_rows, valid_rows), valid_dataset, stoppers = rows, None, []
    if valid_rows is not None:
        valid_dataset = BatchDataset(images, targets, valid_rows)
        stoppers.append(
            EarlyStopping(
                "valid_loss",
                patience=fine_tuning.patience,
                threshold=0.0,
                load_best=True,
            )
        )
    history, _ = run_loop(
        _ViewClassifier(network, fine_tuning, plan.seeds.views),
        criterion,
        BatchDataset(images, targets, train_rows),
        plan,
        own_callbacks=stoppers,
        valid_dataset=valid_dataset,
    )
    return history


class _WeightedCrossEntropy(nn.CrossEntropyLoss):
    """Sum of the weighted losses of images over the sum of their weights, or zero."""

    weight: Tensor

    def __init__(self, weight: Tensor):
        super().__init__(weight)
        self._may_be_zero = not weight.all()

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch."""
        if not self._may_be_zero:
            return super().forward(logits, targets)
        loss = F.cross_entropy(logits, targets, weight=self.weight, reduction="sum")
        total = self.weight_of(targets)
        return loss / torch.where(total > 0, total, 1)

    def weight_of(self, targets: Tensor) -> Tensor:
        """Return the sum of the weights of a batch."""
        return self.weight[targets.to(self.weight.device)].sum()


class _ViewClassifier(nn.Module):
    """From a batch of images to logits: of a view when training, else of the image."""

    def __init__(self, network: nn.Module, fine_tuning: FineTuningPlan, view_seed: int):
        super().__init__()
        self.network = network
        self._augmentations = fine_tuning.augmentations
        self._size = fine_tuning.image_size
        self.generator = make_generator(view_seed)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n, n_classes) of images (n, C, H, W)."""
        images = to_float(images)
        if self.training:
            images = make_view(
                images,
                self._augmentations,
                generator=self.generator,
                size=self._size,
            )
        images = resize(images, self._size)
        logits: Tensor = self.network(
            images.contiguous(memory_format=torch.channels_last)
        )
        return logits
