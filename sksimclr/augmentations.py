"""Random augmentations that make the views SimCLR compares.

Each is a frozen dataclass that is called on a whole batch. Its result depends on the
batch and the generator alone, and it compares, prints and hashes by its parameters,
so a tuple of them can be searched over with ``GridSearchCV`` and cached.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Protocol

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from sksimclr._resizing import resize, resized_crop

__all__ = [
    "Augmentation",
    "BrightnessContrast",
    "HorizontalFlip",
    "ResizedCrop",
    "VerticalFlip",
]

_TOLERANCE = 1e-3  # beyond [0, 1], for resized images
_ATTEMPTS = 10  # draws of a box before the largest centred one is taken


class Augmentation(Protocol):
    """What `SimCLRTransformer` expects of an augmentation: a call like this one."""

    def __call__(
        self, images: Tensor, *, generator: torch.Generator, size: int
    ) -> Tensor:
        """Augment float images of shape (n, C, H, W); views have side `size`."""
        ...


@dataclass(frozen=True)
class ResizedCrop:
    """Cut a random box out of every image and resize it to a square.

    Equal to torchvision's ``RandomResizedCrop`` in distribution and, for the same
    boxes, to its antialiased bilinear ``resized_crop``.

    Parameters
    ----------
    scale : (float, float), default=(0.08, 1.0)
        Smallest and largest area of the box as a fraction of the image's, in (0, 1].
    ratio : (float, float), default=(3/4, 4/3)
        Smallest and largest aspect ratio (width / height) of the box, before it is
        resized; drawn uniformly on a logarithmic scale.

    Examples
    --------
    >>> import torch
    >>> crop = ResizedCrop(scale=(0.2, 1.0))
    >>> generator = torch.Generator().manual_seed(0)
    >>> crop(torch.rand(4, 1, 32, 40), generator=generator, size=16).shape
    torch.Size([4, 1, 16, 16])
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        for name, high in (("scale", 1.0), ("ratio", math.inf)):
            limits = _check_range("ResizedCrop", name, getattr(self, name), high)
            object.__setattr__(self, name, limits)

    def __call__(
        self, images: Tensor, *, generator: torch.Generator, size: int
    ) -> Tensor:
        """Return one random crop of every image.

        Parameters
        ----------
        images : Tensor of shape (n, C, H, W), floating point
        generator : torch.Generator
        size : int
            Side of the result in pixels.

        Returns
        -------
        Tensor of shape (n, C, size, size)
        """
        boxes = self.draw_boxes(
            len(images), images.shape[-2], images.shape[-1], generator
        )
        return resized_crop(images, boxes, size)

    def draw_boxes(
        self, n_images: int, height: int, width: int, generator: torch.Generator
    ) -> Tensor:
        """Draw one box for every image.

        Returns
        -------
        Tensor of shape (n_images, 4), int64
            Top, left, height and width in pixels.
        """
        draws = torch.rand(
            n_images, _ATTEMPTS, 2, generator=generator, device=generator.device
        ).double()
        area = height * width * _between(self.scale, draws[..., 0])
        log_ratio = (math.log(self.ratio[0]), math.log(self.ratio[1]))
        ratio = torch.exp(_between(log_ratio, draws[..., 1]))
        w = torch.round(torch.sqrt(area * ratio)).long()
        h = torch.round(torch.sqrt(area / ratio)).long()
        fits = (0 < w) & (w <= width) & (0 < h) & (h <= height)
        first = fits.int().argmax(dim=1, keepdim=True)
        h, w = h.gather(1, first)[:, 0], w.gather(1, first)[:, 0]
        corner = torch.rand(
            n_images, 2, generator=generator, device=generator.device
        ).double()
        top = (corner[:, 0] * (height - h + 1)).long()
        left = (corner[:, 1] * (width - w + 1)).long()
        boxes = torch.stack([top, left, h, w], dim=1)
        boxes[~fits.any(dim=1)] = self._central_box(height, width).to(boxes)
        return boxes

    def _central_box(self, height: int, width: int) -> Tensor:
        """Return the largest centred box that has an allowed aspect ratio."""
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        w = min(width, round(height * ratio))
        h = min(height, round(width / ratio))
        return torch.tensor([(height - h) // 2, (width - w) // 2, h, w])


@dataclass(frozen=True)
class VerticalFlip:
    """Turn images upside down at random: a flip over a horizontal axis.

    Parameters
    ----------
    p : float, default=0.5
        Probability, in [0, 1].

    Examples
    --------
    >>> import torch
    >>> images = torch.tensor([[[[0.0], [1.0]]]])
    >>> VerticalFlip(p=1)(images, generator=torch.Generator(), size=2).flatten()
    tensor([1., 0.])
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        _check_share("VerticalFlip", "p", self.p)

    def __call__(
        self, images: Tensor, *, generator: torch.Generator, size: int
    ) -> Tensor:
        """Flip each of `images` of shape (n, C, H, W) with probability `p`."""
        return _flip_some(images, self.p, generator, axis=-2)


@dataclass(frozen=True)
class HorizontalFlip:
    """Mirror images left to right at random: a flip over a vertical axis.

    Not part of the paper's recipe, since east and west differ for the aurora.

    Parameters
    ----------
    p : float, default=0.5
        Probability, in [0, 1].

    Examples
    --------
    >>> import torch
    >>> images = torch.tensor([[[[0.0, 1.0]]]])
    >>> HorizontalFlip(p=1)(images, generator=torch.Generator(), size=2).flatten()
    tensor([1., 0.])
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        _check_share("HorizontalFlip", "p", self.p)

    def __call__(
        self, images: Tensor, *, generator: torch.Generator, size: int
    ) -> Tensor:
        """Flip each of `images` of shape (n, C, H, W) with probability `p`."""
        return _flip_some(images, self.p, generator, axis=-1)


@dataclass(frozen=True)
class BrightnessContrast:
    """Change the brightness of images at random, then their contrast.

    Without it, the histograms alone can tell which two crops belong together. Not part
    of the paper's recipe. Equal to torchvision's ``adjust_brightness``, followed by its
    ``adjust_contrast``, for the same factors; each is drawn uniformly for every image.

    Parameters
    ----------
    brightness, contrast : float, default=0.4
        The factor lies within 1 - `brightness` and 1 + `brightness`; in [0, 1].

    Notes
    -----
    Images must lie in [0, 1], or else it is a ValueError; so does the result.

    Examples
    --------
    >>> import torch
    >>> generator = torch.Generator().manual_seed(0)
    >>> images = torch.full((2, 1, 4, 4), 0.5)
    >>> change = BrightnessContrast(brightness=0.2, contrast=0)
    >>> views = change(images, generator=generator, size=4)
    >>> bool(((0.4 <= views) & (views <= 0.6)).all()), len(views.unique())
    (True, 2)
    """

    brightness: float = 0.4
    contrast: float = 0.4

    def __post_init__(self) -> None:
        _check_share("BrightnessContrast", "brightness", self.brightness)
        _check_share("BrightnessContrast", "contrast", self.contrast)

    def __call__(
        self, images: Tensor, *, generator: torch.Generator, size: int
    ) -> Tensor:
        """Change each of `images` of shape (n, C, H, W), floats in [0, 1]."""
        draws = torch.rand(
            2, len(images), 1, 1, 1, generator=generator, device=generator.device
        ).to(images)
        brightness = _between((1 - self.brightness, 1 + self.brightness), draws[0])
        contrast = _between((1 - self.contrast, 1 + self.contrast), draws[1])
        if images.min() < -_TOLERANCE or images.max() > 1 + _TOLERANCE:
            raise ValueError(
                f"BrightnessContrast needs images in [0, 1], got {images.min():.4g} to "
                f"{images.max():.4g}. Scale X first."
            )
        images = (images * brightness).clamp(0, 1)
        grey = tvf.rgb_to_grayscale(images) if images.shape[1] == 3 else images
        mean = grey.mean(dim=(1, 2, 3), keepdim=True)
        return (mean + (images - mean) * contrast).clamp(0, 1)


def make_view(
    images: Tensor,
    augmentations: Sequence[Augmentation],
    *,
    generator: torch.Generator,
    size: int,
) -> Tensor:
    """Apply `augmentations` in order and bring the result to `size`.

    Parameters
    ----------
    images : Tensor of shape (n, C, H, W), floating point
    augmentations : sequence of augmentations
    generator : torch.Generator
    size : int
        Side of the view in pixels.

    Returns
    -------
    Tensor of shape (n, C, size, size)

    Raises
    ------
    ValueError
        An augmentation cannot be called as such.

    Examples
    --------
    >>> import torch
    >>> generator = torch.Generator().manual_seed(0)
    >>> views = (ResizedCrop(), VerticalFlip())
    >>> make_view(torch.rand(4, 1, 32, 32), views, generator=generator, size=16).shape
    torch.Size([4, 1, 16, 16])
    """
    for augmentation in augmentations:
        try:
            images = augmentation(images, generator=generator, size=size)
        except TypeError as error:
            raise ValueError(
                "augmentations must be a tuple of members of sksimclr.augmentations, "
                "such as (ResizedCrop(), VerticalFlip()), or of others that are called "
                "as aug(images, generator=generator, size=size); got "
                f"{augmentation!r} in it: {error}"
            ) from error
    return resize(images, size)


def _flip_some(
    images: Tensor, p: float, generator: torch.Generator, axis: int
) -> Tensor:
    """Flip each image along `axis` with probability `p`."""
    draws = torch.rand(len(images), generator=generator, device=generator.device)
    flipped = (draws < p).to(images.device)[:, None, None, None]
    return torch.where(flipped, images.flip(axis), images)


def _between(limits: tuple[float, float], draws: Tensor) -> Tensor:
    """Stretch draws from [0, 1) to the range between `limits`."""
    return limits[0] + (limits[1] - limits[0]) * draws


def _check_range(
    owner: str, name: str, limits: tuple[float, float], high: float
) -> tuple[float, float]:
    """Return two numbers as a tuple, if they are ordered and in (0, high]."""
    try:
        smallest, largest = (float(limit) for limit in limits)
    except (TypeError, ValueError):
        smallest, largest = math.nan, math.nan
    if not 0 < smallest <= largest <= high:
        raise ValueError(
            f"{name} of {owner} must be two numbers, 0 < smallest <= largest"
            f"{'' if math.isinf(high) else f' <= {high:g}'}, got {limits!r}."
        )
    return smallest, largest


def _check_share(owner: str, name: str, share: float) -> None:
    """Raise a ValueError unless `share` lies in [0, 1]."""
    if not isinstance(share, Real) or not 0 <= share <= 1:
        raise ValueError(f"{name} of {owner} must lie in [0, 1], got {share!r}.")
