"""The cut of a keogram through frames, and its place on an axis of time."""

from dataclasses import dataclass
from numbers import Real

import numpy as np
from sklearn.utils import check_scalar

from sksimclr._images.sky import to_grey

_MAX_CELLS = 8192  # on the axis of time
_LONGEST = 2  # how long a frame lasts at most, as a multiple of the steps around it
_AROUND = 5  # so many steps
_ONE_FRAME = 60 * 10**9  # width on the axis of time if there is but one, nanoseconds
_TURNS = {"top": 0.0, "bottom": 180.0, None: 0.0}


@dataclass(frozen=True, eq=False)
class Cut:
    """Pixels of a frame from north to south through the zenith.

    Attributes
    ----------
    rows, columns : ndarray of shape (n,), int
    distances : ndarray of shape (n,), float64
        From the zenith, as a part of the radius of the field of view; negative in the
        north.
    """

    rows: np.ndarray
    columns: np.ndarray
    distances: np.ndarray

    def of(self, images):
        """Return what is on it, in grey.

        Parameters
        ----------
        images : ndarray of shape (n, H, W) or (n, H, W, C)

        Returns
        -------
        ndarray of shape (n, n_pixels), float32
        """
        pixels = images[:, self.rows, self.columns]
        return to_grey(pixels[:, :, np.newaxis])[..., 0].astype(np.float32)


def make_cut(shape, center, radius, north=None):
    """Return the cut through frames, within the field of view.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the frames.
    center : (float, float) or None
        None is the middle, which is the same pixel of the sky in frames that are turned
        by half a circle.
    radius : float
    north : {"top", "bottom"}, float or None
        As `KeogramDisplay.from_frames` takes it; None is the top.

    Returns
    -------
    Cut

    Examples
    --------
    >>> cut = make_cut((4, 5), None, 0.5)
    >>> cut.of(np.arange(20).reshape(1, 4, 5))
    array([[ 7., 12., 17.]], dtype=float32)
    >>> cut.distances
    array([-1.,  0.,  1.])
    """
    check_scalar(
        radius, "radius", Real, min_val=0, max_val=2, include_boundaries="right"
    )
    (height, width), turn = shape, angle_of(north)
    turned = np.cos(np.deg2rad(turn)) < 0
    if center is None:
        center = height / 2 - turned, width / 2 - turned
    row, column = (round(place) for place in center)
    if not (0 <= row < height and 0 <= column < width):
        raise ValueError(
            f"KeogramDisplay: center must be a pixel of frames of {height} x {width}, "
            f"got {center!r}."
        )
    reach = radius * min(height, width) / 2
    away = np.arange(-np.floor(reach), np.floor(reach) + 1)
    rows = np.rint(row + away * np.cos(np.deg2rad(turn))).astype(int)
    columns = np.rint(column + away * np.sin(np.deg2rad(turn))).astype(int)
    seen = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return Cut(rows[seen], columns[seen], away[seen] / reach)


def angle_of(north):
    """Return where north is, degrees from the top of the frame.

    Raises
    ------
    ValueError
        `north` is no place in a frame.
    """
    if isinstance(north, str) or north is None:
        if north in _TURNS:
            return _TURNS[north]
    elif isinstance(north, Real) and abs(north) <= 360:
        return float(north)
    raise ValueError(
        "north must be 'top', 'bottom' or None, or an angle from the top of the frame, "
        f"anticlockwise, in degrees from -360 to 360, got {north!r}."
    )


def on_axis_of_time(times):
    """Return what is shown where on an even axis of time.

    A frame lasts until the next one begins, but at most twice as long as frames around
    it usually do.

    Parameters
    ----------
    times : ndarray of shape (n_frames,), datetime64[ns]
        In ascending order.

    Returns
    -------
    edges : ndarray of shape (2,), datetime64[ns]
        Of the axis.
    frames : ndarray of shape (n_cells,), int
        Number of the frame in each cell, which is as wide as the shortest step between
        frames; -1 where there is none.

    Examples
    --------
    >>> times = np.array([0, 10, 20, 50], "datetime64[s]").astype("datetime64[ns]")
    >>> on_axis_of_time(times)[1]
    array([ 0,  1,  2,  2, -1,  3])
    """
    starts, first = np.unique((times - times[0]).astype(np.int64), return_index=True)
    steps = np.diff(starts)
    if steps.size:
        from sksimclr.archive._cadence import usual_steps

        usual = usual_steps(steps, _AROUND)
        ends = np.minimum(starts[1:], starts[:-1] + _LONGEST * usual)
        ends, step = np.append(ends, starts[-1] + usual[-1]), steps.min()
    else:
        ends, step = np.array([_ONE_FRAME]), _ONE_FRAME
    n_cells = int(min(np.ceil(ends[-1] / step - 1e-6), _MAX_CELLS))
    width = ends[-1] / n_cells
    centers = (np.arange(n_cells) + 0.5) * width
    last = np.searchsorted(starts, centers, side="right") - 1
    frames = np.where(centers < ends[last], first[last], -1)
    for frame in np.flatnonzero(ends - starts < 0.99 * width):  # but has a cell
        frames[min(int(starts[frame] / width), n_cells - 1)] = first[frame]
    return times[0] + np.array([0, round(ends[-1])], "timedelta64[ns]"), frames
