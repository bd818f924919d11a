"""Antialiased resizing, of whole images and of a box in each."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as tvf


def resize(images: Tensor, size: int) -> Tensor:
    """Resize images of shape (n, C, H, W) to squares, bilinear and antialiased."""
    if images.shape[-2:] == (size, size):
        return images
    resized: Tensor = tvf.resize(images, [size, size], antialias=True)
    return resized


def resize_array(images: NDArray[Any], size: int) -> NDArray[Any]:
    """Resize grey images of shape (n, H, W), as :func:`resize` does."""
    resized: NDArray[Any] = resize(torch.from_numpy(images)[:, None], size).numpy()
    return resized[:, 0]


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
