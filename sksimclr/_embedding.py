"""Streaming inference: embeddings of any number of images, batch by batch."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from sksimclr._device import to_float
from sksimclr._images import Images
from sksimclr._resizing import resize

_BATCH_SIZE = {"cpu": 16}  # larger ones are no faster on a CPU
_GPU_BATCH_SIZE = 256


def embed(
    encoder: nn.Module,
    images: Images,
    *,
    image_size: int,
    n_features: int,
    device: torch.device,
    batch_size: int | None = None,
    verbose: int = 0,
) -> NDArray[np.float32]:
    """Return the embeddings of `images`.

    Every batch has the same size, the last one is padded, so that the embedding of an
    image is the same to the bit whatever else is embedded with it.

    Parameters
    ----------
    encoder : nn.Module
        Not changed: a copy of it runs.
    images : Images
    image_size : int
        Side to which the images are resized, pixels.
    n_features : int
        Length of an embedding.
    device : torch.device
    batch_size : int, optional
        Images in a forward pass; by default what suits the device.
    verbose : int
        Show a progress bar when positive.

    Returns
    -------
    ndarray of shape (n_images, n_features), float32
    """
    batch_size = batch_size or _BATCH_SIZE.get(device.type, _GPU_BATCH_SIZE)
    model = copy.deepcopy(encoder).to(device).eval()
    model = model.to(memory_format=torch.channels_last)
    out = np.empty((len(images), n_features), np.float32)
    progress = tqdm(total=len(images), unit="image", disable=not verbose)
    with progress, torch.inference_mode():
        for rows in images.blocks(batch_size):
            batch = _pad(images.batch(rows), batch_size)
            pixels = resize(to_float(torch.from_numpy(batch).to(device)), image_size)
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            n_images = rows.stop - rows.start
            out[rows] = model(pixels)[:n_images].cpu().numpy()
            progress.update(n_images)
    return out


def _pad(batch: NDArray[np.generic], n_images: int) -> NDArray[np.generic]:
    """Append empty images until there are `n_images`."""
    missing = [(0, n_images - len(batch))] + [(0, 0)] * (batch.ndim - 1)
    return np.pad(batch, missing)
