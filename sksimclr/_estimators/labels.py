"""Labels and sequences: their numbers, and a part of the images that is held out."""

import warnings
from numbers import Number

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedShuffleSplit
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, column_or_1d

from sksimclr._estimators.validation import with_numpy_types
from sksimclr._images.images import check_unmasked


def check_labels(estimator, y, n_images):
    """Return the classes, and the number of the class of each image, int64.

    Raises a ValueError unless y has one label for each image, of two or more classes.
    """
    name = type(estimator).__name__
    if y is None:
        raise ValueError(f"{name} requires y to be passed, but the target y is None.")
    refuse_missing(y, "y", "Leave images of None or NaN out.")
    y = check_array(with_numpy_types(y), ensure_2d=False, dtype=None, input_name="y")
    y = column_or_1d(y, warn=True)
    check_classification_targets(y)
    if len(y) != n_images:
        raise ValueError(
            f"Expected one label for each of {n_images} images, got {len(y)} in y."
        )
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"{name} needs labels of at least 2 classes, got only class "
            f"{classes.tolist()[0]!r}."
        )
    return classes, codes.astype(np.int64)


def check_sequences(sequences, n_images):
    """Return the number of the sequence of each image from 0, int64; of None, None.

    Raises a ValueError unless there is one name for each image, none of them missing.
    """
    if sequences is None:
        return None
    if len(sequences) != n_images:
        raise ValueError(
            f"Expected the sequence of each of {n_images} images, got "
            f"{len(sequences)} in sequences."
        )
    refuse_missing(
        sequences, "sequences", "Give images that stand alone a name of their own."
    )
    names = as_column(sequences, "sequences")
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def as_column(values, name):
    """Return one value for each image as an array of the type that they have.

    Raises a ValueError for masked values and for more than one column.
    """
    check_unmasked(values, name)
    return column_or_1d(with_numpy_types(values))


def refuse_missing(values, name, advice):
    """Raise a ValueError if a label, or name, is None, NaN, NaT, NA or masked."""
    check_unmasked(values, name)
    # of lists, NumPy would make strings of a NaN among strings
    values = np.asarray(values, object if isinstance(values, (list, tuple)) else None)
    if values.dtype.kind in "fcmM":
        missing = values != values
    elif values.dtype == object:
        missing = np.array([is_missing(item) for item in values.ravel().tolist()])
    else:
        return
    if missing.any():
        place = int(np.flatnonzero(missing)[0])
        raise ValueError(
            f"Expected integers or strings in {name}, one for each image, got "
            f"{values.ravel()[place]} for image {place}. {advice}"
        )


def is_missing(item):
    """Say whether an object stands for a value that is not known."""
    if item is None or type(item).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(item, (Number, np.generic)) and item != item


def hold_out(codes, groups, fraction, random_state):
    """Return the rows to learn from, of all classes, and those of a part held out.

    The part is stratified and about a `fraction` of all; with groups, it consists of
    whole ones. Raises a ValueError if there are too few images or groups for that.
    """
    rows, n_of_class = np.arange(len(codes)), np.bincount(codes)
    reason = "a class would be left out"
    try:
        for train, valid in _splits(rows, codes, groups, fraction, random_state):
            if np.bincount(codes[train], minlength=len(n_of_class)).all():
                return train, valid
    except ValueError as error:
        reason = str(error).rstrip(".")
    raise ValueError(
        f"early_stopping cannot hold out {fraction:.3g} of {len(codes)} images of "
        f"{len(n_of_class)} classes{'' if groups is None else ', in whole groups'}: "
        f"{reason}. Use more images or groups, another validation_fraction, or "
        "early_stopping=False."
    )


def _splits(rows, codes, groups, fraction, random_state):
    """Return stratified splits, of which any will do."""
    if groups is None:
        splitter = StratifiedShuffleSplit(
            1, test_size=fraction, random_state=random_state
        )
        return splitter.split(rows, codes)
    n_parts = min(round(1 / fraction), len(np.unique(groups)), np.bincount(codes).max())
    splitter = StratifiedGroupKFold(n_parts, shuffle=True, random_state=random_state)
    with warnings.catch_warnings():
        # of classes in fewer groups than parts, in terms the caller has not used
        warnings.filterwarnings("ignore", "The least populated class")
        return list(splitter.split(rows, codes, groups))
