"""Augmentations that move pixels: crops, flips and rotations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from sksimclr._images.resizing import resized_crop
from sksimclr.augmentations._shared import (
    between,
    check_number,
    check_range,
    moved,
    uniform,
)

_ATTEMPTS = 10  # draws of a box before the largest centred one is taken


@dataclass(frozen=True)
class ResizedCrop:
    """Cut a random box out of every image and resize it to a square.

    Part of the recipe of [1]_; the defaults are those of [2]_. Equal to torchvision's
    ``RandomResizedCrop`` in distribution and, for the same boxes, to its antialiased
    bilinear ``resized_crop``.

    Parameters
    ----------
    scale : (float, float), default=(0.08, 1.0)
        Smallest and largest area of the box as a fraction of the image's, in (0, 1].
    ratio : (float, float), default=(3/4, 4/3)
        Smallest and largest aspect ratio (width / height) of the box, before it is
        resized, > 0; drawn uniformly on a logarithmic scale.

    Raises
    ------
    ValueError
        `scale` or `ratio` is not as described.

    References
    ----------
    .. [1] Johnson et al. (2021), "A Contrastive Learning Approach to Auroral
       Identification and Classification", https://arxiv.org/abs/2109.13899
    .. [2] Chen et al. (2020), "A Simple Framework for Contrastive Learning of Visual
       Representations", appendix A, https://arxiv.org/abs/2002.05709

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
            limits = check_range("ResizedCrop", name, getattr(self, name), high)
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
            Side of the result in pixels, at least 1.

        Returns
        -------
        Tensor of shape (n, C, size, size), of the type of `images`
        """
        boxes = self.draw_boxes(
            len(images), images.shape[-2], images.shape[-1], generator
        )
        return resized_crop(images, moved(boxes, images), size)

    def draw_boxes(
        self, n_images: int, height: int, width: int, generator: torch.Generator
    ) -> Tensor:
        """Draw one box for every image.

        Parameters
        ----------
        n_images : int
            At least 0.
        height, width : int
            Of the images in pixels, at least 1.
        generator : torch.Generator

        Returns
        -------
        Tensor of shape (n_images, 4), int64
            Top, left, height and width in pixels; on the device of `generator`.
        """
        draws = torch.rand(
            n_images, _ATTEMPTS, 2, generator=generator, device=generator.device
        ).double()
        area = height * width * between(self.scale, draws[..., 0])
        log_ratio = (math.log(self.ratio[0]), math.log(self.ratio[1]))
        ratio = torch.exp(between(log_ratio, draws[..., 1]))
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
        central = self._central_box(height, width).to(boxes)
        return torch.where(fits.any(dim=1, keepdim=True), boxes, central)

    def _central_box(self, height: int, width: int) -> Tensor:
        """Return the largest centred box that has an allowed aspect ratio."""
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        w = min(width, round(height * ratio))
        h = min(height, round(width / ratio))
        return torch.tensor([(height - h) // 2, (width - w) // 2, h, w])


@dataclass(frozen=True)
class _Flip:
    """Flip images at random over the middle of an axis."""

    p: float = 0.5

    _axis: ClassVar[int]

    def __post_init__(self) -> None:
        check_number(type(self).__name__, "p", self.p)

    def __call__(
        self, images: Tensor, *, generator: torch.Generator, size: int
    ) -> Tensor:
        """Flip each image with probability `p`.

        Parameters
        ----------
        images : Tensor of shape (n, C, H, W), floating point
        generator : torch.Generator
        size : int
            Side of the views in pixels, at least 1; without effect.

        Returns
        -------
        Tensor of shape (n, C, H, W), of the type of `images`
        """
        draws = uniform((len(images), 1, 1, 1), generator, images)
        return torch.where(draws < self.p, images.flip(self._axis), images)


class VerticalFlip(_Flip):
    """Turn images upside down at random: a flip over a horizontal axis.

    Part of the recipe of [1]_.

    Parameters
    ----------
    p : float, default=0.5
        Probability, in [0, 1].

    Raises
    ------
    ValueError
        `p` is not as described.

    References
    ----------
    .. [1] Johnson et al. (2021), "A Contrastive Learning Approach to Auroral
       Identification and Classification", https://arxiv.org/abs/2109.13899

    Examples
    --------
    >>> import torch
    >>> images = torch.tensor([[[[0.0], [1.0]]]])
    >>> VerticalFlip(p=1)(images, generator=torch.Generator(), size=2).flatten()
    tensor([1., 0.])
    """

    _axis = -2


class HorizontalFlip(_Flip):
    """Mirror images left to right at random: a flip over a vertical axis.

    Not part of the recipe of [1]_, since east and west differ for the aurora.

    Parameters
    ----------
    p : float, default=0.5
        Probability, in [0, 1].

    Raises
    ------
    ValueError
        `p` is not as described.

    References
    ----------
    .. [1] Johnson et al. (2021), "A Contrastive Learning Approach to Auroral
       Identification and Classification", https://arxiv.org/abs/2109.13899

    Examples
    --------
    >>> import torch
    >>> images = torch.tensor([[[[0.0, 1.0]]]])
    >>> HorizontalFlip(p=1)(images, generator=torch.Generator(), size=2).flatten()
    tensor([1., 0.])
    """

    _axis = -1


@dataclass(frozen=True)
class Rotation:
    """Rotate images about their centre by random angles.

    Not part of the recipe of [1]_. What comes from outside the image is 0, so nothing
    is lost of a field of view that is a circle. Equal to torchvision's bilinear
    ``rotate`` for the same angles; each is drawn uniformly for every image.

    Parameters
    ----------
    degrees : float, default=180
        The angle lies within -`degrees` and `degrees`; in [0, 180].

    Raises
    ------
    ValueError
        `degrees` is not as described.

    References
    ----------
    .. [1] Johnson et al. (2021), "A Contrastive Learning Approach to Auroral
       Identification and Classification", https://arxiv.org/abs/2109.13899

    Examples
    --------
    >>> import torch
    >>> generator = torch.Generator().manual_seed(0)
    >>> images = torch.ones(3, 1, 8, 8)
    >>> views = Rotation(degrees=45)(images, generator=generator, size=8)
    >>> views[:, 0, 0, 0], views[:, 0, 4, 4]  # by -0.4, 24 and -37 degrees
    (tensor([0.9795, 0.0000, 0.0000]), tensor([1., 1., 1.]))
    """

    degrees: float = 180

    def __post_init__(self) -> None:
        check_number("Rotation", "degrees", self.degrees, 180)

    def __call__(
        self, images: Tensor, *, generator: torch.Generator, size: int
    ) -> Tensor:
        """Rotate each image, which keeps its size.

        Parameters
        ----------
        images : Tensor of shape (n, C, H, W), floating point
        generator : torch.Generator
        size : int
            Side of the views in pixels, at least 1; without effect.

        Returns
        -------
        Tensor of shape (n, C, H, W), of the type of `images`
        """
        draws = uniform((len(images),), generator, images)
        return _rotate(images, between((-self.degrees, self.degrees), draws))


def _rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotate every image counterclockwise about its centre.

    The grid is written out, for ``affine_grid`` multiplies matrices, which TF32 would
    round to a tenth of a pixel.

    Parameters
    ----------
    images : Tensor of shape (n, C, H, W), floating point
    degrees : Tensor of shape (n,)
        In the precision that is computed with.

    Returns
    -------
    Tensor of shape (n, C, H, W)
    """
    height, width = images.shape[-2:]
    y = torch.arange(height, device=degrees.device) - (height - 1) / 2
    x = torch.arange(width, device=degrees.device) - (width - 1) / 2
    angle = torch.deg2rad(degrees)[:, None]
    cos, sin = torch.cos(angle), torch.sin(angle)
    to_x, to_y = 2 / width, 2 / height  # grids reach from -1 to 1
    from_x = torch.stack([cos * x * to_x, sin * x * to_y], dim=2)
    from_y = torch.stack([-sin * y * to_x, cos * y * to_y], dim=2)
    rotated = F.grid_sample(
        images.to(degrees.dtype),
        from_x[:, None] + from_y[:, :, None],
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )
    return rotated.to(images.dtype)
