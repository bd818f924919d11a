"""Streaming inference: embeddings of any number of images, batch by batch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import closing

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import ResNet
from tqdm import tqdm

from sksimclr._images.images import Images
from sksimclr._images.read_ahead import read_ahead
from sksimclr._images.resizing import resize
from sksimclr._machine.device import in_float32, to_float
from sksimclr._networks.encoders import RESNET_WIDTH
from sksimclr._networks.kept import FastCopy, fast_copy
from sksimclr._networks.readout import mean_over_mirrors

_BATCH_PIXELS = 1 << 18  # on a CPU, about as many as its caches like
_BATCH_SIZES = (8, 64)  # smallest and largest on a CPU
_GPU_BATCH_SIZE = 256
_BLOCK_BYTES = 1 << 25  # of full frames, as floats, that are resized in one go
_SMALLER = 8  # times fewer images than a batch has are in a smaller one
_N_FREE = 5  # images that cost as much as a forward of a network without any
_N_RUNNING = 4  # batches that a GPU is given before their results are fetched


@in_float32()
def embed(
    encoder: nn.Module,
    images: Images,
    *,
    image_size: int,
    device: torch.device,
    symmetry: str | None = None,
    batch_size: int | None = None,
    owner: object | None = None,
    verbose: int = 0,
) -> NDArray[np.float32]:
    """Return the embeddings of `images`.

    Every batch has the same size, the last one is padded, so that the embedding of an
    image is the same to the bit whatever else is embedded with it. Frames are resized
    as they come, in blocks of bounded memory.

    Parameters
    ----------
    encoder : nn.Module
        Not changed: a copy of it runs.
    images : Images
        At least one.
    image_size : int
        Side to which the images are resized, pixels.
    device : torch.device
    symmetry : {None, "vertical", "horizontal", "flips", "square"}
        An embedding is the mean over these mirror images, see
        :func:`~sksimclr._networks.readout.mean_over_mirrors`.
    batch_size : int, optional
        Images in a forward pass; by default what suits the device. When a GPU runs out
        of memory, it is halved for this batch and the rest.
    owner : object, optional
        Keeps the copy for the next call, see `fast_copy`.
    verbose : int
        Show a progress bar when positive.

    Returns
    -------
    ndarray of shape (n_images, n_features), float32

    Raises
    ------
    torch.OutOfMemoryError
        A GPU has no room for a single image.
    """
    batch_size = batch_size or default_batch_size(image_size, device, encoder)
    shape = (batch_size, images.n_channels, image_size, image_size)
    copy = fast_copy(owner, encoder, shape, device)
    forward = _Forward(copy, image_size, symmetry, batch_size, device)
    out = np.empty((0, 0), np.float32)
    progress = tqdm(total=len(images), unit="image", disable=not verbose)
    blocks = read_ahead(images, _blocks(images, batch_size))
    start = 0
    with closing(blocks), progress, torch.inference_mode():
        small = _resized(blocks, image_size, device)
        for embeddings in _fetched(map(forward, _batches(small, batch_size))):
            if start == 0:
                out = np.empty((len(images), embeddings.shape[1]), np.float32)
            out[start : start + len(embeddings)] = embeddings
            start += len(embeddings)
            progress.update(len(embeddings))
    return out


def default_batch_size(
    image_size: int, device: torch.device, encoder: nn.Module
) -> int:
    """Return how many images of a size are embedded at a time.

    On a CPU, in a slim ResNet several times as many: its maps are smaller, and what
    each operation costs besides is not.

    Examples
    --------
    >>> from torchvision.models import resnet18
    >>> cpu, encoder = torch.device("cpu"), resnet18()
    >>> [default_batch_size(size, cpu, encoder) for size in (32, 96, 128, 224)]
    [64, 16, 16, 8]
    """
    if device.type != "cpu":
        return _GPU_BATCH_SIZE
    widths = [_width(m) for m in encoder.modules() if isinstance(m, ResNet)]
    n_times = max(1, RESNET_WIDTH // min(widths, default=RESNET_WIDTH))
    fitting = n_times * _BATCH_PIXELS // image_size**2
    power_of_two = 1 << max(fitting, 1).bit_length() - 1
    smallest, largest = _BATCH_SIZES
    return min(max(power_of_two, smallest), n_times * largest)


def _width(network: ResNet) -> int:
    """Return how many channels its first maps have."""
    first = (m for m in network.conv1.modules() if isinstance(m, nn.Conv2d))
    return max((layer.out_channels for layer in first), default=RESNET_WIDTH)


def _blocks(images: Images, batch_size: int) -> Iterator[slice]:
    """Yield slices of images that have so many bytes, within batches."""
    n_bytes = 4 * images.n_channels * math.prod(images.image_shape[:2])
    n_together = max(1, _BLOCK_BYTES // n_bytes)
    for batch in images.blocks(batch_size):
        for start in range(batch.start, batch.stop, n_together):
            yield slice(start, min(start + n_together, batch.stop))


def _resized(
    blocks: Iterable[NDArray[np.generic]], image_size: int, device: torch.device
) -> Iterator[Tensor]:
    """Yield images as they go through the network, on its device."""
    for block in blocks:
        frames = torch.from_numpy(block)
        if device.type == "cuda":
            frames = frames.pin_memory().to(device, non_blocking=True)
        yield resize(to_float(frames.to(device)), image_size)


def _batches(blocks: Iterable[Tensor], batch_size: int) -> Iterator[Tensor]:
    """Join the blocks of a batch; only the last one may be too short."""
    parts: list[Tensor] = []
    for block in blocks:
        parts.append(block)
        if sum(map(len, parts)) == batch_size:
            yield _joined(parts)
            parts.clear()
    if parts:
        yield _joined(parts)


def _joined(parts: list[Tensor]) -> Tensor:
    """Concatenate tensors; one stays as it is."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


