"""What counts as images, and lazy batches of them.

Every estimator sees its X through :class:`Images`: n images of one shape, read a
batch at a time from an array, a lazily sliced array or files.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sksimclr._files import modes
from sksimclr._files.frames import MAX_CHANNELS
from sksimclr._files.readers import read_image

_CHECK_BLOCK = 1 << 24  # bytes looked at in one go when searching for NaN
_MAX_READERS = 4  # threads that decode files


class Images(ABC):
    """N images of one shape, read by batch.

    Attributes
    ----------
    image_shape : tuple of int
        ``(H, W)`` or ``(H, W, C)``.
    dtype : numpy dtype
        Of the values as they are stored.
    ndim : int
        Number of dimensions they came in: 2 for flattened rows, 3 for grey images and
        for files, 4 for images with channels.
    n_readers : int
        Threads that may read at the same time, beside the one that works on what was
        read; 0 for images in memory, which are not worth a thread.
    shard_lengths : ndarray of int64, or None
        Of arrays on a disk: images of each of the files that they lie in, one after
        another. None of what is in memory, or has a file for each image.
    """

    n_readers = 0
    shard_lengths: NDArray[np.int64] | None = None

    def __init__(
        self,
        n_images: int,
        image_shape: tuple[int, ...],
        dtype: np.dtype[Any],
        ndim: int = 3,
    ):
        self._n_images = n_images
        self.ndim = ndim
        self.image_shape = image_shape
        self.dtype = np.dtype(dtype).newbyteorder("=")

    def __len__(self) -> int:
        return self._n_images

    @property
    def n_channels(self) -> int:
        """Number of channels of one image."""
        return self.image_shape[2] if len(self.image_shape) == 3 else 1

    def blocks(self, size: int) -> Iterator[slice]:
        """Yield slices of `size` consecutive images, the last one maybe shorter."""
        for start in range(0, len(self), size):
            yield slice(start, min(start + size, len(self)))

    @abstractmethod
    def read(self, rows: slice | Sequence[int] | NDArray[Any]) -> NDArray[Any]:
        """Return the images at `rows` as stored: ``(n, *image_shape)``.

        The result may be a read-only view of the data.
        """

    def load(self, rows: slice) -> None:
        """Read consecutive images in one go, so that the system has them in memory."""
        np.array(self.read(rows))  # of a memory map, the copy is what reads

    def name(self, index: int) -> str:
        """Say which image this is, for messages."""
        return f"image {index}"

    def batch(self, rows: slice | Sequence[int] | NDArray[Any]) -> NDArray[Any]:
        """Return the images at `rows`, ready for a network.

        Returns
        -------
        ndarray of shape (n, C, H, W), uint8 or float32
            uint8 as it is; other integers of 8 or 16 bits divided by their type's
            maximum; everything else cast. Always a copy.
        """
        pixels = self.read(rows)
        pixels = pixels.reshape(len(pixels), *self.image_shape[:2], self.n_channels)
        pixels = np.moveaxis(pixels, -1, 1)
        if pixels.dtype == np.uint8:
            return np.array(pixels, order="C", copy=True)
        return as_floats(pixels)


class ArrayImages(Images):
    """Images in an array, or in anything that is sliced like one."""

    def __init__(self, array: Any, image_shape: tuple[int, ...], *, checked: bool):
        super().__init__(array.shape[0], image_shape, array.dtype, array.ndim)
        self._array = array
        self._checked = checked or self.dtype.kind in "biu"
        if isinstance(array, np.ndarray) and not is_memory_mapped(array):
            return
        self.n_readers = 1  # HDF5 does not stand more, and more are not faster
        lengths = getattr(array, "shard_lengths", [len(self)])  # of a frame store
        self.shard_lengths = np.asarray(lengths, np.int64)
        if self.shard_lengths.sum() != len(self):
            raise ValueError(
                f"X has {len(self)} images, but its shard_lengths are "
                f"{self.shard_lengths.sum()} together."
            )

    def read(self, rows: slice | Sequence[int] | NDArray[Any]) -> NDArray[Any]:
        """Return the images at `rows` as stored: ``(n, *image_shape)``."""
        if isinstance(rows, slice) or isinstance(self._array, np.ndarray):
            pixels = _in_memory(self._array[rows])
        else:  # h5py wants increasing row numbers without repetition
            unique, inverse = np.unique(np.asarray(rows), return_inverse=True)
            pixels = _in_memory(self._array[unique])[inverse]
        if self.n_readers:
            pixels = self._checked_part(pixels, rows)
        pixels = pixels.astype(self.dtype, copy=False)
        return pixels.reshape(len(pixels), *self.image_shape)

    def _checked_part(self, part: NDArray[Any], rows: Any) -> NDArray[Any]:
        """Return what was read of a lazy array, after the checks that it can have."""
        numbers = range(len(self))[rows] if isinstance(rows, slice) else rows
        check_unmasked(part, "X", numbers)  # as a variable of netCDF may be
        if not np.can_cast(part.dtype, self.dtype, "same_kind"):
            raise ValueError(
                f"X says that it holds {self.dtype}, but gives {part.dtype}, as packed "
                "variables of netCDF do. Read it into an array first."
            )
        part = np.asarray(part)
        if not self._checked:
            check_finite(part, numbers)
        return part


class FileImages(Images):
    """Images in files, decoded when they are read."""

    def __init__(self, paths: Sequence[str | os.PathLike[str]]):
        for number, path in enumerate(paths):
            if not isinstance(path, (str, os.PathLike)):
                raise ValueError(
                    f"Expected a path for every image, got {path!r} for image {number}."
                    " Leave such rows out."
                )
        self._paths = [os.path.expanduser(path) for path in paths]
        for path in self._paths:
            if not os.path.exists(path):
                raise FileNotFoundError(f"There is no image file {path!r}.")
        first = read_image(self._paths[0])
        super().__init__(len(self._paths), first.shape, first.dtype)
        self.n_readers = min(_MAX_READERS, (os.cpu_count() or 1) + 1)
        _check_image_shape(first.shape, self.name(0))

    def name(self, index: int) -> str:
        """Say which image this is, for messages."""
        return f"image {index} ({self._paths[index]!r})"

    def read(self, rows: slice | Sequence[int] | NDArray[Any]) -> NDArray[Any]:
        """Decode the images at `rows`: ``(n, *image_shape)``."""
        numbers = range(len(self))[rows] if isinstance(rows, slice) else rows
        out = np.empty((len(numbers), *self.image_shape), self.dtype)
        for k, number in enumerate(numbers):
            out[k] = self._read_one(int(number))
        return out

    def _read_one(self, number: int) -> NDArray[Any]:
        pixels = read_image(self._paths[number])
        if (pixels.shape, pixels.dtype) != (self.image_shape, self.dtype):
            raise ValueError(
                "All images must have one shape and one data type. Expected "
                f"{self.image_shape} {self.dtype} as in {self.name(0)}, got "
                f"{pixels.shape} {pixels.dtype} in {self.name(number)}. "
                "Bring them to one size and type first."
            )
        if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
            raise ValueError(_not_finite(self.name(number)))
        return pixels


def as_images(X: Any, image_shape: tuple[int, ...] | None = None) -> Images:
    """See `X` as images.

    Parameters
    ----------
    X : array-like, lazily sliced array, or sequence of paths
        ``(n, H, W)``, ``(n, H, W, C)`` with 1 to 4 channels, flattened rows
        ``(n, n_pixels)``, or paths of image files.
    image_shape : tuple of int, optional
        Shape of one image, ``(H, W)`` or ``(H, W, C)``, for flattened rows; by
        default they are square if they can be, else strips one pixel high.

    Returns
    -------
    Images

    Raises
    ------
    ValueError
        `X` is not numeric, has another number of dimensions or channels, does not
        fit `image_shape`, or holds NaN or infinity.
    """
    if is_path_sequence(X):
        return FileImages(list(X))
    if np.dtype(X.dtype).kind not in "biuf":
        raise ValueError(f"Images must be numbers, got an array of {X.dtype}.")
    if X.ndim == 2:
        shape = _shape_of_row(X.shape[1], image_shape)
    elif X.ndim in (3, 4):
        shape = tuple(X.shape[1:])
        _check_image_shape(shape, f"X of shape {tuple(X.shape)}")
    else:
        raise ValueError(
            "Expected images of shape (n, H, W) or (n, H, W, C), or flattened rows "
            f"(n, n_pixels); got an array of shape {tuple(X.shape)}."
        )
    in_memory = isinstance(X, np.ndarray) and not is_memory_mapped(X)
    if in_memory and X.dtype.kind == "f":
        check_finite(X, np.arange(len(X)))
    return ArrayImages(X, shape, checked=in_memory)


def is_path_sequence(X: Any) -> bool:
    """Say whether `X` is a one-dimensional sequence with a path in it.

    Raises a ValueError for what was probably meant as one.
    """
    if isinstance(X, (str, os.PathLike)):
        raise ValueError(
            f"Expected images or a sequence of paths, got the single path {X!r}. "
            "Pass a list of files, e.g. sorted(pathlib.Path(folder).glob('*.png'))."
        )
    if isinstance(X, Iterator):
        raise ValueError(
            f"Expected a sequence of images or paths, got {X!r}. Use list."
        )
    if not hasattr(X, "__len__") or getattr(X, "ndim", 1) != 1:
        return False
    if len(X) == 0:
        raise ValueError("X is empty (0 samples): there are no images and no paths.")
    return any(isinstance(item, (str, os.PathLike)) for item in X)


def is_memory_mapped(X: Any) -> bool:
    """Say whether an array's values lie in a memory-mapped file."""
    while isinstance(X, np.ndarray):
        if isinstance(X, np.memmap):
            return True
        X = X.base
    return False


