"""How often a camera takes frames, and where its frames are not as regular as that."""

import numpy as np
from scipy.ndimage import maximum_filter1d, median_filter

_AROUND = 21  # steps, of which some may be gaps
_SECOND = 10**9  # nanoseconds
_HOUR = 3600 * _SECOND
_FLANK = 600 * _SECOND  # what must be regular before and after an hour
_SLOWEST = 330 * _SECOND  # cadence at which an hour is told from others
_PART = 0.7  # of the frames of an hour, at least
_ALMOST_ALL = 0.95  # of the frames that are too near to each other, in one hour
_MOST_LOST = 0.2  # of the frames of a night in which an hour is missing


def usual_steps(steps, around=_AROUND):
    """Return how long steps between frames usually are around each of them.

    That is the median of the steps around, on the side where it is longer: the last
    frame before a camera slows down is not followed by a gap.

    Parameters
    ----------
    steps : ndarray of shape (n,), int64
        At least one.
    around : int
        How many steps, an odd number. Of as many, fewer than half may be gaps.

    Returns
    -------
    ndarray of shape (n,), float64

    Examples
    --------
    >>> usual_steps(np.array([10, 10, 10, 60, 60, 60]), 3)
    array([10., 10., 60., 60., 60., 60.])
    """
    if len(steps) <= around:
        return np.full(len(steps), np.median(steps))
    half = around // 2
    medians = median_filter(steps, around)[half:-half].astype(float)
    padded = np.pad(medians, around - 1, "edge")
    return maximum_filter1d(padded, around)[half:-half]


def frames_lost(steps):
    """Return how many frames are missing in each step, by the cadence around it.

    Parameters
    ----------
    steps : ndarray of shape (n,), int64
        Nanoseconds between frames of a night.

    Returns
    -------
    lost : ndarray of shape (n,), int64
    usual : ndarray of shape (n,), float64
        As of `usual_steps`; of a gap, the median of all steps that are about as long,
        so that those of long gaps are counted well too.

    Examples
    --------
    >>> frames_lost(np.array([3, 3, 3, 63, 3, 3, 3]))[0]
    array([ 0,  0,  0, 20,  0,  0,  0])
    """
    usual = usual_steps(steps)
    gaps = np.flatnonzero(steps > 1.5 * usual)
    ordered = np.sort(steps)
    first, end = (np.searchsorted(ordered, x * usual[gaps]) for x in (0.75, 1.25))
    medians = ordered[np.minimum((first + end) // 2, len(steps) - 1)]
    usual[gaps] = np.where(first < end, medians, usual[gaps])
    lost = np.zeros(len(steps), np.int64)
    lost[gaps] = np.maximum(np.rint(steps[gaps] / usual[gaps]) - 1, 0)
    return lost, usual


def hour_twice(times):
    """Return the first and last frame of an hour that is there twice.

    For an hour there are twice as many frames, in two series that have the cadence of
    the night. No frames of one series with half the cadence, and of no other length.

    Parameters
    ----------
    times : ndarray of shape (n,), int64
        Of a night, nanoseconds in ascending order, with those that are there twice.

    Returns
    -------
    (int, int) or None
        Row numbers.
    """
    if len(times) < 3:
        return None
    spans = times[2:] - times[:-2]
    half = np.median(spans) / 2
    found = (_dense_hour(times, spans, usual) for usual in (half, 2 * half))
    return next((hour for hour in found if hour is not None), None)


def _dense_hour(times, spans, usual):
    """Return where frames are twice as many as of a cadence, if that is for an hour.

    `usual` is the cadence in the rest of the night, which may be the shorter part.
    """
    if not 0 < usual <= _SLOWEST:
        return None
    dense = np.flatnonzero(spans < 1.5 * usual)
    begins = times[dense]
    counts = np.searchsorted(begins, begins + _HOUR) - np.arange(len(begins))
    most = counts.max(initial=0)
    if most < max(_PART * 2 * _HOUR / usual, _ALMOST_ALL * len(begins)):
        return None
    place = int(counts.argmax())
    first, last = int(dense[place]), int(dense[place + most - 1]) + 2
    length, margin = times[last] - times[first], max(60 * _SECOND, 2.5 * usual)
    flanks = times[first] - times[0], times[-1] - times[last]
    if abs(length - _HOUR) > margin or min(flanks) < _FLANK:
        return None
    usual = np.median(np.append(spans[:first], spans[last:])) / 2
    steps = np.diff(times)
    jitter = np.median(abs(np.append(steps[:first], steps[last:]) - usual))
    is_same = abs(np.median(spans[first : last - 1]) - usual) <= 0.05 * usual
    away = np.median(abs(steps[first:last] - usual / 2))  # 0 of one series
    return (first, last) if is_same and away > 0.025 * usual + jitter else None


def hour_missing(times, steps, lost, usual, ahead):
    """Return the last frame before an hour that is left out.

    That is a gap of an hour from a full hour of the clock, the only one of its kind in
    a night that is regular otherwise.

    Parameters
    ----------
    times : ndarray of shape (n,), int64
        Of a night, nanoseconds since 1970, each once in ascending order.
    steps, lost, usual : ndarray of shape (n - 1,)
        Between them, as of `frames_lost`.
    ahead : int
        Of the clock, nanoseconds.

    Returns
    -------
    int or None
        Row number.
    """
    near = np.maximum(2 * _SECOND, usual / 2)
    places = np.flatnonzero(abs(steps - usual - _HOUR) <= near)
    if len(places) != 1:
        return None
    (place,) = places.tolist()
    cadence, tolerance = usual[place], near[place]
    late = (times[place] + ahead + cadence + tolerance) % _HOUR
    is_full = late <= cadence + 2 * tolerance
    is_regular = lost.sum() - lost[place] <= _MOST_LOST * len(times)
    before, after = times[place] - times[0], times[-1] - times[place + 1]
    is_within = min(before, after) >= _FLANK and cadence <= _SLOWEST
    return place if is_full and is_regular and is_within else None
