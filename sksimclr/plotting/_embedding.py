"""Embeddings on a map."""

from numbers import Integral

import numpy as np
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.utils import check_array, check_scalar

from sksimclr._images.images import check_unmasked
from sksimclr.plotting._pictures import as_pictures, find_images
from sksimclr.plotting._shared import (
    COLUMN_WIDTH,
    TEXT_SIZE,
    axes_or_new,
    group_labels,
    group_style,
    require_matplotlib,
    style_axes,
)

_THUMBNAIL = 0.1  # side of a thumbnail, as a part of the extent of the points
_MARGIN = 0.07  # around the points, in the same unit: room for half a thumbnail


class EmbeddingDisplay:
    """A map of embeddings in two dimensions, with some of the images on it.

    Groups differ in colour and in marker.

    Use `from_estimator` or `from_predictions` to make one.

    Parameters
    ----------
    points : ndarray of shape (n_samples, 2)
        Places on the map.
    y : array-like of shape (n_samples,), default=None
        Label of each point.
    target_names : sequence of str, default=None
        Name of label 0, 1, ...; by default labels are named by their value.
    images : ndarray of shape (n_thumbnails, H, W) or (n_thumbnails, H, W, C), \
            default=None
        Thumbnails.
    image_indices : array-like of shape (n_thumbnails,), default=None
        The points that they belong to.
    xlabel, ylabel : str, default=""
        Labels of the axes.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sksimclr.plotting import EmbeddingDisplay
    >>> digits = load_digits(n_class=3)
    >>> display = EmbeddingDisplay.from_predictions(
    ...     digits.data, digits.target, images=digits.images)
    >>> display.points.shape, display.xlabel, len(display.images)
    ((537, 2), 'component 1 (31 % of variance)', 30)
    """

    def __init__(
        self,
        points,
        y=None,
        *,
        target_names=None,
        images=None,
        image_indices=None,
        xlabel="",
        ylabel="",
    ):
        self.points = points
        self.y = y
        self.target_names = target_names
        self.images = images
        self.image_indices = image_indices
        self.xlabel = xlabel
        self.ylabel = ylabel

    def plot(self, ax=None, *, scatter_kw=None):
        """Draw the map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            To draw on; by default those of a new figure, one journal column wide.
        scatter_kw : dict, default=None
            Keyword arguments for ``Axes.scatter``, for every group.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            Matplotlib is not installed.
        ValueError
            There are more or fewer labels than points, or labels without a name.
        """
        require_matplotlib("EmbeddingDisplay.plot")
        names, numbers = _group(self.y, len(self.points), self.target_names)
        has_legend = self.y is not None
        self.ax_ = axes_or_new(ax, (COLUMN_WIDTH, 2.7 if has_legend else 3.2))
        self.figure_ = self.ax_.figure
        for number, name in enumerate(names):
            self._scatter(numbers == number, number, name, scatter_kw)
        if has_legend:
            self._add_legend()
        self._fit_limits()
        style_axes(self.ax_, self.xlabel, self.ylabel)
        self.ax_.set(xticks=[], yticks=[])
        if self.images is not None:
            self._add_thumbnails(numbers)
        return self

    def _scatter(self, members, number, name, scatter_kw):
        """Draw the points of one group."""
        from matplotlib.cbook import normalize_kwargs
        from matplotlib.collections import PathCollection

        color, marker = group_style(number)
        style = {
            "s": np.clip(8000 / len(self.points), 4, 16),
            "marker": marker,
            "color": color,
            "edgecolor": "0.2",
            "linewidth": 0.2,
            "label": name,
        }
        style |= normalize_kwargs(scatter_kw or {}, PathCollection)
        self.ax_.scatter(*self.points[members].T, **style)

    def _add_legend(self):
        """List the groups on the right of the axes, with markers of one size."""
        legend = self.ax_.legend(
            loc="upper left",
            bbox_to_anchor=(1, 1),
            borderaxespad=0,
            handletextpad=0.2,
            frameon=False,
            fontsize=TEXT_SIZE,
        )
        for handle in legend.legend_handles:
            handle.set_sizes([20])

    def _fit_limits(self):
        """Leave half a thumbnail around the points."""
        low, high = self.points.min(axis=0), self.points.max(axis=0)
        margin = _MARGIN * _extent(self.points)
        self.ax_.set_xlim(low[0] - margin[0], high[0] + margin[0])
        self.ax_.set_ylim(low[1] - margin[1], high[1] + margin[1])

    def _add_thumbnails(self, numbers):
        """Put images on their points, framed in the colour of their group."""
        from matplotlib.offsetbox import AnnotationBbox, OffsetImage

        self.figure_.canvas.figure.draw_without_rendering()  # settles the layout
        side = _THUMBNAIL / (1 + 2 * _MARGIN) * min(self.ax_.bbox.size)
        side *= 72 / self.figure_.dpi
        pictures = as_pictures(self.images)
        for picture, k in zip(pictures, self.image_indices, strict=True):
            zoom = 0.9 * side / max(picture.shape[:2])
            image = OffsetImage(picture, zoom=zoom, cmap="gray")
            image.image.set_clim(0, 1)
            frame = {"edgecolor": group_style(numbers[k])[0], "linewidth": 0.8}
            box = AnnotationBbox(image, self.points[k], pad=0.0, bboxprops=frame)
            self.ax_.add_artist(box)

    @classmethod
    def from_estimator(
        cls,
        transformer,
        X,
        y=None,
        *,
        target_names=None,
        reducer=None,
        n_thumbnails=30,
        ax=None,
        scatter_kw=None,
    ):
        """Show the embeddings that a fitted transformer makes of images.

        Parameters
        ----------
        transformer : estimator
            Fitted, with ``transform``: a `SimCLRTransformer` or a pipeline.
        X : images in any form that estimators of sksimclr take
            They are the thumbnails as well.
        y : array-like of shape (n_samples,), default=None
            Labels.
        target_names, reducer, n_thumbnails, ax, scatter_kw
            As in `from_predictions`.

        Returns
        -------
        EmbeddingDisplay

        Raises
        ------
        ImportError
            Matplotlib is not installed.
        TypeError
            `transformer` has no ``transform``.
        ValueError, FileNotFoundError
            As in `from_predictions`.
        sklearn.exceptions.NotFittedError
            `transformer` was not fitted.
        """
        require_matplotlib("EmbeddingDisplay.from_estimator")
        if not hasattr(transformer, "transform"):
            raise TypeError(
                "EmbeddingDisplay.from_estimator needs an estimator with `transform`, "
                f"got {transformer!r}. Of a pipeline that ends in a classifier or "
                "clusterer, pass pipeline[:-1]."
            )
        return cls.from_predictions(
            transformer.transform(X),
            y,
            images=X,
            target_names=target_names,
            reducer=reducer,
            n_thumbnails=n_thumbnails,
            ax=ax,
            scatter_kw=scatter_kw,
        )

    @classmethod
    def from_predictions(
        cls,
        embeddings,
        y=None,
        *,
        images=None,
        target_names=None,
        reducer=None,
        n_thumbnails=30,
        ax=None,
        scatter_kw=None,
    ):
        """Show embeddings in two dimensions.

        Parameters
        ----------
        embeddings : array-like of shape (n_samples, n_features)
            At least two of each.
        y : array-like of shape (n_samples,), default=None
            Labels: classes or clusters.
        images : images in any form that estimators of sksimclr take, default=None
            For thumbnails; only those that are shown are read from a memory map or from
            files. Reshape flattened rows unless they are square.
        target_names : sequence of str, default=None
            Name of label 0, 1, ...; by default labels are named by their value.
        reducer : transformer, default=None
            With ``fit_transform`` to two columns, such as ``TSNE()``; a clone of it is
            fitted. None is a principal component analysis.
        n_thumbnails : int, default=30
            At most so many images are shown, at least 0, well apart from each other.
        ax, scatter_kw
            As in `plot`.

        Returns
        -------
        EmbeddingDisplay

        Raises
        ------
        ImportError
            Matplotlib is not installed.
        TypeError, ValueError
            There are more or fewer labels or images than embeddings, labels without a
            name, `reducer` does not return two columns, or `n_thumbnails` is not as
            described.
        FileNotFoundError
            One of the paths in `images` does not exist.
        """
        require_matplotlib("EmbeddingDisplay.from_predictions")
        check_scalar(n_thumbnails, "n_thumbnails", Integral, min_val=0)
        check_unmasked(embeddings, "embeddings")
        embeddings = check_array(
            embeddings,
            ensure_min_samples=2,
            ensure_min_features=2,
            input_name="embeddings",
        )
        _group(y, len(embeddings), target_names)  # before the reducer takes its time
        has_thumbnails = images is not None and n_thumbnails > 0
        images = _check_images(images, len(embeddings)) if has_thumbnails else None
        reducer = PCA(2, random_state=0) if reducer is None else clone(reducer)
        points = _reduce(embeddings, reducer)
        shown = _axis_labels(reducer)
        if has_thumbnails:
            indices = spread_out(points, n_thumbnails, _THUMBNAIL)
            shown |= {"images": images.read(indices), "image_indices": indices}
        display = cls(points, y, target_names=target_names, **shown)
        return display.plot(ax, scatter_kw=scatter_kw)


