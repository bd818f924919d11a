"""Central columns of frames, and their places on an axis of time."""

from numbers import Real

import numpy as np
from sklearn.utils import check_scalar

from sksimclr._images.sky import to_grey

_MAX_CELLS = 8192  # on the axis of time
_NEAR = 0.9  # how far a frame reaches, as a part of the usual step between frames
_ONE_FRAME = 60 * 10**9  # width on the axis of time if there is but one, nanoseconds


def central_columns(images, center, radius):
    """Return the column through the zenith of each frame, within the field of view.

    Parameters
    ----------
    images : ndarray of shape (n, H, W) or (n, H, W, C)
    center : (float, float) or None
    radius : float

    Returns
    -------
    ndarray of shape (n, n_rows), float32

    Examples
    --------
    >>> central_columns(np.arange(20).reshape(1, 4, 5), None, 0.5)
    array([[ 7., 12., 17.]], dtype=float32)
    """
    check_scalar(
        radius, "radius", Real, min_val=0, max_val=2, include_boundaries="right"
    )
    height, width = images.shape[1:3]
    row, column = (height / 2, width / 2) if center is None else center
    reach = radius * min(height, width) / 2
    first = max(0, int(np.ceil(row - reach)))
    last = min(height - 1, int(np.floor(row + reach)))
    column = round(column)
    if first > last or not 0 <= column < width:
        raise ValueError(
            f"KeogramDisplay: center must be a pixel of frames of {height} x {width}, "
            f"got {center!r}."
        )
    pixels = images[:, first : last + 1, column : column + 1]
    return to_grey(pixels)[..., 0].astype(np.float32)


def on_axis_of_time(times):
    """Return what is shown where on an even axis of time.

    Parameters
    ----------
    times : ndarray of shape (n_frames,), datetime64[ns]
        In ascending order.

    Returns
    -------
    edges : ndarray of shape (2,), datetime64[ns]
        Of the axis.
    frames : ndarray of shape (n_cells,), int
        Number of the frame in each cell, which is as wide as the usual step between
        frames; -1 where none is nearer than nine tenths of that.

    Examples
    --------
    >>> times = np.array([0, 10, 20, 50], "datetime64[s]").astype("datetime64[ns]")
    >>> on_axis_of_time(times)[1]
    array([ 0,  1,  2, -1, -1,  3])
    """
    since = (times - times[0]).astype(np.int64)
    steps = np.diff(since)
    step = np.median(steps[steps > 0]) if since[-1] else _ONE_FRAME
    n_cells = int(min(round(since[-1] / step) + 1, _MAX_CELLS))
    centers, step = np.linspace(0, since[-1], n_cells), max(step, since[-1] / n_cells)
    after = np.searchsorted(since, centers).clip(max=len(since) - 1)
    before = np.maximum(after - 1, 0)
    is_before = centers - since[before] < since[after] - centers
    frames = np.where(is_before, before, after)
    frames[abs(since[frames] - centers) > _NEAR * step] = -1
    margin = np.timedelta64(round(step / 2), "ns")
    return np.array([times[0] - margin, times[-1] + margin]), frames
