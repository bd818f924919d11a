"""The batches of an epoch: which images, in which order, and where they go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, pairwise, tee
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, RandomSampler

from sksimclr._engine.order import Window, runs_of
from sksimclr._images.images import Images
from sksimclr._images.read_ahead import read_ahead
from sksimclr._machine.processes import Processes

_UPLOAD_BLOCK = 1024  # images copied to a GPU in one go
_GPU_SHARE = 0.5  # of the free memory of a GPU that all images may take


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
    """Images and what is to be learnt about them.

    Parameters
    ----------
    images : Images
    targets : ndarray of shape (n_images,), int64, optional
        Zeros, which nobody reads, by default.
    rows : ndarray of int, optional
        Which of the images belong to the data set; all by default.
    sequences : ndarray of shape (n_images,), int64, optional
        Number of the sequence of each image, from 0. Each image then comes in a pair
        with another one of its sequence.
    """

    def __init__(
        self,
        images: Images,
        targets: NDArray[Any] | None = None,
        rows: NDArray[Any] | None = None,
        sequences: NDArray[np.int64] | None = None,
    ):
        self.images = images
        self.partners = None if sequences is None else Partners(sequences)
        self.targets = None if targets is None else torch.from_numpy(targets)
        self.rows = None if rows is None else torch.from_numpy(rows).long()

    def __len__(self) -> int:
        return len(self.images) if self.rows is None else len(self.rows)


class Partners:
    """Draws for each image another one of its sequence.

    Parameters
    ----------
    sequences : ndarray of shape (n_images,), int64
        Number of the sequence of each image, from 0.
    """

    def __init__(self, sequences: NDArray[np.int64]):
        # an archive has 700 million: 16 bytes for each image
        kind = torch.int32 if len(sequences) < 2**31 else torch.int64
        self._codes = torch.from_numpy(sequences)
        self._sizes = torch.bincount(self._codes)  # of the sequences
        self._starts = self._sizes.cumsum(0) - self._sizes
        self._by_sequence = torch.argsort(self._codes, stable=True).to(kind)
        self._places = torch.empty_like(self._by_sequence)
        self._places[self._by_sequence] = torch.arange(len(sequences), dtype=kind)

    def draw(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return the number of a partner for each image in `rows`.

        All other images of its sequence are equally probable; one that is alone is its
        own partner.
        """
        chance = torch.rand(len(rows), generator=generator, dtype=torch.float64)
        codes = self._codes[rows]
        sizes, starts = self._sizes[codes], self._starts[codes]
        step = (chance * (sizes - 1)).long() + (sizes > 1)
        place = (self._places[rows] - starts + step) % sizes
        return self._by_sequence[starts + place].long()


@dataclass(frozen=True)
class _Batch:
    """What this process gets of a batch.

    Attributes
    ----------
    rows : Tensor of shape (n,) or (n, 2)
        Numbers of the images, or pairs.
    loads : sequence of slice
        What is read meanwhile of the images of later batches.
    """

    rows: Tensor
    loads: Sequence[slice]


