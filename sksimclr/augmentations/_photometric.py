"""Augmentations that change values and leave everything in its place."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as tvf

from sksimclr.augmentations._shared import (
    between,
    check_number,
    check_range,
    generator_on,
    uniform,
)

_TOLERANCE = 1e-3  # beyond [0, 1], for resized images
_N_SIGMAS = 3  # at which the Gaussian of a blur is cut


@dataclass(frozen=True)
class BrightnessContrast:
    """Change the brightness of images at random, then their contrast.

    Without it, the histograms alone can tell which two crops belong together [2]_. Not
    part of the recipe of [1]_. Equal to torchvision's ``adjust_brightness`` and, after
    it, ``adjust_contrast``, for the same factors; each is drawn uniformly for every
    image.

    Parameters
    ----------
    brightness, contrast : float, default=0.4
        The factor lies within 1 - `brightness` and 1 + `brightness`; in [0, 1].

    Raises
    ------
    ValueError
        `brightness` or `contrast` is not as described.

    Notes
    -----
    Images must lie in [0, 1]; so does the result. On a CPU, others are a ValueError. On
    another device, where it takes a wait to know, such an image becomes NaN instead,
    and with it the loss: training stops and says so.

    References
    ----------
    .. [1] Johnson et al. (2021), "A Contrastive Learning Approach to Auroral
       Identification and Classification", https://arxiv.org/abs/2109.13899
    .. [2] Chen et al. (2020), "A Simple Framework for Contrastive Learning of Visual
       Representations", section 3.1, https://arxiv.org/abs/2002.05709

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
        check_number("BrightnessContrast", "brightness", self.brightness)
        check_number("BrightnessContrast", "contrast", self.contrast)

    def __call__(
        self, images: Tensor, *, generator: torch.Generator, size: int
    ) -> Tensor:
        """Change each image.

        Parameters
        ----------
        images : Tensor of shape (n, C, H, W), floats in [0, 1]
        generator : torch.Generator
        size : int
            Side of the views in pixels, at least 1; without effect.

        Returns
        -------
        Tensor of shape (n, C, H, W), of the type of `images`
            In [0, 1].

        Raises
        ------
        ValueError
            An image on a CPU leaves [0, 1].
        """
        draws = uniform((2, len(images), 1, 1, 1), generator, images)
        brightness = between((1 - self.brightness, 1 + self.brightness), draws[0])
        contrast = between((1 - self.contrast, 1 + self.contrast), draws[1])
        if images.device.type == "cpu":
            _refuse_outside(images)
        else:
            images = _nan_outside(images)
        changed = (images * brightness).clamp(0, 1)
        grey = tvf.rgb_to_grayscale(changed) if changed.shape[1] == 3 else changed
        mean = grey.mean(dim=(1, 2, 3), keepdim=True)
        return (mean + (changed - mean) * contrast).clamp(0, 1).to(images.dtype)


