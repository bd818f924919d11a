"""All-sky frames as arrays: the field of view, grey values, percentiles, contrast."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
_N_SAMPLED = 2048  # pixels of a frame, about: a percentile is then among a hundredth
_MARGIN = 4  # standard deviations of its place in the sample


def field_of_view(
    image_shape: Sequence[int], radius: float, center: Sequence[float] | None
) -> NDArray[np.bool_]:
    """Return a boolean mask (H, W), True inside the field of view.

    Pixels at a distance of at most `radius` times half the shorter side from `center`;
    all of them in images that are one pixel high or wide.
    """
    height, width = image_shape[:2]
    if min(height, width) == 1:
        return np.ones((height, width), dtype=bool)
    row, column = (height / 2, width / 2) if center is None else _as_point(center)
    rows, columns = np.ogrid[:height, :width]
    limit = radius * min(height, width) / 2
    field = (rows - row) ** 2 + (columns - column) ** 2 <= limit**2
    if not field.any():
        raise ValueError(
            f"No pixel of images of {height} x {width} pixels lies within {limit:g} "
            f"pixels of center={(row, column)}. Check radius and center."
        )
    return field


def _as_point(center: Sequence[float]) -> tuple[float, float]:
    """Return the parameter `center` as two floats."""
    try:
        row, column = (float(number) for number in center)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"center must be None or (row, column) in pixels, got {center!r}."
        ) from error
    return row, column


def to_grey(frames: NDArray[Any]) -> NDArray[Any]:
    """Return frames (n, H, W) of frames with or without channels.

    Of grey and alpha, the grey; of colours, the only channel with signal, or else the
    luminance.
    """
    if frames.ndim == 3:
        return frames
    if frames.shape[3] <= 2:
        return frames[..., 0]
    colours = frames[..., :3]
    has_signal = colours.any(axis=(1, 2))
    grey = np.take_along_axis(
        colours, has_signal.argmax(axis=1)[:, None, None, None], axis=3
    )[..., 0]
    mixed = has_signal.sum(axis=1) > 1
    if mixed.any():
        grey = grey.astype(np.result_type(grey.dtype, np.float32))
        grey[mixed] = sum(
            grey.dtype.type(weight) * colours[mixed, ..., k]
            for k, weight in enumerate(_LUMINANCE)
        )
    return grey


def percentile_limits(
    frames: NDArray[Any], field: NDArray[np.bool_], percentiles: Sequence[float]
) -> NDArray[np.float64]:
    """Return two percentiles of every frame over the pixels of `field`.

    Equal to ``numpy.percentile(..., method="linear")``, five to ten times as fast: a
    sorted sample tells between which values a percentile lies, as in the algorithm of
    Floyd and Rivest (1975), "Expected time bounds for selection".

    Parameters
    ----------
    frames : ndarray of shape (n, H, W)
        Without NaN.
    field : ndarray of shape (H, W), bool
    percentiles : (float, float)
        In [0, 100].

    Returns
    -------
    ndarray of shape (n, 2), float64
    """
    pixels = frames.reshape(len(frames), field.size)
    if not field.all():
        pixels = np.compress(field.ravel(), pixels, axis=1)
    n_pixels = pixels.shape[1]
    step = n_pixels // _N_SAMPLED | 1  # odd, or it could pick columns of the frame
    samples = np.sort(pixels[:, step // 2 :: step], axis=1)
    places = [percentile / 100 * (n_pixels - 1) for percentile in percentiles]
    found = [
        [_at_place(row, sample, place) for place in places]
        for row, sample in zip(pixels, samples, strict=True)
    ]
    return np.array(found, np.float64).reshape(len(frames), 2)


def _at_place(row: NDArray[Any], sample: NDArray[Any], place: float) -> float:
    """Return the value at a place of the sorted pixels of a frame, in between."""
    below = int(place)
    above = min(below + 1, len(row) - 1)
    part, n_smaller = _part_around(row, sample, place)
    if not n_smaller <= below <= above < n_smaller + len(part):
        part, n_smaller = row.copy(), 0
    part.partition(below - n_smaller)
    low = float(part[below - n_smaller])
    high = float(part[below - n_smaller + 1 :].min()) if above > below else low
    weight, step = place - below, high - low
    return low + step * weight if weight < 0.5 else high - step * (1 - weight)


def _part_around(
    row: NDArray[Any], sample: NDArray[Any], place: float
) -> tuple[NDArray[Any], int]:
    """Return the pixels of about the value at a place, and how many are smaller."""
    n, share = len(sample), place / max(len(row) - 1, 1)
    margin = _MARGIN * math.sqrt(n * share * (1 - share)) + 1
    first, last = int(share * n - margin), int(share * n + margin) + 1
    if first <= 0:
        return row[row <= sample[min(last, n - 1)]], 0
    if last >= n - 1:
        part = row[row >= sample[first]]
        return part, len(row) - len(part)
    part = row[(row >= sample[first]) & (row <= sample[last])]
    return part, int(np.count_nonzero(row < sample[first]))


def stretch(
    frames: NDArray[Any], limits: NDArray[np.float64], field: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return (I - low) / (high - low) cut to [0, 1] in the field, 0 outside it.

    Parameters
    ----------
    frames : ndarray of shape (n, H, W)
    limits : ndarray of shape (n, 2)
        Low and high; frames where they are equal become 0.
    field : ndarray of shape (H, W), bool

    Returns
    -------
    ndarray of shape (n, H, W), float32
        Computed in float64 unless float32 holds every value of the input's type.
    """
    dtype = np.result_type(frames.dtype, np.float32)
    low, high = limits.T[:, :, None, None]
    contrast = high - low
    gain = np.divide(1, contrast, out=np.zeros_like(contrast), where=contrast > 0)
    out = np.subtract(frames, low.astype(dtype), dtype=dtype)
    out *= gain.astype(dtype)
    np.clip(out, 0, 1, out=out)
    out *= field.astype(dtype)
    stretched: NDArray[np.float32] = out.astype(np.float32, copy=False)
    return stretched


def box_of(field: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the rows and the columns of which all that is in the field is part."""
    lines = [np.flatnonzero(field.any(axis=axis)) for axis in (1, 0)]
    return tuple(slice(line[0], line[-1] + 1) for line in lines)


def square_around(
    box: tuple[slice, ...], image_shape: Sequence[int]
) -> tuple[int, int, int, int]:
    """Return top, left, height and width of what is kept of a frame around its `box`.

    All of it if it is square, or one pixel high or wide. Else a square, as high and
    wide as the shorter side of the frame, or the box if that is more: it may then reach
    beyond the frame.

    Examples
    --------
    >>> square_around((slice(0, 48), slice(16, 64)), (48, 80))
    (0, 16, 48, 48)
    """
    height, width = image_shape[:2]
    if height == width or min(height, width) == 1:
        return 0, 0, height, width
    side = max(min(height, width), *(part.stop - part.start for part in box))
    top, left = (
        _start(part, side, n) for part, n in zip(box, (height, width), strict=True)
    )
    return top, left, side, side


def _start(part: Any, side: int, n_pixels: int) -> int:
    """Return where a square begins that has a part of a line in its middle."""
    if side > n_pixels:
        return (n_pixels - side) // 2
    middle: int = (part.start + part.stop - side) // 2
    return min(max(middle, 0), n_pixels - side)