class Batches:
    """The batches of one epoch after another, as skorch wants them.

    Iterating gives images (n, C, H, W), or pairs (n, 2, C, H, W) of a data set with
    sequences, uint8 or float32, and targets (n,), both on the device. All images are
    kept on a GPU that has room for them; otherwise they are read ahead of the network.

    Parameters
    ----------
    dataset : BatchDataset
    batch_size : int
        For each process.
    device : torch.device
    generator : torch.Generator, optional
        Shuffles the images anew in every epoch, in the order that torch's DataLoader
        would take; those of a large array on a disk in windows, and then each batch is
        in the order of the disk (:mod:`sksimclr._engine.order`). Without it they come
        as they are.
    processes : Processes, optional
        Those that share each batch; this one gets its part.

    Attributes
    ----------
    order_state : Tensor
        State of `generator` before it was drawn from for the current epoch.
    n_skipped : int
        Batches at the start of the next epoch that are not given again.
    """

    def __init__(
        self,
        dataset: BatchDataset,
        *,
        batch_size: int,
        device: torch.device,
        generator: torch.Generator | None = None,
        processes: Processes = Processes(),  # noqa: B008 (it is frozen)
    ):
        self._dataset = dataset
        self.processes = processes
        sizes = batch_sizes(len(dataset), batch_size * processes.n_processes)
        self._size = sizes[0]
        self._n_batches = sum(size >= processes.n_processes for size in sizes)
        self._device = device
        targets = dataset.targets
        self._targets = None if targets is None else targets.to(device)
        self._runs = runs_of(dataset.images) if dataset.rows is None else None
        self._resident = _upload(dataset.images, device, _free_memory(device))
        self._is_shuffled = generator is not None
        self._drops_last = self._is_shuffled and sum(sizes) < len(dataset)
        self.generator = generator or torch.Generator()
        self.order_state = self.generator.get_state()
        self.n_skipped = 0

    def __len__(self) -> int:
        return self._n_batches

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        n_skipped, self.n_skipped = self.n_skipped, 0
        batches, ahead = tee(self._batches_of_epoch(n_skipped))
        for batch, images in zip(batches, self._images_of(ahead), strict=True):
            rows = batch.rows
            if rows.ndim == 2:
                images = images.view(*rows.shape, *images.shape[1:])
                rows = rows[:, 0]
            yield images, self._targets_of(rows)

    def _targets_of(self, rows: Tensor) -> Tensor:
        """Return the targets of images, zeros if there are none."""
        if self._targets is None:
            return torch.zeros(len(rows), device=self._device)
        return self._targets[rows.to(self._device, non_blocking=True)]

    def _batches_of_epoch(self, n_skipped: int) -> Iterator[_Batch]:
        """Yield what this process gets of each batch but the first ones."""
        rows = torch.empty(0, dtype=torch.int64)
        loads: list[slice] = []
        for piece, slices in self._pieces_of_epoch(n_skipped * self._size):
            rows = torch.cat([rows, piece]) if len(rows) else piece
            loads += slices
            if len(rows) >= self._size:
                yield _Batch(self._share(rows[: self._size]), loads)
                rows, loads = rows[self._size :], []
        if len(rows) >= self.processes.n_processes and not self._drops_last:
            yield _Batch(self._share(rows), loads)

    def _pieces_of_epoch(
        self, n_skipped: int
    ) -> Iterator[tuple[Tensor, Sequence[slice]]]:
        """Yield the images of an epoch but the first ones, as many as a batch has.

        With each piece come the runs to load meanwhile: equally many of the next window
        with each of this one; and before the first one, those of its own.
        """
        now: Sequence[slice] | None = None
        windows = chain(self._windows(n_skipped), [None])
        for window, following in pairwise(windows):
            assert window is not None
            rows = self._with_partners(window)[max(0, n_skipped - window.start) :]
            pieces = torch.split(rows, self._size)
            now = self._part(window.runs) if now is None else ()
            later = () if following is None else self._part(following.runs)
            for k, piece in enumerate(pieces):
                start, stop = (len(later) * i // len(pieces) for i in (k, k + 1))
                yield piece, [*now, *later[start:stop]]
                now = ()

    def _windows(self, n_skipped: int) -> Iterator[Window]:
        """Yield the images of an epoch, from where a batch is not skipped on."""
        n_images = len(self._dataset)
        if not self._is_shuffled:
            yield Window(torch.arange(n_images), self.generator)
            return
        self.order_state = self.generator.get_state()
        seed = torch.empty((), dtype=torch.int64).random_(generator=self.generator)
        if self._runs is not None:
            yield from self._runs.windows(int(seed), n_skipped)
            return
        sampler = RandomSampler(range(n_images), generator=self.generator)
        rows = torch.tensor(list(sampler))[: n_images - self._drops_last]
        yield Window(rows, self.generator)

    def _with_partners(self, window: Window) -> Tensor:
        """Return the rows of a window: (n,), or with their partners: (n, 2)."""
        rows, partners = window.rows, self._dataset.partners
        if self._dataset.rows is not None:
            rows = self._dataset.rows[rows]
        if partners is None or not self._is_shuffled:
            return rows
        return torch.stack([rows, partners.draw(rows, window.generator)], dim=1)

    def _share(self, rows: Tensor) -> Tensor:
        """Return what this process gets of a batch; all get equally many.

        Of a batch in the order of the disk, a part of the disk.
        """
        if self._runs is not None and self._is_shuffled:
            rows = rows[rows.view(len(rows), -1)[:, 0].argsort()]
        n_shared = len(rows) - len(rows) % self.processes.n_processes
        part: Tensor = self._part(rows[:n_shared])
        return part

    def _part(self, items: Any) -> Any:
        """Return the part of this process of a tensor or a sequence."""
        rank, n_parts = self.processes.rank, self.processes.n_processes
        start, stop = (len(items) * k // n_parts for k in (rank, rank + 1))
        return items[start:stop]

    def _images_of(self, batches: Iterator[_Batch]) -> Iterator[Tensor]:
        """Yield the images of each batch, on the device."""
        if self._resident is not None:
            for batch in batches:
                rows = batch.rows.flatten().to(self._device, non_blocking=True)
                yield self._resident[rows]
            return
        of_rows, of_loads = tee(batches)
        rows_of = (batch.rows.flatten().tolist() for batch in of_rows)
        loads = (batch.loads for batch in of_loads)
        arrays = read_ahead(self._dataset.images, rows_of, loads)
        with closing(arrays):
            for array in arrays:
                images = torch.from_numpy(array)
                if self._device.type == "cuda":
                    images = images.pin_memory()
                yield images.to(self._device, non_blocking=True)


def _free_memory(device: torch.device) -> int:
    """Return the free memory of a GPU with its own, in bytes; else 0."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def _upload(images: Images, device: torch.device, free_memory: int) -> Tensor | None:
    """Return all images on the device, or None if they would take too much of it."""
    if not free_memory:
        return None
    first = torch.from_numpy(images.batch([0]))
    if first.nbytes * len(images) > _GPU_SHARE * free_memory:
        return None
    out = first.new_empty((len(images), *first.shape[1:]), device=device)
    for rows in images.blocks(_UPLOAD_BLOCK):
        out[rows] = torch.from_numpy(images.batch(rows)).to(device)
    return out
