"""What all augmentations share: how they are called, their draws, their parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Protocol

import torch
from torch import Tensor

from sksimclr._images.resizing import resize


class Augmentation(Protocol):
    """What `SimCLRTransformer` expects of an augmentation: a call like this one.

    Examples
    --------
    One of your own, to be found in a module if fits run in several processes:

    >>> from dataclasses import dataclass
    >>> import torch
    >>> from sksimclr.augmentations import Augmentation
    >>> @dataclass(frozen=True)
    ... class Negative(Augmentation):
    ...     p: float = 0.5
    ...
    ...     def __call__(self, images, *, generator, size):
    ...         draws = torch.rand(len(images), 1, 1, 1, generator=generator)
    ...         return torch.where(draws < self.p, 1 - images, images)
    >>> Negative(p=1)(torch.zeros(1, 1, 1, 2), generator=None, size=2).flatten()
    tensor([1., 1.])
    """

    def __call__(
        self, images: Tensor, *, generator: torch.Generator, size: int
    ) -> Tensor:
        """Return a random view of each image, drawn by `generator` alone.

        Parameters
        ----------
        images : Tensor of shape (n, C, H, W), floating point
        generator : torch.Generator
        size : int
            Side of the views in pixels, at least 1, for those that resize.

        Returns
        -------
        Tensor of shape (n, C, H, W) or (n, C, size, size), of the type of `images`
        """
        ...


def make_view(
    images: Tensor,
    augmentations: Sequence[Augmentation],
    *,
    generator: torch.Generator,
    size: int,
) -> Tensor:
    """Apply `augmentations` in order and bring the result to `size`.

    In the images' own precision, also where a network runs under ``torch.autocast``.

    Parameters
    ----------
    images : Tensor of shape (n, C, H, W), floating point
    augmentations : sequence of augmentations
    generator : torch.Generator
    size : int
        Side of the view in pixels, at least 1.

    Returns
    -------
    Tensor of shape (n, C, size, size), of the type of `images`

    Raises
    ------
    ValueError
        An augmentation cannot be called as such.

    Examples
    --------
    >>> import torch
    >>> from sksimclr.augmentations import ResizedCrop, VerticalFlip
    >>> generator = torch.Generator().manual_seed(0)
    >>> views = (ResizedCrop(), VerticalFlip())
    >>> make_view(torch.rand(4, 1, 32, 32), views, generator=generator, size=16).shape
    torch.Size([4, 1, 16, 16])
    """
    with torch.autocast(images.device.type, enabled=False):
        for augmentation in augmentations:
            try:
                images = augmentation(images, generator=generator, size=size)
            except TypeError as error:
                raise ValueError(
                    "augmentations must be a tuple of members of "
                    "sksimclr.augmentations, such as (ResizedCrop(), VerticalFlip()), "
                    "or of others that are called as "
                    "aug(images, generator=generator, size=size); got "
                    f"{augmentation!r} in it: {error}"
                ) from error
        return resize(images, size)


def uniform(shape: Sequence[int], generator: torch.Generator, images: Tensor) -> Tensor:
    """Draw from [0, 1), to compute with `images`: there, and at least in float32."""
    draws = torch.rand(shape, generator=generator, device=generator.device)
    return moved(draws, images).to(torch.promote_types(images.dtype, torch.float32))


def moved(draws: Tensor, images: Tensor) -> Tensor:
    """Bring a few numbers per image to the device of `images` without waiting for it.

    CUDA has read them when the call returns, so they may be freed. MPS may not
    (https://github.com/pytorch/pytorch/issues/189690): there it waits.
    """
    return draws.to(images.device, non_blocking=images.device.type == "cuda")


def generator_on(device: torch.device, generator: torch.Generator) -> torch.Generator:
    """Return `generator`, or one on `device` that is seeded by a draw from it."""
    if generator.device == device:
        return generator
    seed = torch.randint(2**63 - 1, (), generator=generator, device=generator.device)
    return torch.Generator(device).manual_seed(int(seed))


def between(limits: tuple[float, float], draws: Tensor) -> Tensor:
    """Stretch draws from [0, 1) to the range between `limits`."""
    return limits[0] + (limits[1] - limits[0]) * draws


def check_range(
    owner: str, name: str, limits: tuple[float, float], high: float = math.inf
) -> tuple[float, float]:
    """Return two numbers as a tuple, if they are ordered, finite and in (0, high]."""
    try:
        smallest, largest = (float(limit) for limit in limits)
    except (TypeError, ValueError):
        smallest, largest = math.nan, math.nan
    if not 0 < smallest <= largest <= high or math.isinf(largest):
        raise ValueError(
            f"{name} of {owner} must be two numbers, 0 < smallest <= largest"
            f"{' < inf' if math.isinf(high) else f' <= {high:g}'}, got {limits!r}."
        )
    return smallest, largest


def check_number(owner: str, name: str, number: float, high: float = 1.0) -> None:
    """Raise a ValueError unless `number` is finite and lies in [0, high]."""
    if not isinstance(number, Real) or not 0 <= number <= high or math.isinf(number):
        interval = "[0, inf)" if math.isinf(high) else f"[0, {high:g}]"
        raise ValueError(f"{name} of {owner} must lie in {interval}, got {number!r}.")
