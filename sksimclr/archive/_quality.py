"""What a frame is worth before any network sees it."""

import numpy as np

GOOD = "good"
CONSTANT = "constant"
SATURATED = "saturated"
SHORT = "short"
UNREADABLE = "unreadable"
WITHOUT_LABEL = (CONSTANT, UNREADABLE)

_SATURATED_PART = 0.25  # of the pixels at the largest value of their frame
_STEP = 17  # every how many pixels are looked at for contrast; odd, to cross columns
_FEW_PIXELS = 1 << 14  # all are looked at in frames that have no more


def frame_quality(images, damage=""):
    """Return the quality of frames, one word for each.

    Parameters
    ----------
    images : ndarray of shape (n, H, W) or (n, H, W, C)
    damage : str
        What is wrong with the file; "" for one that is whole.

    Returns
    -------
    ndarray of shape (n,), str
        The first that applies: "unreadable", NaN or infinity in it; "constant", 1st and
        99th percentile are equal; "saturated", a quarter of its pixels, integers, has
        the largest value in it: where counts pile up, whatever the bits of the camera;
        "short", the file is damaged; "good". Alpha does not count.
    """
    pixels = _without_alpha(images).reshape(len(images), -1)
    quality = np.full(len(images), SHORT if damage else GOOD, dtype="<U10")
    if pixels.dtype.kind in "iu":
        largest = pixels.max(axis=1)
        least = _SATURATED_PART * pixels.shape[1]
        # one by one: many times as fast as all at once
        for row, value in enumerate(largest):
            if np.count_nonzero(pixels[row] == value) >= least:
                quality[row] = SATURATED
    quality[_is_constant(pixels)] = CONSTANT
    if pixels.dtype.kind == "f":
        quality[~np.isfinite(pixels).all(axis=1)] = UNREADABLE
    return quality


def _without_alpha(images):
    """Return grey of grey and alpha, and the colours of colours and alpha."""
    has_alpha = images.ndim == 4 and images.shape[3] in (2, 4)
    return images[..., :-1] if has_alpha else images


def _is_constant(pixels):
    """Say which rows have equal 1st and 99th percentiles."""
    seen = pixels if pixels.shape[1] <= _FEW_PIXELS else pixels[:, ::_STEP]
    last = seen.shape[1] - 1
    low, high = round(0.01 * last), round(0.99 * last)
    constant = np.ones(len(seen), bool)
    few = seen[:, ::_STEP]
    high_of_few = few.shape[1] - 1 - (last - high)
    if low < high_of_few:  # so that few of them tell most rows apart from constant ones
        constant = _are_equal(few, low, high_of_few)
    constant[constant] = _are_equal(seen[constant], low, high)
    return constant


def _are_equal(pixels, *places):
    """Say which rows, once sorted, have equal values at two places."""
    low, high = np.partition(pixels, places, axis=1)[:, places].T
    return low == high
