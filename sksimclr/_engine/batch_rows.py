"""Rows of skorch's history for the batches of an epoch, however many there are."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from torch import Tensor, stack

N_MERGED = 512  # batches that one row stands for, after as many others
_COUNT = "n_batches"  # of a row that stands for several


class BatchRow(dict[str, Any]):
    """What is known of a batch; a number on a device is waited for when it is read."""

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        if isinstance(value, Tensor) and value.ndim == 0:
            value = self[name] = value.item()
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value, or the default."""
        return self[name] if name in self else default


def n_batches_of(rows: Sequence[dict[str, Any]]) -> int:
    """Return how many batches rows stand for."""
    return sum(row.get(_COUNT, 1) for row in rows)


def fetch(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """Make numbers of values on a device, waiting for it once."""
    places = [
        (row, name)
        for row in rows
        for name in names
        if isinstance(dict.__getitem__(row, name), Tensor)
    ]
    if places:
        values = stack([dict.__getitem__(row, name) for row, name in places])
        for (row, name), value in zip(places, values.tolist(), strict=True):
            row[name] = value


def merge(rows: list[dict[str, Any]], prefix: str, losses: Sequence[str]) -> None:
    """Let one row stand for the oldest batches, once there are twice as many.

    An epoch of days would otherwise fill the memory, and its checkpoints. The row has
    the means over the images of what all its batches have as a number, which is what
    callbacks make of them at the end of an epoch.

    Parameters
    ----------
    rows : list of dict
        Of the epoch; changed.
    prefix : str
        "train" or "valid": of the batches in question, the last ones in `rows`.
    losses : sequence of str
        The loss of these, and maybe the weights by which its mean counts batches.
    """
    first = len(rows) - 2 * N_MERGED
    if first < 0 or _COUNT in rows[first] or losses[0] not in rows[first]:
        return
    block = rows[first : first + N_MERGED]
    fetch(block, losses)
    sizes = [row[f"{prefix}_batch_size"] for row in block]
    merged = {
        name: _mean([row[name] for row in block], sizes)
        for name in block[0]
        if all(isinstance(row.get(name), Real) for row in block)
    }
    merged |= {f"{prefix}_batch_size": sum(sizes), _COUNT: len(block)}
    if len(losses) > 1:
        weights = [row[losses[1]] for row in block]
        merged[losses[0]] = _mean([row[losses[0]] for row in block], weights)
        merged[losses[1]] = sum(weights)
    rows[first : first + N_MERGED] = [merged]


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    """Return a weighted mean, 0 without weight."""
    return float(np.average(values, weights=weights)) if any(weights) else 0.0
