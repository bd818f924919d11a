"""How embeddings lie on the sphere, measured without labels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["alignment", "effective_rank", "uniformity"]

_BLOCK = 1 << 22  # pairs of rows whose distances are held at once
_EPSILON = 1e-7  # that RankMe adds to each share, equation (2)


def alignment(first: Any, second: Any, *, alpha: float = 2.0) -> float:
    r"""Return how far apart the two views of an image lie.

    Parameters
    ----------
    first, second : array-like of shape (n_samples, n_features)
        Embeddings or projections of two views of each image, in the same order. Their
        rows are divided by their norms; rows of zeros stay zero.
    alpha : float, default=2.0
        Power of the distance, > 0.

    Returns
    -------
    float
        Mean of :math:`\lVert x - y \rVert^\alpha` [1]_, from 0 for views that coincide
        to :math:`2^\alpha` for opposite ones.

    Raises
    ------
    ValueError
        The arrays are not two-dimensional, not finite or not of one shape; or alpha is
        not positive.

    References
    ----------
    .. [1] Wang & Isola (2020), "Understanding Contrastive Representation Learning
       through Alignment and Uniformity on the Hypersphere", equation (4),
       https://arxiv.org/abs/2005.10242

    Examples
    --------
    >>> from sksimclr.metrics import alignment
    >>> round(alignment([[1.0, 0.0], [0.0, 3.0]], [[2.0, 0.0], [1.0, 0.0]]), 6)
    1.0
    """
    x, y = (
        _as_rows("alignment", name, rows, minimum=1)
        for name, rows in (("first", first), ("second", second))
    )
    if x.shape != y.shape:
        raise ValueError(
            "alignment: first and second must be embeddings of the same images, of one "
            f"shape; got {tuple(x.shape)} and {tuple(y.shape)}."
        )
    _check_positive("alignment", "alpha", alpha)
    return alignment_of(F.normalize(x), F.normalize(y), alpha).item()


def uniformity(embeddings: Any, *, t: float = 2.0) -> float:
    r"""Return how evenly embeddings are spread over the sphere.

    Parameters
    ----------
    embeddings : array-like of shape (n_samples, n_features)
        Embeddings or projections of at least two images. Their rows are divided by
        their norms; rows of zeros stay zero.
    t : float, default=2.0
        Sharpness of the Gaussian potential, > 0.

    Returns
    -------
    float
        Logarithm of the mean of :math:`\exp(-t \lVert x - y \rVert^2)` over all pairs
        of different images [1]_: 0 when all embeddings coincide, and the lower the more
        evenly they are spread, never below :math:`-4t`.

    Raises
    ------
    ValueError
        The array is not two-dimensional, not finite or has fewer than two rows; or t
        is not positive.

    Notes
    -----
    All pairs are compared, a block at a time: time grows with the square of the
    number of images, memory does not.

    References
    ----------
    .. [1] Wang & Isola (2020), "Understanding Contrastive Representation Learning
       through Alignment and Uniformity on the Hypersphere", equation (5),
       https://arxiv.org/abs/2005.10242

    Examples
    --------
    >>> from sksimclr.metrics import uniformity
    >>> round(uniformity([[1.0, 0.0], [-5.0, 0.0]]), 6)  # opposite: exp(-2 * 2 ** 2)
    -8.0
    """
    rows = _as_rows("uniformity", "embeddings", embeddings, minimum=2)
    _check_positive("uniformity", "t", t)
    return uniformity_of(F.normalize(rows), t).item()


def effective_rank(embeddings: Any) -> float:
    r"""Return how many dimensions embeddings really use.

    Parameters
    ----------
    embeddings : array-like of shape (n_samples, n_features)
        Embeddings or projections as they are, neither normalised nor centred. More
        images than features, or the number of images limits the result.

    Returns
    -------
    float
        Exponential of the entropy of the singular values, RankMe [1]_: from 1, when all
        embeddings lie on one line, to about min(n_samples, n_features). 0 when all of
        them are zero.

    Raises
    ------
    ValueError
        The array is not two-dimensional, not finite or empty.

    References
    ----------
    .. [1] Garrido et al. (2023), "RankMe: Assessing the Downstream Performance of
       Pretrained Self-Supervised Representations by Their Rank", equations (1), (2),
       https://arxiv.org/abs/2210.02885

    Examples
    --------
    >>> import numpy as np
    >>> from sksimclr.metrics import effective_rank
    >>> round(effective_rank(np.eye(4)), 3), round(effective_rank(np.ones((9, 4))), 3)
    (4.0, 1.0)
    """
    rows = _as_rows("effective_rank", "embeddings", embeddings, minimum=1)
    return _rank_of(torch.linalg.svdvals(rows))


def alignment_of(first: Tensor, second: Tensor, alpha: float = 2.0) -> Tensor:
    """Return :func:`alignment` of rows of length 1, as a tensor on their device."""
    distances: Tensor = (first - second).norm(dim=1)
    return distances.pow(alpha).mean()


def uniformity_of(rows: Tensor, t: float = 2.0) -> Tensor:
    """Return :func:`uniformity` of rows of length 1, as a tensor on their device."""
    n_rows = len(rows)
    squares = rows.square().sum(dim=1)
    total = rows.new_zeros(())
    step = max(1, _BLOCK // n_rows)
    for start in range(0, n_rows, step):
        block = slice(start, start + step)
        distances = squares[block, None] + squares - 2 * rows[block] @ rows.T
        potential = torch.exp(-t * distances.clamp(min=0))
        potential.diagonal(start).zero_()  # of each row with itself
        total += potential.sum()
    return torch.log(total / (n_rows * (n_rows - 1)))


def rank_of_gram(gram: Tensor) -> float:
    """Return :func:`effective_rank` of embeddings Z from their Gram matrix Z^T Z."""
    if not gram.isfinite().all():
        return math.nan
    return _rank_of(torch.linalg.eigvalsh(gram).clamp(min=0).sqrt())


def _rank_of(singular_values: Tensor) -> float:
    """Return the exponential of the entropy of singular values."""
    total = singular_values.sum()
    if total == 0:
        return 0.0
    share = singular_values / total + _EPSILON
    return math.exp(-(share * share.log()).sum().item())


def _as_rows(function: str, name: str, array: Any, *, minimum: int) -> Tensor:
    """Return an array as float64 rows on the CPU, after a check."""
    if not isinstance(array, Tensor):
        if np.ma.is_masked(array):
            raise ValueError(
                f"{function}: {name} has masked values. Leave their rows out."
            )
        array = torch.from_numpy(np.array(array, dtype=np.float64))
    rows: Tensor = array.detach().cpu().double()
    if rows.ndim != 2 or len(rows) < minimum or rows.shape[1] < 1:
        raise ValueError(
            f"{function}: {name} must be an array of shape (n_samples, n_features) "
            f"with at least {minimum} row(s); got shape {tuple(rows.shape)}."
        )
    finite = rows.isfinite().all(dim=1)
    if not finite.all():
        raise ValueError(
            f"{function}: {name} contains NaN or infinity, first in row "
            f"{int(finite.int().argmin())}. Embed again without such images."
        )
    return rows


def _check_positive(function: str, name: str, value: float) -> None:
    """Raise a ValueError unless `value` is a positive number."""
    if not value > 0:
        raise ValueError(f"{function}: {name} must be > 0, got {value!r}.")
