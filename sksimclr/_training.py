"""Contrastive training: two views of every image, and how close they come."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn import functional as F

from sksimclr._device import to_float
from sksimclr._images import Images
from sksimclr._loop import BatchDataset, LoopPlan, batch_sizes, run_loop
from sksimclr._loss import NTXentLoss
from sksimclr._random import make_generator
from sksimclr.augmentations import Augmentation, make_view
from sksimclr.metrics import alignment_of, rank_of_gram, uniformity_of


@dataclass(frozen=True)
class ViewPlan:
    """What to compare; every field is the parameter of `SimCLRTransformer` so named."""

    temperature: float
    augmentations: tuple[Augmentation, ...]
    image_size: int


def train(
    encoder: nn.Module,
    projector: nn.Module,
    images: Images,
    views: ViewPlan,
    plan: LoopPlan,
    *,
    device: torch.device,
    order_seed: int,
    view_seed: int,
) -> list[dict[str, Any]]:
    """Train `encoder` and `projector` in place, by the loss of two views.

    Parameters
    ----------
    encoder, projector : nn.Module
        Left on `device`.
    images : Images
        At least two.
    views : ViewPlan
    plan : LoopPlan
    device : torch.device
    order_seed, view_seed : int
        Seeds of the order of the images and of their views.

    Returns
    -------
    list of dict
        A row for each epoch: "epoch", "loss", "alignment", "uniformity",
        "effective_rank", "lr", "seconds", "images_per_second".
    """
    if plan.max_epochs == 0:
        return []
    return run_loop(
        ContrastiveModel(encoder, projector, views, view_seed),
        NTXentLoss(views.temperature),
        BatchDataset(images),
        plan,
        device=device,
        order_seed=order_seed,
        own_callbacks=[_ProjectionRecord()],
    )


class ContrastiveModel(nn.Module):
    """From a batch of images to the projections of two views of each.

    One forward over the 2 N views, so that batch normalisation sees them together.
    """

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        views: ViewPlan,
        view_seed: int,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = projector
        self._augmentations = views.augmentations
        self._size = views.image_size
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


def collapsed_loss(n_images: int, batch_size: int) -> float:
    """Return the mean loss of an epoch when all embeddings are alike: ln(2 N - 1).

    Examples
    --------
    >>> round(collapsed_loss(64, 64), 3)
    4.844
    """
    sizes = batch_sizes(n_images, batch_size)
    return sum(size * math.log(2 * size - 1) for size in sizes) / sum(sizes)


class _ProjectionRecord(Callback):
    """Add alignment, uniformity and effective rank of the projections to the history.

    Sums stay on the device until the epoch ends.
    """

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Forget the epoch before."""
        self._n_images = 0
        self._alignment = self._uniformity = self._gram = torch.zeros(())

    def on_batch_end(
        self, net: NeuralNet, training: bool = False, y_pred: Any = None, **kwargs: Any
    ) -> None:
        """Add a batch of projections (2 N, d), each divided by its length."""
        rows = y_pred.detach()
        if rows.device.type == "mps":  # which has no float64
            rows = rows.cpu()
        rows = F.normalize(rows.double())
        n_images = len(rows) // 2
        self._n_images += n_images
        first, second = rows[:n_images], rows[n_images:]
        self._alignment = self._alignment + n_images * alignment_of(first, second)
        self._uniformity = self._uniformity + n_images * uniformity_of(first)
        self._gram = self._gram + rows.T @ rows

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Note the means over the images, and the rank of all projections."""
        for name in ("alignment", "uniformity"):
            mean = getattr(self, f"_{name}") / self._n_images
            net.history.record(name, float(mean))
        net.history.record("effective_rank", rank_of_gram(self._gram))