@dataclass(frozen=True)
class GaussianBlur:
    """Blur images at random, each by a Gaussian of its own width.

    Not part of the recipe of [1]_; it hides the noise of the camera, by which two crops
    may be told to belong together. The defaults are those of [2]_. Equal to
    torchvision's ``gaussian_blur`` for the same width, with borders that reflect and
    kernels that reach 3 times the largest `sigma`, or from border to border of a
    smaller image.

    Parameters
    ----------
    sigma : (float, float), default=(0.1, 2.0)
        Smallest and largest standard deviation of the Gaussian, in pixels of the images
        as they arrive, above 0; drawn uniformly for every image.
    p : float, default=0.5
        Probability that an image is blurred, in [0, 1]; others are untouched.

    Raises
    ------
    ValueError
        `sigma` or `p` is not as described.

    References
    ----------
    .. [1] Johnson et al. (2021), "A Contrastive Learning Approach to Auroral
       Identification and Classification", https://arxiv.org/abs/2109.13899
    .. [2] Chen et al. (2020), "A Simple Framework for Contrastive Learning of Visual
       Representations", appendix A, https://arxiv.org/abs/2002.05709

    Examples
    --------
    >>> import torch
    >>> point = torch.zeros(1, 1, 5, 5)
    >>> point[..., 2, 2] = 1
    >>> blur = GaussianBlur(sigma=(0.6, 0.6), p=1)
    >>> blur(point, generator=torch.Generator(), size=5)[0, 0, 2]
    tensor([0.0034, 0.1099, 0.4407, 0.1099, 0.0034])
    """

    sigma: tuple[float, float] = (0.1, 2.0)
    p: float = 0.5

    def __post_init__(self) -> None:
        limits = check_range("GaussianBlur", "sigma", self.sigma)
        object.__setattr__(self, "sigma", limits)
        check_number("GaussianBlur", "p", self.p)

    def __call__(
        self, images: Tensor, *, generator: torch.Generator, size: int
    ) -> Tensor:
        """Blur each image with probability `p`.

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
        draws = uniform((2, len(images)), generator, images)
        blurred = _blur(images, between(self.sigma, draws[1]), self.sigma[1])
        return torch.where(draws[0, :, None, None, None] < self.p, blurred, images)


@dataclass(frozen=True)
class GaussianNoise:
    """Add Gaussian noise to images, independent in every pixel and channel.

    Not part of the recipe of [1]_. Equal to torchvision's ``gaussian_noise`` without
    clipping, for the same noise: where there is little light, clipping would leave
    nothing but the brighter half of the noise. The result may thus leave [0, 1] a
    little; put it behind `BrightnessContrast`, which refuses that.

    Parameters
    ----------
    sigma : float, default=0.1
        Standard deviation of the noise in units of the pixel values, which lie in
        [0, 1] for images of integers; at least 0.

    Raises
    ------
    ValueError
        `sigma` is not as described.

    Notes
    -----
    A device draws the noise itself, seeded by the generator: the same seed gives other
    noise on a GPU than on a CPU.

    References
    ----------
    .. [1] Johnson et al. (2021), "A Contrastive Learning Approach to Auroral
       Identification and Classification", https://arxiv.org/abs/2109.13899

    Examples
    --------
    >>> import torch
    >>> generator = torch.Generator().manual_seed(0)
    >>> images = torch.zeros(2, 1, 64, 64)
    >>> views = GaussianNoise(sigma=0.2)(images, generator=generator, size=64)
    >>> round(float(views.std()), 2)
    0.2
    """

    sigma: float = 0.1

    def __post_init__(self) -> None:
        check_number("GaussianNoise", "sigma", self.sigma, math.inf)

    def __call__(
        self, images: Tensor, *, generator: torch.Generator, size: int
    ) -> Tensor:
        """Add noise to each image.

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
        noise = torch.randn(
            images.shape,
            generator=generator_on(images.device, generator),
            dtype=images.dtype,
            device=images.device,
        )
        return images + self.sigma * noise


def _refuse_outside(images: Tensor) -> None:
    """Raise a ValueError unless all values lie in [0, 1]; waits for the device."""
    low, high = images.aminmax()
    if low < -_TOLERANCE or high > 1 + _TOLERANCE:
        raise ValueError(
            f"BrightnessContrast needs images in [0, 1], got {low:.4g} to {high:.4g}. "
            "Scale X first."
        )


def _nan_outside(images: Tensor) -> Tensor:
    """Make NaN of every image that leaves [0, 1], without waiting for the device."""
    low = images.amin(dim=(1, 2, 3), keepdim=True)
    high = images.amax(dim=(1, 2, 3), keepdim=True)
    inside = (low >= -_TOLERANCE) & (high <= 1 + _TOLERANCE)
    return images.masked_fill(
        ~inside, math.nan
    )  # torch.where copies the NaN, and waits


def _blur(images: Tensor, sigma: Tensor, largest: float) -> Tensor:
    """Convolve every image with its own Gaussian, rows first, then columns.

    Parameters
    ----------
    images : Tensor of shape (n, C, H, W), floating point
    sigma : Tensor of shape (n,)
        Standard deviations in pixels, in the precision that is computed with.
    largest : float
        The largest that `sigma` can be, which decides how far kernels reach.

    Returns
    -------
    Tensor of shape (n, C, H, W)
    """
    n_images, n_channels, height, width = images.shape
    reach = math.ceil(_N_SIGMAS * largest)
    y_reach, x_reach = min(reach, height - 1), min(reach, width - 1)
    padded = F.pad(
        images.to(sigma.dtype), (x_reach, x_reach, y_reach, y_reach), mode="reflect"
    )
    groups = n_images * n_channels  # each with its own kernel
    planes = padded.reshape(1, groups, *padded.shape[2:])
    across = _gaussian_kernels(sigma, x_reach, n_channels)[:, None, None, :]
    planes = F.conv2d(planes, across, groups=groups)
    down = _gaussian_kernels(sigma, y_reach, n_channels)[:, None, :, None]
    planes = F.conv2d(planes, down, groups=groups)
    return planes.reshape(images.shape).to(images.dtype)


def _gaussian_kernels(sigma: Tensor, reach: int, n_channels: int) -> Tensor:
    """Return Gaussians of sum 1 for every plane: (n * n_channels, 2 * reach + 1)."""
    pixel = torch.arange(-reach, reach + 1, device=sigma.device)
    kernels = torch.softmax(-0.5 * (pixel / sigma[:, None]) ** 2, dim=1)
    kernels = kernels[:, None].expand(-1, n_channels, -1)
    return kernels.reshape(-1, kernels.shape[2])
