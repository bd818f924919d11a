"""Checks of parameters and of X that every estimator shares.

The one module that imports scikit-learn's private parameter validation.
"""

import math
import os
from contextlib import contextmanager
from itertools import compress

import numpy as np
from PIL import Image
from sklearn import config_context
from sklearn.base import _fit_context as validates_parameters
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_array, validate_data

from sksimclr._estimators.forms import check_form
from sksimclr._images.images import (
    FileImages,
    as_array,
    as_images,
    check_alike,
    check_unmasked,
    is_lazy,
    is_path_sequence,
)

__all__ = [
    "Interval",
    "StrOptions",
    "as_arrays",
    "check_images",
    "check_pair",
    "restored_if_it_fails",
    "validates_parameters",
    "with_channels",
    "with_numpy_types",
]


@contextmanager
def restored_if_it_fails(estimator):
    """Give an estimator its attributes back when the block raises.

    So that a second `fit` that fails, or is interrupted, leaves what the first learnt.
    """
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def check_images(estimator, X, *, reset, min_images=1, any_colours=False):
    """See X as images; one check for `fit` and for `transform`.

    Parameters
    ----------
    estimator : estimator
        With a parameter ``image_shape``. With `reset` it gains ``image_shape_`` and
        ``n_features_in_``, the number of values in one image.
    X : any form of images that :func:`sksimclr._images.images.as_images` knows
    reset : bool
        True in `fit`; otherwise X must fit what `fit` saw, if it was called.
    min_images : int
        Fewer are an error.
    any_colours : bool
        X may have other channels than `fit` saw.

    Returns
    -------
    Images
    """
    fitted_shape = None if reset else getattr(estimator, "image_shape_", None)
    if reset and hasattr(estimator, "feature_names_in_"):
        del estimator.feature_names_in_
    check_form(X)
    X = as_arrays(X)
    if not is_path_sequence(X) and not is_lazy(X):
        with config_context(array_api_dispatch=False):  # or tensors would stay tensors
            X = _check_in_memory(estimator, X, reset=reset)
    images = as_images(X, fitted_shape or estimator.image_shape)
    name = type(estimator).__name__
    if len(images) < min_images:
        raise ValueError(
            f"Found {len(images)} image(s) (n_samples={len(images)}) while {name} "
            f"needs at least {min_images}."
        )
    if reset:
        estimator.image_shape_ = images.image_shape
        estimator.n_features_in_ = math.prod(images.image_shape)
    elif fitted_shape and not _are_alike(images, fitted_shape, any_colours):
        which = f" as {images.name(0)}" if isinstance(images, FileImages) else ""
        raise ValueError(
            f"X has images of shape {images.image_shape}{which}, but {name} was fitted "
            f"on images of shape {fitted_shape}. "
            f"{_how_to_make_alike(images.image_shape, fitted_shape)}"
        )
    return images


def _are_alike(images, fitted_shape, any_colours):
    """Say whether images have the shape that `fit` saw, maybe of other colours."""
    shapes = with_channels(images.image_shape), with_channels(fitted_shape)
    if any_colours and images.ndim > 2:
        shapes = [shape[:2] for shape in shapes]
    return shapes[0] == shapes[1]


def as_arrays(X):
    """Return images as what scikit-learn's checks change nothing of.

    Sequences as one array; paths as a column; data frames of nullable or Arrow columns
    as of NumPy's. Others as they are. Raises a ValueError for images of several types,
    of which one number would be several ones; and for masked values.
    """
    X = _column_of_images(X)
    check_unmasked(X, "X")
    if isinstance(X, Image.Image):
        raise ValueError(
            f"Expected a sequence of images, got a single one, {X.width} x {X.height} "
            "pixels of Pillow's. Pass it in a list."
        )
    if hasattr(X, "columns") and hasattr(X, "dtypes"):
        return _as_alike_columns(with_numpy_types(X))
    return X if is_path_sequence(X) else _stack(X)


