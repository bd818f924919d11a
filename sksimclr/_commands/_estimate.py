"""How well a classifier does on nights that it has not seen."""

from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import GroupKFold, cross_val_predict

from sksimclr.model_selection import sequence_groups

_MOST_FOLDS = 5
_NIGHT_GAP = np.timedelta64(6, "h")  # between frames of different nights


@dataclass(frozen=True)
class Estimate:
    """A score from frames that the classifier was not trained on.

    Attributes
    ----------
    accuracy : float
        Part of the labelled frames that were given the right label.
    majority : float
        Part that would be, if all were given the most frequent label.
    unit : str
        What was held out: "nights", or "blocks of 200 frames".
    n_groups, n_folds : int
        Such units, and parts of them that were held out together.
    """

    accuracy: float
    majority: float
    unit: str
    n_groups: int
    n_folds: int


def estimate(classifier, embeddings, labels, groups):
    """Cross-validate a classifier, with whole groups held out.

    Parameters
    ----------
    classifier : estimator
    embeddings : ndarray of shape (n, n_features)
    labels : ndarray of shape (n,)
    groups : ndarray of shape (n,), int
        As of `night_groups`.

    Returns
    -------
    Estimate, or None if there are no two groups to learn from and test on.
    """
    n_groups = len(np.unique(groups))
    n_folds = min(_MOST_FOLDS, n_groups)
    if n_folds < 2:
        return None
    folds = list(GroupKFold(n_folds).split(embeddings, labels, groups))
    if any(len(np.unique(labels[train])) < 2 for train, _ in folds):
        return None
    right = cross_val_predict(classifier, embeddings, labels, cv=folds) == labels
    majority = np.unique(labels, return_counts=True)[1].max() / len(labels)
    unit = "nights" if groups.min() >= 0 else "blocks of 200 frames"
    return Estimate(float(right.mean()), float(majority), unit, n_groups, n_folds)


def night_groups(times, sites):
    """Return a number for each frame: the same in the same night of the same station.

    Where frames of a station are six hours apart, another night begins. If the time of
    any is not known, all are put together in blocks of 200 that follow each other, with
    negative numbers.

    Parameters
    ----------
    times : ndarray of shape (n,), datetime64
    sites : ndarray of shape (n,), str

    Returns
    -------
    ndarray of shape (n,), int

    Examples
    --------
    >>> import numpy as np
    >>> times = np.array(["2014-03-10T23", "2014-03-11T02", "2014-03-11T22"], "M8[ns]")
    >>> night_groups(times, np.array(["gill", "gill", "gill"]))
    array([0, 0, 1])
    """
    if np.isnat(times).any():
        return -1 - sequence_groups(len(times))
    rows = np.lexsort([times, sites])
    starts = np.diff(times[rows]) > _NIGHT_GAP
    starts |= sites[rows][1:] != sites[rows][:-1]
    groups = np.zeros(len(times), int)
    groups[rows[1:]] = np.cumsum(starts)
    return groups
