"""Labels and sequences: their numbers, and a part of the images that is held out."""

import warnings

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
    check_unmasked(y, "y")
    y = check_array(with_numpy_types(y), ensure_2d=False, dtype=None)
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
    names = as_column(sequences, "sequences")
    missing = np.flatnonzero(names != names)  # NaN and NaT
    if len(missing) or None in names.tolist():
        raise ValueError(
            "Expected the sequence of each image in sequences, integers or strings, "
            f"got {names[missing[0]] if len(missing) else None}. Give images that "
            "stand alone a name of their own."
        )
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def as_column(values, name):
    """Return one value for each image as an array of the type that they have.

    Raises a ValueError for masked values and for more than one column.
    """
    check_unmasked(values, name)
    return column_or_1d(with_numpy_types(values))


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
