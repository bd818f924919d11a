"""From raw all-sky frames to images of the aurora on one scale."""

import math
import warnings
from concurrent.futures import ThreadPoolExecutor
from numbers import Integral, Real

import numpy as np
from joblib import cpu_count
from sklearn.base import BaseEstimator, TransformerMixin

from sksimclr._estimators.mixins import (
    DocumentationLinkMixin,
    ImageFeaturesOutMixin,
    ImagesOutMixin,
)
from sksimclr._estimators.validation import (
    Interval,
    StrOptions,
    check_images,
    check_pair,
    validates_parameters,
)
from sksimclr._images.sky import (
    box_of,
    field_of_view,
    percentile_limits,
    square_around,
    stretch,
    to_grey,
)

_BLOCK_PIXELS = 1 << 19  # of frames worked on together: they stay in the cache
_FEW_PIXELS = 1 << 24  # in memory: threads would wait for each other, mostly
_WORKING_MEMORY = 56 << 20  # bytes that all threads together may use on the side
_BYTES_PER_PIXEL = 24  # that a thread uses, at most, while it works on a block
_MOST_NAMED = 10  # frames without contrast that a warning lists


class AuroraPreprocessor(
    DocumentationLinkMixin,
    ImagesOutMixin,
    ImageFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
    auto_wrap_output_keys=None,
):
    r"""Crop all-sky frames to the field of view and stretch their contrast.

    Every frame I becomes, inside a circle around the zenith,

    .. math:: \min(\max((I - I_1) / (I_{99} - I_1), 0), 1)

    with its own 1st and 99th percentiles, and 0 outside: equation (1) of [1]_. Frames
    that are wider than high, or the other way round, become the square around the
    circle, so that it stays one.
    Stateless: `transform` works without `fit`.

    Parameters
    ----------
    radius : float, default=0.85
        Radius of the field of view as a fraction of half the shorter side, > 0.
    center : (float, float), default=None
        Row and column of the zenith in pixels, counted from 0. None is ``(H / 2,
        W / 2)``, as in raw THEMIS frames; the released OATH images have (127, 128).
    percentiles : (float, float), default=(1, 99)
        Percentiles that become 0 and 1, in [0, 100].
    percentiles_over : {"field", "frame"}, default="field"
        Take them over the field of view, or over the whole frame.
    size : int, default=None
        Resize the result to squares of this side in pixels, at least 1, antialiased.
    image_shape : tuple of int, default=None
        Shape of one frame, ``(H, W)`` or ``(H, W, C)``, when X has flattened rows. By
        default they are square if they can be, else strips one pixel high, which have
        no circle to crop to.
    dtype : {"float32", "uint8"}, default="float32"
        Of the result: in [0, 1], or in [0, 255] for a quarter of the memory.

    Attributes
    ----------
    image_shape_ : tuple of int
        Shape of one frame seen in `fit`.
    n_features_in_ : int
        Number of values in one frame.
    feature_names_in_ : ndarray of shape (`n_features_in_`,), object
        Column names of X, when X was a data frame of flattened rows.

    See Also
    --------
    SimCLRTransformer : Embeddings of the result.

    Notes
    -----
    A single frame is ``X[np.newaxis]``: two dimensions mean flattened rows.

    Percentiles are those of ``numpy.percentile(..., method="linear")``. Frames are
    worked on block by block, on all cores if they are many: memory beyond X and the
    result stays below 64 MB for frames of up to a million pixels.

    Images are not columns of a table, so `set_output` has little effect, see there.

    References
    ----------
    .. [1] Johnson et al. (2021), "A Contrastive Learning Approach to Auroral
       Identification and Classification", https://arxiv.org/abs/2109.13899

    Examples
    --------
    >>> from sksimclr import AuroraPreprocessor
    >>> from sksimclr.datasets import make_aurora
    >>> frames = make_aurora(3, size=32, random_state=0).images
    >>> frames.dtype, frames.shape
    (dtype('uint16'), (3, 32, 32))
    >>> images = AuroraPreprocessor().fit_transform(frames)
    >>> images.dtype, images.shape, float(images.min()), float(images.max())
    (dtype('float32'), (3, 32, 32), 0.0, 1.0)
    """

    __module__ = "sksimclr"  # the name that users, pickles and skops files know

    _parameter_constraints = {
        "radius": [Interval(Real, 0, None, closed="neither")],
        "center": [tuple, list, None],
        "percentiles": [tuple, list],
        "percentiles_over": [StrOptions({"field", "frame"})],
        "size": [Interval(Integral, 1, None, closed="left"), None],
        "image_shape": [tuple, list, None],
        "dtype": [StrOptions({"float32", "uint8"})],
    }

    def __init__(
        self,
        radius=0.85,
        *,
        center=None,
        percentiles=(1, 99),
        percentiles_over="field",
        size=None,
        image_shape=None,
        dtype="float32",
    ):
        self.radius = radius
        self.center = center
        self.percentiles = percentiles
        self.percentiles_over = percentiles_over
        self.size = size
        self.image_shape = image_shape
        self.dtype = dtype

    @validates_parameters(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Check the parameters and the form of X; nothing is learnt.

        Parameters
        ----------
        X : images
            Raw frames: ``(n, H, W)``, ``(n, H, W, C)``, flattened rows
            ``(n, n_pixels)``, a lazily sliced array, or paths of image files.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            A parameter or X is not as described.
        FileNotFoundError
            One of the paths in X does not exist.
        """
        check_pair("percentiles", self.percentiles, 0, 100)
        images = check_images(self, X, reset=True)
        field_of_view(images.image_shape, self.radius, self.center)
        return self

    def transform(self, X):
        """Crop and stretch every frame.

        Parameters
        ----------
        X : images
            In any form that `fit` takes; grey or in colours, whatever `fit` saw.

        Returns
        -------
        ndarray of shape (n, H, W), (n, H, W, 1) or (n, H * W), of the type `dtype`
            Grey images in the layout of X: ``(n, H, W)`` for such frames and for
            paths, ``(n, H, W, 1)`` for frames with channels, rows for rows; H and W
            are `size` if it is given, and else those of X, or of the square around
            the field of view. Of several channels, the only one with signal is taken,
            or the luminance.
            With pandas output, and X in a data frame or series, a data frame with one
            column of images, or for rows with a column for each value.

        Raises
        ------
        ValueError
            X is not as described.
        FileNotFoundError
            One of the paths in X does not exist.

        Warns
        -----
        UserWarning
            Lists the frames without contrast, which become zeros.
        """
        self._validate_params()
        low_high = check_pair("percentiles", self.percentiles, 0, 100)
        images = check_images(self, X, reset=False, any_colours=True)
        field = field_of_view(images.image_shape, self.radius, self.center)
        box = box_of(field)
        *corner, height, width = square_around(box, images.image_shape)
        place = tuple(
            slice(part.start - start, part.stop - start)
            for part, start in zip(box, corner, strict=True)
        )
        sides = (self.size, self.size) if self.size else (height, width)
        out = np.zeros((len(images), *sides), self.dtype)

        def process(rows):
            """Fill `out[rows]`; say which of the frames have contrast."""
            frames = to_grey(images.read(rows))
            over = field if self.percentiles_over == "field" else np.ones_like(field)
            limits = percentile_limits(frames, over, low_high)
            part, to = stretch(frames[:, *box], limits, field[box]), place
            if self.size:
                from sksimclr._images.resizing import resize_part  # imports torch

                part, to = resize_part(part, place, (height, width), self.size)
            out[rows, *to] = _as_dtype(part, self.dtype)
            return limits[:, 0] == limits[:, 1]

        n_threads = _n_threads(images)
        with ThreadPoolExecutor(n_threads) as threads:
            blocks = images.blocks(max(1, _BLOCK_PIXELS // field.size))
            work = threads.map if n_threads > 1 else map
            flat = np.concatenate(list(work(process, blocks)))
        _warn_of_flat_frames(images, flat)
        out = out.reshape(_layout(images.ndim, out.shape))
        return self._with_index_of(X, out)

    @property
    def _n_features_out(self):
        if self.size:
            return self.size**2
        field = field_of_view(self.image_shape_, self.radius, self.center)
        return math.prod(square_around(box_of(field), self.image_shape_)[2:])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = [self.dtype]
        tags.requires_fit = False
        return tags


def _n_threads(images):
    """Return how many threads may work on images."""
    n_pixels = math.prod(images.image_shape[:2])
    if images.n_readers == 0 and len(images) * n_pixels < _FEW_PIXELS:
        return 1
    block_bytes = max(n_pixels, _BLOCK_PIXELS) * _BYTES_PER_PIXEL
    return max(1, min(cpu_count(), _WORKING_MEMORY // block_bytes))


def _as_dtype(images, dtype):
    return np.rint(images * 255).astype(np.uint8) if dtype == "uint8" else images


def _layout(ndim, shape):
    """Return the shape of the result for frames that came in `ndim` dimensions."""
    if ndim == 2:
        return (shape[0], shape[1] * shape[2])
    return (*shape, 1) if ndim == 4 else shape


def _warn_of_flat_frames(images, flat):
    """Say which frames had no contrast, in one warning."""
    numbers = np.flatnonzero(flat)
    if len(numbers) == 0:
        return
    named = ", ".join(images.name(number) for number in numbers[:_MOST_NAMED])
    more = f" and {len(numbers) - _MOST_NAMED} more" * (len(numbers) > _MOST_NAMED)
    warnings.warn(
        f"{len(numbers)} frame(s) without contrast became zeros: {named}{more}.",
        stacklevel=3,
    )


__test__ = {"AuroraPreprocessor": AuroraPreprocessor}  # doctest: see `__module__`
