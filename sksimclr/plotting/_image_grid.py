"""Samples of every class or cluster."""

from numbers import Integral

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils import check_random_state, check_scalar

from sksimclr.plotting._pictures import draw_grid, find_images
from sksimclr.plotting._shared import group_labels, require_matplotlib


class ImageGridDisplay:
    """Sample images of every class or cluster, a row for each.

    As figures 1, 4 and 5 of [1]_: samples of the classes; of the classes or clusters
    with ground truth and system's answer under each image; and, given the images of
    one class alone, of the clusters within it.

    Use `from_estimator` or `from_predictions` to make one.

    Parameters
    ----------
    images : list of n_rows ndarray of shape (n_images, H, W) or (n_images, H, W, C)
        The images of each row. Integers of 8 and 16 bits are shown from 0 to their
        type's maximum, floats from 0 to 1, or over the range of all images in the grid
        if that is larger.
    row_labels : list of n_rows str
    captions : list of n_rows lists of n_images str, default=None
        Under each image, of at most two lines.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes that hold the whole grid.
    figure_ : matplotlib Figure

    References
    ----------
    .. [1] Johnson et al. (2021), "A Contrastive Learning Approach to Auroral
       Identification and Classification", https://arxiv.org/abs/2109.13899

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sksimclr.plotting import ImageGridDisplay
    >>> digits = load_digits(n_class=3)
    >>> display = ImageGridDisplay.from_predictions(
    ...     digits.images / 16, digits.target, n_images=4, random_state=0,
    ...     target_names=["zero", "one", "two"])
    >>> len(display.ax_.images), display.row_labels
    (12, ['zero', 'one', 'two'])
    """

    def __init__(self, images, *, row_labels, captions=None):
        self.images = images
        self.row_labels = row_labels
        self.captions = captions

    def plot(self, ax=None, *, im_kw=None):
        """Draw the grid.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            To draw on; by default those of a new figure, one journal column wide for
            up to four images in a row, else two.
        im_kw : dict, default=None
            Keyword arguments for ``Axes.imshow``, such as ``{"cmap": "viridis"}``.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            Matplotlib is not installed.
        """
        require_matplotlib("ImageGridDisplay.plot")
        self.ax_ = draw_grid(
            ax,
            self.images,
            row_labels=self.row_labels,
            captions=self.captions,
            legend="G: ground truth, S: system" if self.captions else "",
            im_kw=im_kw,
        )
        self.figure_ = self.ax_.figure
        return self

    @classmethod
    def from_estimator(
        cls,
        estimator,
        images,
        y,
        *,
        target_names=None,
        group_by="y",
        n_images=8,
        random_state=None,
        ax=None,
        im_kw=None,
    ):
        """Show images with what a fitted classifier or clusterer says of them.

        Parameters
        ----------
        estimator : estimator
            Fitted, with ``predict`` on images: a pipeline such as
            ``make_pipeline(SimCLRTransformer(), KMeans(12))``.
        images : images in any form that estimators of sksimclr take
        y : array-like of shape (n_samples,)
            Ground truth.
        target_names : sequence of str, default=None
            Name of class 0, 1, ... in `y` and, if `estimator` is a classifier, in its
            predictions. Clusters go by their numbers.
        group_by, n_images, random_state, ax, im_kw
            As in `from_predictions`.

        Returns
        -------
        ImageGridDisplay

        Raises
        ------
        ImportError
            Matplotlib is not installed.
        TypeError
            `estimator` has no ``predict``.
        ValueError, FileNotFoundError
            As in `from_predictions`.
        sklearn.exceptions.NotFittedError
            `estimator` was not fitted.
        """
        require_matplotlib("ImageGridDisplay.from_estimator")
        if not hasattr(estimator, "predict"):
            raise TypeError(
                "ImageGridDisplay.from_estimator needs an estimator with `predict`, "
                f"got {estimator!r}. Give labels from elsewhere to from_predictions."
            )
        return cls.from_predictions(
            images,
            y,
            estimator.predict(images),
            target_names=target_names,
            predicted_names=target_names if is_classifier(estimator) else None,
            group_by=group_by,
            n_images=n_images,
            random_state=random_state,
            ax=ax,
            im_kw=im_kw,
        )

    @classmethod
    def from_predictions(
        cls,
        images,
        y,
        y_pred=None,
        *,
        target_names=None,
        predicted_names=None,
        group_by="y",
        n_images=8,
        random_state=None,
        ax=None,
        im_kw=None,
    ):
        """Show images of every class or cluster, drawn at random.

        Parameters
        ----------
        images : images in any form that estimators of sksimclr take
            Only those that are shown are read from a memory map or from files. Reshape
            flattened rows unless they are square.
        y : array-like of shape (n_samples,)
            Ground truth; or, where there is none, the clusters, without `y_pred`.
        y_pred : array-like of shape (n_samples,), default=None
            What the system says: classes or clusters. Captions such as "G arc, S 7"
            show both.
        target_names : sequence of str, default=None
            Name of class 0, 1, ... in `y`. By default its values are shown.
        predicted_names : sequence of str, default=None
            The same for `y_pred`; pass `target_names` again if it has classes.
        group_by : {"y", "y_pred"}, default="y"
            Which of the two makes the rows.
        n_images : int, default=8
            Images in a row, at least 1; fewer if there are no more.
        random_state : int, RandomState instance or None, default=None
            Which images are drawn.
        ax, im_kw
            As in `plot`.

        Returns
        -------
        ImageGridDisplay

        Raises
        ------
        ImportError
            Matplotlib is not installed.
        TypeError, ValueError
            `images` are none, there are more or fewer labels than images, labels
            without a name, or `group_by` or `n_images` is not as described.
        FileNotFoundError
            One of the paths in `images` does not exist.
        """
        require_matplotlib("ImageGridDisplay.from_predictions")
        check_scalar(n_images, "n_images", Integral, min_val=1)
        grouped = {"y": (y, target_names), "y_pred": (y_pred, predicted_names)}
        if group_by not in grouped or grouped[group_by][0] is None:
            raise ValueError(
                "group_by of ImageGridDisplay must be 'y', or 'y_pred' if that is "
                f"given, got {group_by!r}."
            )
        images = find_images(images)
        groups = {
            argument: group_labels(
                labels,
                len(images),
                owner="ImageGridDisplay",
                argument=argument,
                target_names=names,
            )
            for argument, (labels, names) in grouped.items()
            if labels is not None
        }
        names, numbers = groups[group_by]
        rng = check_random_state(random_state)
        rows = [
            _draw(np.flatnonzero(numbers == number), n_images, rng)
            for number in range(len(names))
        ]
        display = cls(
            [images.read(row) for row in rows],
            row_labels=names,
            captions=None if y_pred is None else _captions(rows, **groups),
        )
        return display.plot(ax, im_kw=im_kw)


def _draw(members, n_images, rng):
    """Draw up to `n_images` of `members`, in ascending order."""
    n_drawn = min(n_images, len(members))
    return np.sort(rng.choice(members, n_drawn, replace=False))


def _captions(rows, y, y_pred):
    """Return what is written under each image of each row."""
    (truths, truth), (answers, answer) = y, y_pred
    return [
        [f"G {truths[truth[k]]}\nS {answers[answer[k]]}" for k in row] for row in rows
    ]
