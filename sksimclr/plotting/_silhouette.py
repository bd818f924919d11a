"""Into how many clusters images fall."""

from numbers import Integral

import numpy as np
from sklearn.base import clone
from sklearn.metrics import silhouette_score
from sklearn.utils import check_array, check_random_state, check_scalar

from sksimclr._estimators.labels import as_column
from sksimclr._images.images import check_unmasked
from sksimclr.plotting._shared import (
    COLORS,
    COLUMN_WIDTH,
    TEXT_SIZE,
    axes_or_new,
    group_labels,
    label_on_right,
    line_style,
    require_matplotlib,
    style_axes,
)


class SilhouetteDisplay:
    """Mean silhouette over the number of clusters, beside that of the true labels.

    The silhouette, between -1 and 1, compares how far a sample is from its own cluster
    and from the next one. Clusters that beat the labels by much, as in [1]_, say that
    the embedding sees other groups than those who labelled the images.

    Use `from_estimator` or `from_predictions` to make one.

    Parameters
    ----------
    n_clusters : sequence of int
        In ascending order.
    scores : sequence of float
        Mean silhouette for each number of clusters.
    labels : list of ndarray of shape (n_samples,), default=None
        Cluster of each sample, for each number of clusters.
    y_score : float, default=None
        Mean silhouette of the true labels, in [-1, 1].

    Attributes
    ----------
    best_n_clusters : int
        The number of clusters with the highest score.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    References
    ----------
    .. [1] Johnson et al. (2021), "A Contrastive Learning Approach to Auroral
       Identification and Classification", https://arxiv.org/abs/2109.13899

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import make_blobs
    >>> from sksimclr.plotting import SilhouetteDisplay
    >>> X, y = make_blobs(60, centers=4, random_state=6)
    >>> display = SilhouetteDisplay.from_estimator(
    ...     KMeans(random_state=0), X, y, n_clusters=range(2, 7))
    >>> display.best_n_clusters
    4
    """

    def __init__(self, n_clusters, scores, *, labels=None, y_score=None):
        self.n_clusters = n_clusters
        self.scores = scores
        self.labels = labels
        self.y_score = y_score

    @property
    def best_n_clusters(self):
        """The number of clusters with the highest score."""
        return self.n_clusters[int(np.argmax(self.scores))]

    def plot(self, ax=None, *, line_kw=None):
        """Draw the scores.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            To draw on; by default those of a new figure, one journal column wide.
        line_kw : dict, default=None
            Keyword arguments for ``Axes.plot``.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            Matplotlib is not installed.
        ValueError
            There is no number of clusters.
        """
        require_matplotlib("SilhouetteDisplay.plot")
        from matplotlib.ticker import MaxNLocator

        if not len(self.n_clusters):
            raise ValueError(
                "SilhouetteDisplay needs at least one number of clusters, got none."
            )
        self.ax_ = axes_or_new(ax, (COLUMN_WIDTH, 2.3))
        self.figure_ = self.ax_.figure
        style = line_style(
            line_kw, color=COLORS[0], linewidth=1.2, marker="o", markersize=3.5
        )
        self.ax_.plot(self.n_clusters, self.scores, **style)
        self._mark_best()
        if self.y_score is not None:
            self._draw_true_labels()
        self.ax_.margins(y=0.15)
        self.ax_.xaxis.set_major_locator(MaxNLocator(integer=True))
        style_axes(self.ax_, "number of clusters", "mean silhouette")
        return self

    def _mark_best(self):
        """Put a ring around the highest score and write its number above it."""
        best = self.best_n_clusters, np.max(self.scores)
        ring = {"markersize": 9, "markerfacecolor": "none"}
        self.ax_.plot(*best, "o", color=COLORS[3], **ring)
        self.ax_.annotate(
            f"{best[0]}",
            best,
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            va="bottom",
            color=COLORS[3],
            size=TEXT_SIZE,
        )

    def _draw_true_labels(self):
        """Draw a horizontal line and write on its right what it is."""
        self.ax_.axhline(self.y_score, color="0.4", linestyle="--", linewidth=1)
        label_on_right(self.ax_, self.y_score, "true\nlabels", "0.3")

    @classmethod
    def from_estimator(
        cls,
        clusterer,
        X,
        y=None,
        *,
        n_clusters=range(3, 16),
        sample_size=None,
        random_state=None,
        ax=None,
        line_kw=None,
    ):
        """Cluster samples into several numbers of clusters and score each.

        Parameters
        ----------
        clusterer : clusterer
            With a parameter `n_clusters`, such as ``KMeans(random_state=0)``. Clones
            of it are fitted.
        X : array-like of shape (n_samples, n_features)
            Embeddings.
        y : array-like of shape (n_samples,), default=None
            True labels.
        n_clusters : iterable of int, default=range(3, 16)
            Numbers of clusters to try, from 2 to ``n_samples - 1``. The default is that
            of the class's reference.
        sample_size, random_state, ax, line_kw
            As in `from_predictions`. `random_state` does not reach the clusterer.

        Returns
        -------
        SilhouetteDisplay

        Raises
        ------
        ImportError
            Matplotlib is not installed.
        TypeError
            `clusterer` has no parameter `n_clusters`, or as in `from_predictions`.
        ValueError
            `n_clusters` is empty or out of range, or as in `from_predictions`.
        """
        require_matplotlib("SilhouetteDisplay.from_estimator")
        if "n_clusters" not in clusterer.get_params(deep=False):
            raise TypeError(
                "SilhouetteDisplay.from_estimator needs a clusterer with a parameter "
                f"n_clusters, got {clusterer!r}. Give labels from elsewhere to "
                "from_predictions."
            )
        check_unmasked(X, "X")
        X = check_array(X, input_name="X")
        sizes = sorted(n_clusters)
        for size in sizes:
            check_scalar(size, "n_clusters", Integral, min_val=2, max_val=len(X) - 1)
        rows = _sample(len(X), sample_size, random_state)
        y_score = None if y is None else _score(X, y, rows, "y")
        labels = [
            clone(clusterer).set_params(n_clusters=k).fit_predict(X) for k in sizes
        ]
        scores = [_score(X, each, rows, "labels") for each in labels]
        display = cls(sizes, scores, labels=labels, y_score=y_score)
        return display.plot(ax, line_kw=line_kw)

    @classmethod
    def from_predictions(
        cls,
        X,
        labels,
        y=None,
        *,
        sample_size=None,
        random_state=None,
        ax=None,
        line_kw=None,
    ):
        """Score clusters that were found elsewhere.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Embeddings.
        labels : list of array-like of shape (n_samples,)
            Cluster of each sample, once for each number of clusters, which is that of
            the distinct labels. They are put in ascending order.
        y : array-like of shape (n_samples,), default=None
            True labels.
        sample_size : int, default=None
            Score a random sample of so many rows, from 3 to ``n_samples``, the same for
            every number of clusters. By default all rows are compared with all.
        random_state : int, RandomState instance or None, default=None
            Which rows are in the sample.
        ax, line_kw
            As in `plot`.

        Returns
        -------
        SilhouetteDisplay

        Raises
        ------
        ImportError
            Matplotlib is not installed.
        TypeError, ValueError
            `labels` is empty, has arrays of another length than X, or fewer than two
            or as many groups as samples; or `y` does; or `sample_size` is not as
            described.
        """
        require_matplotlib("SilhouetteDisplay.from_predictions")
        check_unmasked(X, "X")
        X = check_array(X, input_name="X")
        labels = [as_column(each, "labels") for each in labels]
        labels.sort(key=_n_groups)
        rows = _sample(len(X), sample_size, random_state)
        y_score = None if y is None else _score(X, y, rows, "y")
        scores = [_score(X, each, rows, "labels") for each in labels]
        sizes = [_n_groups(each) for each in labels]
        display = cls(sizes, scores, labels=labels, y_score=y_score)
        return display.plot(ax, line_kw=line_kw)


def _n_groups(labels):
    return len(np.unique(labels))


def _sample(n_samples, sample_size, random_state):
    """Return the rows that are scored."""
    if sample_size is None:
        return np.arange(n_samples)
    check_scalar(sample_size, "sample_size", Integral, min_val=3, max_val=n_samples)
    return check_random_state(random_state).permutation(n_samples)[:sample_size]


def _score(X, labels, rows, argument):
    """Return the mean silhouette of the rows in the sample."""
    owner = "SilhouetteDisplay"
    _, numbers = group_labels(labels, len(X), owner=owner, argument=argument)
    numbers, X = numbers[rows], X[rows]
    n_groups = _n_groups(numbers)
    if not 2 <= n_groups < len(X):
        raise ValueError(
            f"{owner} needs 2 to {len(X) - 1} groups among {len(X)} samples to score "
            f"them, got {n_groups} in {argument}."
        )
    return float(silhouette_score(X, numbers))
