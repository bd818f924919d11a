"""What is minimised: objectives, and NT-Xent, that of SimCLR."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sksimclr._engine.batches import batch_sizes
from sksimclr._machine.processes import Processes, gather_views


class Objective(Protocol):
    """What the projections of two views of each image should be like.

    A frozen dataclass of plain numbers: its repr is part of the fingerprint of a run,
    so that a checkpoint of another objective is refused.
    """

    def criterion(self, processes: Processes) -> nn.Module:
        """Return a module that makes the loss of a batch.

        It is called with the projections (2 N, d) of this process, first those of the
        first views of N images, then of the second; and with targets to ignore.
        """

    def collapsed_loss(self, n_images: int) -> float:
        """Return the loss of a batch of n images whose projections are all alike."""


def collapsed_loss(objective: Objective, n_images: int, batch_size: int) -> float:
    """Return the mean loss of an epoch when all projections are alike.

    Examples
    --------
    >>> round(collapsed_loss(NTXent(temperature=0.5), 64, 64), 3)
    4.844
    """
    sizes = batch_sizes(n_images, batch_size)
    return sum(size * objective.collapsed_loss(size) for size in sizes) / sum(sizes)


@dataclass(frozen=True)
class NTXent:
    """The objective of SimCLR: views of one image close, those of others far apart.

    Attributes
    ----------
    temperature : float
        tau of :func:`nt_xent`, > 0.
    """

    temperature: float

    def criterion(self, processes: Processes) -> nn.Module:
        """Return :func:`nt_xent` over the images of all processes."""
        return _NTXentLoss(self.temperature, processes)

    def collapsed_loss(self, n_images: int) -> float:
        """Return ln(2 N - 1)."""
        return math.log(2 * n_images - 1)


def nt_xent(projections: Tensor, temperature: float) -> Tensor:
    r"""Return the normalised temperature-scaled cross entropy of two views.

    Parameters
    ----------
    projections : Tensor of shape (2 N, d)
        Projections z of the first views of N images, then of their second views.
    temperature : float
        tau > 0, by which the cosine similarities are divided.

    Returns
    -------
    Tensor of shape ()
        Mean over the 2 N views, in float32 (float64 for float64 projections).

    Notes
    -----
    Equations (2) and (3) of [1]_, with :math:`s_{ij}` the cosine similarity of
    :math:`z_i` and :math:`z_j`, and p(i) the other view of the image of view i:

    .. math::
        \ell_i = -\log \frac{\exp(s_{i\,p(i)} / \tau)}
                            {\sum_{k \neq i} \exp(s_{ik} / \tau)}

    It is evaluated as a cross entropy over the rows of the similarity matrix with its
    diagonal masked, which neither overflows nor cancels at small temperatures. When
    all projections are equal it is ln(2 N - 1).

    References
    ----------
    .. [1] Johnson et al. (2021), "A Contrastive Learning Approach to Auroral
       Identification and Classification", https://arxiv.org/abs/2109.13899

    Examples
    --------
    >>> import torch
    >>> round(nt_xent(torch.ones(8, 3), temperature=0.5).item(), 4)  # ln 7
    1.9459
    """
    if projections.dtype != torch.float64:
        projections = projections.float()
    n_views = len(projections)
    z = F.normalize(projections, dim=1)
    logits = z @ z.T / temperature
    itself = torch.eye(n_views, dtype=torch.bool, device=z.device)
    logits = logits.masked_fill(itself, -torch.inf)
    partner = torch.arange(n_views, device=z.device).roll(n_views // 2)
    return F.cross_entropy(logits, partner)


class _NTXentLoss(nn.Module):
    """:func:`nt_xent` as a criterion; all processes' images are negatives."""

    def __init__(self, temperature: float, processes: Processes):
        super().__init__()
        self._temperature = temperature
        self._processes = processes

    def forward(self, projections: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return the loss of `projections` of shape (2 N, d)."""
        projections = gather_views(projections, self._processes)
        return nt_xent(projections, self._temperature)
