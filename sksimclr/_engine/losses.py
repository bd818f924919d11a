"""NT-Xent, the loss of SimCLR."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sksimclr._machine.processes import Processes, gather_views


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


class NTXentLoss(nn.Module):
    """:func:`nt_xent` as a criterion; the targets it is given are ignored.

    Parameters
    ----------
    temperature : float
    processes : Processes, optional
        Those whose images are each other's negatives.
    """

    def __init__(
        self,
        temperature: float,
        processes: Processes = Processes(),  # noqa: B008 (it is frozen)
    ):
        super().__init__()
        self.temperature = temperature
        self._processes = processes

    def forward(self, projections: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return the loss of `projections` of shape (2 N, d)."""
        projections = gather_views(projections, self._processes)
        return nt_xent(projections, self.temperature)