def is_lazy(X: Any) -> bool:
    """Say whether `X` is an array-like that is read by slicing, such as h5py's."""
    return (
        not isinstance(X, np.ndarray)
        and isinstance(getattr(X, "dtype", None), np.dtype)
        and hasattr(X, "__array__")
        and len(X.shape) >= 2
    )


def as_array(image: Any, number: int) -> NDArray[Any]:
    """Return one image of a sequence as an array: one of Pillow's as its file is read.

    Raises a ValueError with its number for one of Pillow's that cannot be had so, and
    for values that are masked.
    """
    check_unmasked(image, f"Image {number}")
    if not isinstance(image, Image.Image):
        return np.asarray(image)
    try:
        return modes.as_array(image)
    except (ValueError, OSError, SyntaxError, EOFError) as error:
        file = getattr(image, "filename", "")
        raise ValueError(
            f"Cannot read image {number}{f' ({file!r})' * bool(file)}: "
            f"{str(error).rstrip('.')}."
        ) from error


def _in_memory(part: Any) -> NDArray[Any]:
    """Return a part of a lazy array as an array, masked if it is."""
    computed = part.compute() if hasattr(part, "compute") else part  # Dask's
    return np.asanyarray(computed)


def check_unmasked(values: Any, name: str, numbers: Any = None) -> None:
    """Raise a ValueError for masked values: what lies under a mask is no value.

    Its rows have the `numbers`, from 0 on by default.
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        mask = np.ma.getmaskarray(values)
        row = int(np.argwhere(mask)[0, 0]) if mask.ndim else 0
        raise ValueError(
            f"{name} has {mask.sum()} masked value(s), first in row "
            f"{row if numbers is None else numbers[row]}. Leave such rows out, or say "
            "what stands for these values: .filled(value)."
        )


def is_scaled(dtype: np.dtype[Any]) -> bool:
    """Say whether numbers of a type are divided by its maximum."""
    return dtype.kind in "iu" and dtype.itemsize <= 2


def check_alike(dtypes: Sequence[np.dtype[Any]], what: str) -> None:
    """Raise a ValueError unless images, or columns, have one type to be scaled by."""
    for number, dtype in enumerate(dtypes):
        first = dtypes[0]
        if dtype != first and (is_scaled(dtype) or is_scaled(first)):
            raise ValueError(
                f"All {what}s must have one data type: integers of 8 and 16 bits are "
                f"divided by its maximum. Expected {first} as in {what} 0, got {dtype} "
                f"in {what} {number}. Bring them to one type first."
            )


def as_floats(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Cast to float32; integers of 8 or 16 bits are scaled by their maximum."""
    floats = pixels.astype(np.float32, order="C")
    if is_scaled(pixels.dtype):
        floats *= np.float32(1 / np.iinfo(pixels.dtype).max)
    return floats