def with_numpy_types(column):
    """Give a nullable or Arrow column, or table of them, the NumPy type it stands for.

    scikit-learn makes floats of them. Others as they are, and so are those with missing
    values, which become NaN.
    """
    if not hasattr(column, "iloc"):
        return column
    types = set(column.dtypes) if column.ndim == 2 else {column.dtype}
    stored = {getattr(each, "numpy_dtype", each) for each in types}
    if stored == types or len(stored) > 1 or np.dtype(*stored).kind not in "biufM":
        return column
    try:
        return column.astype(*stored)
    except (TypeError, ValueError):
        return column


def _as_alike_columns(table):
    """Return a table whose columns have one type, if one of them would be scaled."""
    if len(set(table.dtypes)) > 1:
        if hasattr(table, "iloc"):
            dtypes = [getattr(each, "numpy_dtype", each) for each in table.dtypes]
        else:
            dtypes = [table[name][:0].to_numpy().dtype for name in table.columns]
        is_number = [getattr(each, "kind", "O") in "biuf" for each in dtypes]
        check_alike(list(compress(dtypes, is_number)), "column")
    return table


def _check_in_memory(estimator, X, *, reset):
    """Let scikit-learn check an array-like; NaN is looked for by `as_images`."""
    options = {"dtype": "numeric", "allow_nd": True, "ensure_all_finite": False}
    if hasattr(X, "columns") and len(X) and is_path_sequence(X[X.columns[0]]):
        raise ValueError(
            "X is a table of paths. Pass the one column that has them, such as "
            f"X[{X.columns[0]!r}]."
        )
    if getattr(X, "ndim", 2) > 2:
        return check_array(X, estimator=estimator, **options)
    return validate_data(estimator, X, reset=reset, **options)


def _column_of_images(X):
    """Return the paths or images of a series, or of a data frame's only column.

    Others as they are. ``ColumnTransformer`` makes a series of the name of a column, a
    data frame of a list with one name.
    """
    is_table = len(getattr(X, "columns", ())) == 1
    if not is_table and not hasattr(X, "to_list"):
        return X
    column = X[X.columns[0]] if is_table else X
    if any(isinstance(item, (str, os.PathLike)) for item in column):
        return column  # others are missing values, of which FileImages speaks
    return _images_in(column) if np.ndim(next(iter(column), None)) else X


def _images_in(column):
    """Return the images in a column; lists of Arrow as arrays of the type they have."""
    leaf = getattr(column.dtype, "pyarrow_dtype", None)
    if leaf is None:
        return list(column)
    while hasattr(leaf, "value_type"):
        leaf = leaf.value_type
    dtype = leaf.to_pandas_dtype()
    return [np.asarray(item, dtype) if np.ndim(item) else item for item in column]


def _stack(X):
    """Make one array of a sequence of arrays, all of which must be alike."""
    if isinstance(X, np.ndarray) and not (X.dtype == object and X.ndim == 1):
        return X
    if not isinstance(X, (list, tuple, np.ndarray)) or not len(X):
        return X
    images = [as_array(image, number) for number, image in enumerate(X)]
    for number, image in enumerate(images):
        if image.shape != images[0].shape:
            raise ValueError(
                f"All images must have one shape. Expected {images[0].shape} as in "
                f"image 0, got {image.shape} in image {number}. "
                f"{_how_to_make_alike(image.shape, images[0].shape)}"
            )
    check_alike([image.dtype for image in images], "image")
    return np.stack(images)


def _how_to_make_alike(shape, other):
    """Return what to do with images of two shapes."""
    channels = [one[2:] or (1,) for one in (shape, other)]
    if len(shape) in (2, 3) and shape[:2] == other[:2] and channels[0] != channels[1]:
        return "Make all of them grey, or all of them coloured."
    return "Resize or crop them first."


def with_channels(shape):
    """Return the shape of an image as (H, W, C)."""
    return shape if len(shape) == 3 else (*shape, 1)


def check_pair(name, pair, low, high):
    """Raise a ValueError unless `pair` is two numbers, low <= a < b <= high."""
    try:
        first, second = (float(number) for number in pair)
    except (TypeError, ValueError):
        first, second = np.nan, np.nan
    if not low <= first < second <= high:
        raise ValueError(
            f"{name} must be two increasing numbers between {low} and {high}, got "
            f"{pair!r}."
        )
    return first, second
