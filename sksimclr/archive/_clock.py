"""Clocks of cameras that do not show UTC."""

from dataclasses import replace
from numbers import Real

import numpy as np

_MOST_HOURS = 14  # that a clock on Earth is ahead of UTC, or behind it


def check_utc_offset(hours):
    """Return hours that a clock is ahead of UTC as a float.

    Raises
    ------
    TypeError, ValueError
        They are none.

    Examples
    --------
    >>> check_utc_offset(1)
    1.0
    """
    if not isinstance(hours, Real) or isinstance(hours, bool):
        raise TypeError(f"utc_offset must be a number of hours, got {hours!r}.")
    if not abs(hours) <= _MOST_HOURS:
        raise ValueError(
            f"utc_offset must be from -{_MOST_HOURS} to {_MOST_HOURS} hours that the "
            f"clock of the camera is ahead of UTC, such as 1 for CET; got {hours!r}."
        )
    return float(hours)


def in_utc(frames, utc_offset):
    """Return frames with times in UTC, of a camera whose clock is ahead of it.

    Parameters
    ----------
    frames : Frames
    utc_offset : float
        Hours.

    Examples
    --------
    >>> from sksimclr.archive import Frames
    >>> times = np.array(["2014-03-10T06:00", "NaT"], "datetime64[s]")
    >>> in_utc(Frames(np.zeros((2, 8, 8), np.uint8), times), 5.5).times
    array(['2014-03-10T00:30:00',                 'NaT'], dtype='datetime64[s]')
    """
    if not utc_offset:
        return frames
    ahead = np.timedelta64(round(3600 * utc_offset), "s")
    return replace(frames, times=frames.times - ahead)