def _group(y, n_samples, target_names):
    """Return the names of the groups, and the group of each sample."""
    if y is None:
        return [""], np.zeros(n_samples, dtype=int)
    return group_labels(
        y,
        n_samples,
        owner="EmbeddingDisplay",
        argument="y",
        target_names=target_names,
    )


def _reduce(embeddings, reducer):
    """Return embeddings in two dimensions."""
    points = np.asarray(reducer.fit_transform(embeddings))
    if points.shape != (len(embeddings), 2):
        raise ValueError(
            "reducer of EmbeddingDisplay must return two columns, shape "
            f"({len(embeddings)}, 2), got {points.shape} from {reducer!r}."
        )
    return points


def _axis_labels(reducer):
    """Return the labels of the axes, with explained variance if it is known."""
    shares = getattr(reducer, "explained_variance_ratio_", None)
    if shares is None:
        return {"xlabel": "dimension 1", "ylabel": "dimension 2"}
    first, second = 100 * shares
    return {
        "xlabel": f"component 1 ({first:.0f} % of variance)",
        "ylabel": f"component 2 ({second:.0f} % of variance)",
    }


def _check_images(images, n_samples):
    """See `images` as images, of which there must be one for each sample."""
    images = find_images(images)
    if len(images) != n_samples:
        raise ValueError(
            "EmbeddingDisplay needs one image per embedding: expected "
            f"{n_samples} images, got {len(images)}."
        )
    return images


def _extent(points):
    """Return how far the points reach along each axis, 1 where they do not."""
    extent = np.ptp(points, axis=0)
    return np.where(extent > 0, extent, 1)


def spread_out(points, n_points, gap):
    """Choose points greedily, each as far as possible from those chosen before.

    Parameters
    ----------
    points : ndarray of shape (n_samples, 2)
    n_points : int
        Choose at most so many.
    gap : float
        Distance at which to stop, as a part of the extent of the points; along the axis
        on which two points differ most, so that squares of this side do not overlap.

    Returns
    -------
    ndarray of int
        Indices of the chosen points, in ascending order.

    Examples
    --------
    >>> line = np.array([[0.0, 0], [0.5, 0], [0.52, 0], [1, 0]])
    >>> spread_out(line, 10, gap=0.1)
    array([0, 1, 3])
    """
    unit = points / _extent(points)
    chosen = [int(np.abs(unit - unit.mean(axis=0)).max(axis=1).argmax())]
    distance = np.abs(unit - unit[chosen[0]]).max(axis=1)
    while len(chosen) < n_points and distance.max() >= gap:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.abs(unit - unit[chosen[-1]]).max(axis=1))
    return np.sort(chosen)
