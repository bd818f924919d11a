"""The batches of an epoch: which images, in which order, and where they go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import BatchSampler, Dataset, RandomSampler

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
        n_images = len(images)
        self.partners = None if sequences is None else Partners(sequences)
        self.targets = (
            torch.zeros(n_images) if targets is None else torch.from_numpy(targets)
        )
        self.rows = (
            torch.arange(n_images) if rows is None else torch.from_numpy(rows).long()
        )

    def __len__(self) -> int:
        return len(self.rows)


class Partners:
    """Draws for each image another one of its sequence.

    Parameters
    ----------
    sequences : ndarray of shape (n_images,), int64
        Number of the sequence of each image, from 0.
    """

    def __init__(self, sequences: NDArray[np.int64]):
        codes = torch.from_numpy(sequences)
        self._sizes = torch.bincount(codes)[codes]
        self._by_sequence = torch.argsort(codes, stable=True)
        starts = torch.bincount(codes).cumsum(0)[codes] - self._sizes
        self._starts = starts
        places = torch.empty_like(codes)
        places[self._by_sequence] = torch.arange(len(codes))
        self._places = places - starts  # within its sequence

    def draw(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return the number of a partner for each image in `rows`.

        All other images of its sequence are equally probable; one that is alone is its
        own partner.
        """
        chance = torch.rand(len(rows), generator=generator, dtype=torch.float64)
        n_others = self._sizes[rows] - 1
        step = (chance * n_others).long() + (n_others > 0)
        place = (self._places[rows] + step) % self._sizes[rows]
        return self._by_sequence[self._starts[rows] + place]


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
        would take. Without it they come as they are.
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
        self._size, self._drops_last = sizes[0], sum(sizes) < len(dataset)
        self._n_batches = sum(size >= processes.n_processes for size in sizes)
        self._device = device
        self._targets = dataset.targets.to(device)
        self._resident = _upload(dataset.images, device, _free_memory(device))
        self._is_shuffled = generator is not None
        self.generator = generator or torch.Generator()
        self.order_state = self.generator.get_state()
        self.n_skipped = 0

    def __len__(self) -> int:
        return self._n_batches

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        rows = self._rows_of_epoch()[self.n_skipped :]
        self.n_skipped = 0
        for numbers, images in zip(rows, self._images_at(rows), strict=True):
            if numbers.ndim == 2:
                images = images.view(*numbers.shape, *images.shape[1:])
                numbers = numbers[:, 0]
            yield images, self._targets[numbers.to(self._device, non_blocking=True)]

    def _rows_of_epoch(self) -> list[Tensor]:
        """Return the numbers of the images, or pairs, of each batch: (n,) or (n, 2)."""
        if not self._is_shuffled:
            return list(torch.split(self._dataset.rows, self._size))
        self.order_state = self.generator.get_state()
        torch.empty((), dtype=torch.int64).random_(generator=self.generator)
        sampler = BatchSampler(
            RandomSampler(self._dataset, generator=self.generator),
            self._size,
            drop_last=self._drops_last,
        )
        batches = [self._dataset.rows[numbers] for numbers in sampler]
        partners = self._dataset.partners
        if partners is not None:
            batches = [
                torch.stack([rows, partners.draw(rows, self.generator)], dim=1)
                for rows in batches
            ]
        parts = map(self._part, batches)
        return [part for part in parts if len(part)]

    def _part(self, numbers: Tensor) -> Tensor:
        """Return what this process gets of a batch; all get equally many."""
        size = len(numbers) // self.processes.n_processes
        start = self.processes.rank * size
        return numbers[start : start + size]

    def _images_at(self, rows: list[Tensor]) -> Iterator[Tensor]:
        """Yield the images of each batch, on the device."""
        if self._resident is not None:
            for numbers in rows:
                numbers = numbers.flatten().to(self._device, non_blocking=True)
                yield self._resident[numbers]
            return
        batches = read_ahead(
            self._dataset.images, [row.flatten().tolist() for row in rows]
        )
        with closing(batches):
            for batch in batches:
                images = torch.from_numpy(batch)
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
