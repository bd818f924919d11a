"""Whether images have the range of values of those that an estimator was fitted on."""

import warnings

import numpy as np

from sksimclr._images.images import is_scaled

_N_SEEN = 8  # images of which the largest value is looked for
_FACTOR = 100  # by which it may differ; uint8 as floats, undivided, differ by 255


def note_range(estimator, images):
    """Note the largest value that the network sees, of the images of a fit."""
    estimator._highest = _highest(images)


def warn_of_another_range(estimator, images):
    """Warn if the images have values of another range than those of `fit`."""
    before = getattr(estimator, "_highest", 0)  # of models of earlier versions
    now = _highest(images)
    if before and now and not 1 / _FACTOR <= now / before <= _FACTOR:
        warnings.warn(
            f"X has images of {images.dtype} with values up to {now:.3g}, and "
            f"{type(estimator).__name__} was fitted on values up to {before:.3g}, when "
            "integers of 8 or 16 bits are divided by their type's maximum. Divide X by "
            "the same number.",
            UserWarning,
            stacklevel=4,
        )


def _highest(images):
    """Return the largest value of the first images, 1 for integers that are scaled."""
    if is_scaled(images.dtype):
        return 1.0
    return float(np.abs(images.batch(slice(0, min(_N_SEEN, len(images))))).max())