class _Forward:
    """Runs a network on batches of one size, halved when a GPU's memory runs out.

    Parameters
    ----------
    copy : FastCopy
        On `device`.
    image_size : int
        Side of the images that it takes, pixels.
    symmetry : str or None
        Of :func:`~sksimclr._networks.readout.mean_over_mirrors`.
    batch_size : int
    device : torch.device
    """

    def __init__(
        self,
        copy: FastCopy,
        image_size: int,
        symmetry: str | None,
        batch_size: int,
        device: torch.device,
    ):
        self._copy = copy
        self._image_size = image_size
        self._symmetry = symmetry
        self._batch_size = batch_size
        self._device = device

    def __call__(self, images: Tensor) -> Tensor:
        """Return the embeddings of images (n, C, S, S), all on the device."""
        while True:
            try:
                parts = torch.split(images, self._batch_size)
                return _joined([self._embed(part) for part in parts])
            except torch.OutOfMemoryError as error:
                if self._batch_size == 1:
                    raise _without_room(self._image_size, self._device) from error
            # only here, where the error no longer holds on to the tensors of the try
            self._batch_size //= 2

    def _embed(self, images: Tensor) -> Tensor:
        """Embed a batch that may be too short."""
        if len(images) == self._batch_size:
            return self._run(images)
        is_kept = self._copy.is_kept and self._device.type == "cpu"
        if is_kept and self._copy.same_sizes is None:
            return self._try_sizes(images)
        sizes = (*(self._copy.same_sizes or ()), self._batch_size)
        size = min(sizes, key=lambda n: -(-len(images) // n) * (n + _N_FREE))
        parts = [_padded(part, size) for part in torch.split(images, size)]
        return _joined([self._run(part) for part in parts])[: len(images)]

    def _try_sizes(self, images: Tensor) -> Tensor:
        """Embed a short batch, and find which smaller ones give the same bits.

        The order of sums depends on shapes, and not on values.
        """
        full = _padded(images, self._batch_size)
        generator = torch.Generator().manual_seed(0)
        full[len(images) :].uniform_(generator=generator)
        result = self._run(full)
        self._copy.same_sizes = tuple(
            size
            for size in sorted({1, max(1, self._batch_size // _SMALLER)})
            if torch.equal(self._run(full[-size:]), result[-size:])
        )
        return result[: len(images)]

    def _run(self, images: Tensor) -> Tensor:
        return mean_over_mirrors(self._copy.network, images, self._symmetry)


def _padded(images: Tensor, n_images: int) -> Tensor:
    """Append images of zeros until there are so many."""
    zeros = images.new_zeros(n_images - len(images), *images.shape[1:])
    return torch.cat([images, zeros]) if len(zeros) else images


def _fetched(results: Iterable[Tensor]) -> Iterator[NDArray[np.float32]]:
    """Copy results from a device, several at a time so that it seldom has to wait."""
    running: list[Tensor] = []
    for result in results:
        running.append(result)
        if len(running) == _N_RUNNING:
            yield torch.cat(running).cpu().numpy()
            running.clear()
    if running:
        yield torch.cat(running).cpu().numpy()


def _without_room(image_size: int, device: torch.device) -> torch.OutOfMemoryError:
    """Return the error for images of which not even one fits."""
    return torch.OutOfMemoryError(
        f"{device} has no memory for the network and one image of {image_size} x "
        f"{image_size} pixels. Free memory that others hold there, use a smaller "
        "image_size, or device='cpu'."
    )
