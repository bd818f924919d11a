"""Antialiased resizing, of whole images and of a box in each."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as tvf

_STEP = 8  # columns made at a time: too little for BLAS to start threads


def resize(images: Tensor, size: int) -> Tensor:
    """Resize images of shape (n, C, H, W) to squares, bilinear and antialiased."""
    if images.shape[-2:] == (size, size):
        return images
    resized: Tensor = tvf.resize(images, [size, size], antialias=True)
    return resized


def resize_part(
    part: NDArray[Any], box: tuple[slice, slice], shape: tuple[int, int], size: int
) -> tuple[NDArray[Any], tuple[slice, slice]]:
    """Resize grey images that are zero outside a box, as :func:`resize` does.

    Parameters
    ----------
    part : ndarray of shape (n, h, w), float32
        What is in the box.
    box : (slice, slice)
        Rows and columns of the images that it takes.
    shape : (int, int)
        Of the images.
    size : int
        Side of the resized images in pixels.

    Returns
    -------
    part : ndarray of shape (n, h', w'), float32
        What is in a box of the resized images, which are zero outside.
    box : (slice, slice)
        This box.

    Notes
    -----
    Faster than :func:`resize` on a core. Rows are added up by a sparse matrix; columns
    by a dense one, a few at a time, of which most is zero otherwise.
    """
    n_images, height, width = part.shape
    rows, add_rows = _row_matrix(shape[0], size, box[0].start, box[0].stop)
    columns, steps = _column_steps(shape[1], size, box[1].start, box[1].stop)
    low = add_rows @ part.transpose(1, 0, 2).reshape(height, n_images * width)
    low = low.reshape(-1, n_images, width).transpose(1, 0, 2)
    resized = np.empty((*low.shape[:2], columns.stop - columns.start), np.float32)
    for made, used, weights in steps:
        np.matmul(low[:, :, used], weights, out=resized[:, :, made])
    return resized, (rows, columns)


@lru_cache
def _row_matrix(n_pixels: int, size: int, start: int, stop: int) -> tuple[slice, Any]:
    """Return the rows that are not zero, and the sparse matrix that makes them."""
    lines, weights = _line_weights(n_pixels, size, start, stop)
    return lines, csr_array(weights)


@lru_cache
def _column_steps(n_pixels: int, size: int, start: int, stop: int) -> tuple[slice, Any]:
    """Return the columns that are not zero, and what makes a few of them at a time.

    Of the latter, the columns that are made, those that are used, and the weights.
    """
    lines, weights = _line_weights(n_pixels, size, start, stop)
    steps = []
    for first in range(0, len(weights), _STEP):
        made = slice(first, first + _STEP)
        places = np.flatnonzero(weights[made].any(axis=0))
        used = slice(places[0], places[-1] + 1)
        steps.append((made, used, weights[made, used].T.copy()))
    return lines, steps


def _line_weights(
    n_pixels: int, size: int, start: int, stop: int
) -> tuple[slice, NDArray[np.float32]]:
    """Return which of `size` lines some of `n_pixels` lines give to, and how much."""
    whole = torch.zeros(1), torch.tensor([n_pixels], dtype=torch.float64)
    weights = _resize_weights(*whole, n_pixels, size)[0, :, start:stop].numpy()
    lines = np.flatnonzero(weights.any(axis=1))
    filled = slice(lines[0], lines[-1] + 1)
    return filled, weights[filled].astype(np.float32)


def resized_crop(images: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Crop every image to its own box and resize it, bilinear and antialiased.

    Parameters
    ----------
    images : Tensor of shape (n, C, H, W), floating point
    boxes : Tensor of shape (n, 4), integers
        Top, left, height and width in pixels; on the device of `images`.
    size : int
        Side of the result in pixels.

    Returns
    -------
    Tensor of shape (n, C, size, size)

    Notes
    -----
    A CPU crops one image after another. Other devices, where a thousand small steps
    would cost more than their arithmetic, use that an antialiased resize is linear and
    separable: the crops of a whole batch are two batched matrix products.
    """
    if images.device.type == "cpu":
        return _crop_one_by_one(images, boxes, size)
    return _crop_by_matrices(images, boxes, size)


def _crop_one_by_one(images: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Crop and resize every image by itself."""
    out = images.new_empty(*images.shape[:2], size, size)
    for k, (top, left, h, w) in enumerate(boxes.tolist()):
        crop = images[k : k + 1, :, top : top + h, left : left + w]
        out[k] = F.interpolate(crop, (size, size), mode="bilinear", antialias=True)[0]
    return out


def _crop_by_matrices(images: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Crop and resize all images at once, as ``rows @ image @ columns.T``."""
    top, left, h, w = boxes.unbind(dim=1)
    rows = _resize_weights(top, h, images.shape[-2], size).to(images.dtype)
    columns = _resize_weights(left, w, images.shape[-1], size).to(images.dtype)
    return rows[:, None] @ images @ columns[:, None].mT


def _resize_weights(start: Tensor, length: Tensor, n_pixels: int, size: int) -> Tensor:
    """Return how much each pixel of a line gives to each pixel of the resized crop.

    The triangle filter of bilinear interpolation, as wide as the scale when the crop
    shrinks, cut at the crop's ends and normalised: float32, (n, size, n_pixels).
    """
    scale = (length / size)[:, None, None]
    target = torch.arange(size, device=start.device)[None, :, None] + 0.5
    pixel = torch.arange(n_pixels, device=start.device)[None, None, :]
    within = pixel - start[:, None, None]
    distance = (within + 0.5 - target * scale).abs() / scale.clamp(min=1)
    inside = (within >= 0) & (within < length[:, None, None])
    weights = (1 - distance).clamp(min=0) * inside
    return weights / weights.sum(dim=2, keepdim=True)