def check_finite(pixels: NDArray[Any], numbers: Any) -> None:
    """Raise a ValueError that names the first image with NaN or infinity."""
    image_bytes = max(1, pixels[:1].nbytes)
    step = max(1, _CHECK_BLOCK // image_bytes)
    for start in range(0, len(pixels), step):
        with np.errstate(over="ignore"):
            block = pixels[start : start + step].astype(np.float32, copy=False)
        finite = np.isfinite(block).reshape(len(block), -1).all(axis=1)
        if not finite.all():
            number = int(numbers[start + int(np.argmin(finite))])
            raise ValueError(_not_finite(f"image {number}"))


def _not_finite(name: str) -> str:
    """Return the message for an image that is not finite."""
    return (
        "Input X contains NaN or infinity, or numbers too large for float32, first in "
        f"{name}. Remove such images or fill the missing pixels."
    )


def _shape_of_row(
    n_pixels: int, image_shape: tuple[int, ...] | None
) -> tuple[int, ...]:
    """Return the shape of an image that came as a row of `n_pixels`."""
    if image_shape is not None:
        shape = _as_image_shape(image_shape)
        if math.prod(shape) != n_pixels:
            raise ValueError(
                f"Rows of {n_pixels} values do not fit image_shape={shape}, which "
                f"has {math.prod(shape)}."
            )
        return shape
    side = round(n_pixels**0.5)
    return (side, side) if side * side == n_pixels else (1, n_pixels)


def _as_image_shape(image_shape: Any) -> tuple[int, ...]:
    """Return the parameter `image_shape` as a tuple of int."""
    if any(not isinstance(side, Integral) for side in image_shape):
        raise ValueError(
            f"image_shape must be (H, W) or (H, W, C) in pixels, got {image_shape!r}."
        )
    shape = tuple(int(side) for side in image_shape)
    _check_image_shape(shape, f"image_shape={image_shape!r}")
    return shape


def _check_image_shape(shape: tuple[int, ...], where: str) -> None:
    """Raise a ValueError unless `shape` is ``(H, W)`` or ``(H, W, C)``."""
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise ValueError(
            "Expected images of shape (H, W) or (H, W, C) with at least one pixel, "
            f"got {shape} in {where}."
        )
    if len(shape) == 3 and shape[2] > MAX_CHANNELS:
        hint = (
            " They look like channels-first images: use np.moveaxis(X, 1, -1)."
            if shape[0] <= MAX_CHANNELS
            else ""
        )
        raise ValueError(
            f"Expected the channels last and 1 to {MAX_CHANNELS} of them, got images "
            f"of shape {shape} in {where}.{hint}"
        )
