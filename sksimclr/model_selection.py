"""Folds, groups and the no-pixels baseline that an honest score needs."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import pairwise_distances_chunked
from sklearn.utils import check_scalar
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from sksimclr._estimators.labels import is_missing
from sksimclr._estimators.mixins import DocumentationLinkMixin
from sksimclr._estimators.validation import with_numpy_types
from sksimclr._images.images import check_unmasked

__all__ = [
    "NearestIndexClassifier",
    "oath_folds",
    "sequence_groups",
    "time_sequences",
]

_TRAIN_FRACTION = 0.7


def oath_folds(n_samples=5824):
    """Return the five train-test splits that come with the OATH data set.

    They are five *independent* random splits, 70 % for training and 30 % for
    testing, not the five parts of one partition: an image can be tested more than
    once, or never. Use them to compare with the literature, and
    :func:`sequence_groups` for an honest score: in a random split almost every
    test image has a neighbour in time, nearly the same picture, among the training
    images (see :class:`NearestIndexClassifier`).

    Parameters
    ----------
    n_samples : int, default=5824
        Number of images, at least 2. With 5,824, the size of OATH, the splits
        equal the file ``train_test_split.csv`` of the data set [1]_.

    Returns
    -------
    folds : list of 5 tuples (train, test)
        Row numbers, counted from 0, as int64 arrays of shapes
        (round(0.7 * n_samples),) and (n_samples - round(0.7 * n_samples),); 4,077
        and 1,747 for OATH. A list, not a generator, so that it can be given as
        ``cv=`` more than once.

    Raises
    ------
    TypeError, ValueError
        If ``n_samples`` is no integer, or below 2.

    See Also
    --------
    sequence_groups : Groups for folds that share no sequence of images.

    References
    ----------
    .. [1] L. B. N. Clausen and H. Nickisch, "Automatic classification of auroral
       images from the Oslo Auroral THEMIS (OATH) data set using machine learning",
       J. Geophys. Res. Space Physics 123 (2018), doi:10.1029/2018JA025274.

    Examples
    --------
    >>> from sksimclr.model_selection import oath_folds
    >>> folds = oath_folds()
    >>> train, test = folds[0]
    >>> len(folds), len(train), len(test)
    (5, 4077, 1747)
    >>> train[:3]
    array([4604,  915,  289])
    """
    check_scalar(n_samples, "n_samples", Integral, min_val=2)
    orders = np.argsort(np.random.RandomState(1804).rand(5, n_samples), axis=1)
    return split_orders(orders)


def split_orders(orders):
    """Cut each row of ``orders`` into its first 70 % (train) and the rest (test)."""
    orders = np.asarray(orders, dtype=np.int64)
    n_train = round(_TRAIN_FRACTION * orders.shape[1])
    return [(order[:n_train], order[n_train:]) for order in orders]


def sequence_groups(n_samples, block_size=200):
    """Return group labels that keep blocks of consecutive images together.

    All-sky images follow one another in time, so neighbours look alike and share
    their label. Folds made of whole blocks (``GroupKFold``) keep such neighbours
    on the same side of the split, except at the ends of a block. Where the night
    and the station of each image are known, groups of those are better still.

    Parameters
    ----------
    n_samples : int
        Number of images, in the order in which they were taken; at least 1.
    block_size : int, default=200
        Images per block, at least 1. The last block may be smaller. For OATH, 200
        brings the score of :class:`NearestIndexClassifier` down below 40 %.

    Returns
    -------
    groups : ndarray of shape (n_samples,), int64
        Number of the block of each image, counted from 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is no integer, or below 1.

    See Also
    --------
    oath_folds : The random splits of the literature.

    Examples
    --------
    >>> from sklearn.model_selection import GroupKFold
    >>> from sksimclr.model_selection import sequence_groups
    >>> groups = sequence_groups(8, block_size=3)
    >>> groups
    array([0, 0, 0, 1, 1, 1, 2, 2])
    >>> for train, test in GroupKFold(3).split(groups, groups=groups):
    ...     print(test)
    [3 4 5]
    [0 1 2]
    [6 7]
    """
    check_scalar(n_samples, "n_samples", Integral, min_val=1)
    check_scalar(block_size, "block_size", Integral, min_val=1)
    return np.arange(n_samples, dtype=np.int64) // block_size


def time_sequences(times, sites=None, *, minutes=10):
    """Return which images are moments of one sky: of one station, soon after another.

    For ``SimCLRTransformer.fit(images, sequences=...)``, which then learns what stays
    while the sky moves. Not for folds, which need whole nights: neighbouring sequences
    look alike.

    Parameters
    ----------
    times : array-like of shape (n_samples,), datetime64
        When each image was taken, such as the column "time" of a catalogue. Images
        without a time, NaT, stand alone.
    sites : array-like of shape (n_samples,), str, default=None
        Station of each image, such as the column "site" of a catalogue; by default they
        are all of one. Images of none, such as None or NaN, stand alone.
    minutes : float, default=10
        Length of a sequence, > 0: an arc or a cloud is seldom gone after ten. Sequences
        begin at whole multiples of it, so they do not depend on which images there are.

    Returns
    -------
    sequences : ndarray of shape (n_samples,), int64
        Number of the sequence of each image, from 0.

    Raises
    ------
    TypeError, ValueError
        An argument is not as described, or `times` and `sites` differ in length.

    See Also
    --------
    sequence_groups : Blocks of images of which no times are known; for folds.

    Examples
    --------
    >>> import numpy as np
    >>> from sksimclr.model_selection import time_sequences
    >>> times = np.array(["2011-01-06T17:01", "2011-01-06T17:09", "2011-01-06T17:11"])
    >>> time_sequences(times.astype("datetime64[s]"), minutes=10)
    array([0, 0, 1])
    """
    check_scalar(minutes, "minutes", Real, min_val=0, include_boundaries="neither")
    check_unmasked(times, "times")
    check_unmasked(sites, "sites")
    times = np.asarray(times)
    if times.dtype.kind != "M" or times.ndim != 1:
        raise ValueError(
            f"Expected times as a column of datetime64, got {times.dtype} of shape "
            f"{times.shape}. For text, use np.asarray(times, 'datetime64[s]'); of a "
            "column with a time zone, column.dt.tz_convert(None)."
        )
    sites = np.zeros(len(times), int) if sites is None else np.asarray(sites)
    check_consistent_length(times, sites)
    length = np.timedelta64(max(1, round(minutes * 60e9)), "ns")
    is_alone = np.isnat(times) | [is_missing(site) for site in sites.tolist()]
    sites = sites.astype(str)
    times = np.where(is_alone, np.datetime64(0, "ns"), times.astype("datetime64[ns]"))
    windows = (times - np.datetime64(0, "ns")) // length
    windows[is_alone] = np.arange(is_alone.sum())
    keys = np.rec.fromarrays([is_alone, sites, windows])
    return np.unique(keys, return_inverse=True)[1].reshape(-1).astype(np.int64)


class NearestIndexClassifier(DocumentationLinkMixin, ClassifierMixin, BaseEstimator):
    """Copy the label of the nearest-numbered training image, without its pixels.

    The baseline that tells how much of a score comes from neighbours in time. It
    sees no image at all: X is the running number of each image in its sequence. On
    OATH and its given folds it is right for 94.7 +- 0.6 % of the images (six
    classes), more than any system of [1]_; with whole blocks of
    200 images held out it falls below 40 %. Print it beside every score.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), of the type of y
        The labels seen in ``fit``, sorted.
    n_features_in_ : int
        Number of columns of X, 1 in its intended use.
    feature_names_in_ : ndarray of shape (`n_features_in_`,), object
        Names of the columns of X, if it had names.

    See Also
    --------
    oath_folds : Random splits, on which this baseline is strong.
    sequence_groups : Groups for splits on which it is weak.
    sklearn.dummy.DummyClassifier : The baseline that does not even see the number.

    Notes
    -----
    Between two training images that are equally near, the one with the smaller
    number counts (the earlier image); between two with the same number, the one
    that came first in ``fit``. X may have several columns, such as a night and a
    number in it; distances are then summed over the columns, which must be on
    comparable scales.

    References
    ----------
    .. [1] Johnson et al. (2021), "A Contrastive Learning Approach to Auroral
       Identification and Classification", https://arxiv.org/abs/2109.13899

    Examples
    --------
    >>> import numpy as np
    >>> from sksimclr.model_selection import NearestIndexClassifier
    >>> numbers = np.array([[0], [1], [10], [11]])
    >>> labels = ["arc", "arc", "moon", "moon"]
    >>> baseline = NearestIndexClassifier().fit(numbers, labels)
    >>> baseline.predict([[2], [9]]).tolist()
    ['arc', 'moon']
    """

    def fit(self, X, y):
        """Remember the number and the label of each training image.

        Parameters
        ----------
        X : array-like of shape (n_samples, 1)
            Running number of each image in its sequence.
        y : array-like of shape (n_samples,)
            Label of each image.

        Returns
        -------
        self : NearestIndexClassifier
            The fitted baseline.

        Raises
        ------
        ValueError
            X is not finite numbers in rows, y no labels of classes, or their lengths
            differ.
        """
        check_unmasked(X, "X")
        check_unmasked(y, "y")
        X, y = validate_data(self, X, with_numpy_types(y), dtype=np.float64)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        order = np.lexsort(X.T[::-1])  # stable; the first column is the main key
        self._numbers, self._codes = X[order], codes[order]
        return self

    def predict(self, X):
        """Return the label of the nearest training image.

        Parameters
        ----------
        X : array-like of shape (n_samples, 1)
            Running number of each image in its sequence.

        Returns
        -------
        y : ndarray of shape (n_samples,), of the type of y in `fit`
            Label of the training image nearest to each row.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            `fit` was not called.
        ValueError
            X is not as described, or has other columns than in `fit`.
        """
        check_is_fitted(self)
        check_unmasked(X, "X")
        X = validate_data(self, X, dtype=np.float64, reset=False)
        # City-block distances of whole numbers are exact, hence ties are exact, and
        # argmin takes the first of them: the smallest number, as fit sorted them.
        chunks = pairwise_distances_chunked(
            X,
            self._numbers,
            reduce_func=lambda distances, start: distances.argmin(axis=1),
            metric="manhattan",
        )
        nearest = np.concatenate(list(chunks))
        return self.classes_[self._codes[nearest]]
