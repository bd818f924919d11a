"""An order of images that is random, and that a disk can bear.

A disk reads a piece of consecutive images as fast as single ones of them. So images are
cut into such pieces, the runs, and these come in random order; a number of them makes
a window, in which all images are shuffled. While one window is learnt from, the runs of
the next one are read, and stay in the memory that the system has for files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sksimclr._images.images import Images
from sksimclr._machine.random import make_generator, spawn_seeds

RUN_BYTES = 1 << 18  # most of a run: twice as many make a disk little faster
WINDOW_BYTES = 1 << 28  # most of a window, of which two are in the system's memory


@dataclass(frozen=True)
class Window:
    """Images that are shuffled among themselves.

    Attributes
    ----------
    rows : Tensor of shape (n,), int64
        Their numbers, in the order in which they come.
    generator : torch.Generator
        For further draws of this window.
    runs : sequence of slice
        The pieces that hold them, in the order in which they lie on the disk.
    start : int
        Images of the epoch that come before.
    """

    rows: Tensor
    generator: torch.Generator
    runs: Sequence[slice] = ()
    start: int = 0


class Runs:
    """Pieces of consecutive images of one shard, equally long but for the last ones.

    Parameters
    ----------
    shard_lengths : ndarray of int64
        Number of images of each shard.
    size : int
        Images of a run.
    per_window : int
        Runs of a window, at most.
    """

    def __init__(self, shard_lengths: NDArray[np.int64], size: int, per_window: int):
        self._stops = np.cumsum(shard_lengths)
        self._starts = self._stops - shard_lengths
        n_runs = -(-shard_lengths // size)
        self._ends = np.cumsum(n_runs)
        self._firsts = self._ends - n_runs
        self._size = size
        self._n_windows = -(-len(self) // per_window)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def windows(self, seed: int, n_skipped: int = 0) -> Iterator[Window]:
        """Yield the windows of an epoch, from the one with image `n_skipped` on.

        A window is shuffled when its turn comes, by a generator of its own: those that
        are skipped cost nothing.
        """
        # in 0.1 bytes for each image of 64 x 64 pixels, the only list of the epoch
        order = torch.randperm(len(self), generator=make_generator(seed)).numpy()
        bounds = len(order) * np.arange(self._n_windows + 1) // self._n_windows
        start = 0
        for number in range(self._n_windows):
            chosen = np.sort(order[bounds[number] : bounds[number + 1]])
            first, stop = self._bounds(chosen)
            n_images = int((stop - first).sum())
            if n_skipped < start + n_images:
                generator = make_generator(*spawn_seeds((seed, number), 1))
                places = torch.randperm(n_images, generator=generator)
                rows = torch.from_numpy(_concatenated(first, stop))[places]
                runs = list(map(slice, first.tolist(), stop.tolist()))
                yield Window(rows, generator, runs, start)
            start += n_images

    def _bounds(
        self, runs: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the first image of each run, and the one after its last."""
        shards = np.searchsorted(self._ends, runs, side="right")
        starts = self._starts[shards] + (runs - self._firsts[shards]) * self._size
        return starts, np.minimum(starts + self._size, self._stops[shards])


def runs_of(images: Images) -> Runs | None:
    """Return the runs of images on a disk, None of such as are shuffled all together.

    Those are images in memory or in files of their own, as few as fit into one window,
    and such large ones that a run would be a single image.
    """
    lengths = images.shard_lengths
    n_bytes = math.prod(images.image_shape) * images.dtype.itemsize
    size = RUN_BYTES // n_bytes
    if lengths is None or size < 2 or len(images) * n_bytes <= WINDOW_BYTES:
        return None
    return Runs(lengths, size, WINDOW_BYTES // (size * n_bytes))


def _concatenated(
    starts: NDArray[np.int64], stops: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the numbers from each start to its stop, one after another."""
    lengths = stops - starts
    before = np.cumsum(lengths) - lengths
    numbers: NDArray[np.int64] = np.repeat(starts - before, lengths)
    numbers += np.arange(len(numbers))
    return numbers
