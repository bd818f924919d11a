"""Batches of images, read ahead of the network by threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sksimclr._images.images import Images

Rows = slice | Sequence[int] | NDArray[Any]
_Parts = list[Future[NDArray[Any]]]

_N_AHEAD = 2  # batches in memory besides the one at hand


def read_ahead(
    images: Images,
    batches: Iterable[Rows],
    loads: Iterable[Sequence[slice]] = repeat(()),
) -> Generator[NDArray[Any], None, None]:
    """Yield batches of images in order, while threads read the next ones.

    There are as many threads as the images stand, none for images in memory. They end
    with the generator: after the last batch, an exception, or its ``close()``. An
    exception of reading is raised in its turn, as it is.

    Parameters
    ----------
    images : Images
    batches : iterable of slice or sequence of int
        Rows of each batch.
    loads : iterable of sequences of slices, optional
        For each batch, what is loaded before it is read: see :meth:`Images.load`. An
        error is left to the batch that has the image.

    Yields
    ------
    ndarray of shape (n, C, H, W), uint8 or float32
        See :meth:`Images.batch`.
    """
    if not images.n_readers:
        yield from map(images.batch, batches)
        return
    pool = ThreadPoolExecutor(images.n_readers, thread_name_prefix="sksimclr-reader")
    waiting: deque[_Parts] = deque()
    try:
        for rows, slices in zip(batches, loads, strict=False):  # loads may be endless
            for pieces in slices:
                pool.submit(images.load, pieces)
            parts = _split(rows, len(images), images.n_readers)
            waiting.append([pool.submit(images.batch, part) for part in parts])
            if len(waiting) > _N_AHEAD:
                yield _join(waiting.popleft())
        while waiting:
            yield _join(waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _split(rows: Rows, n_images: int, n_parts: int) -> list[Rows]:
    """Divide the rows of a batch among threads."""
    if n_parts == 1:
        return [rows]
    numbers = range(n_images)[rows] if isinstance(rows, slice) else rows
    size = max(1, -(-len(numbers) // n_parts))
    return [numbers[k : k + size] for k in range(0, max(1, len(numbers)), size)]


def _join(parts: _Parts) -> NDArray[Any]:
    """Wait for the parts of a batch."""
    arrays = [part.result() for part in parts]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
