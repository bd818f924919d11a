"""How training went, epoch by epoch."""

import numpy as np
from sklearn.exceptions import NotFittedError

from sksimclr.plotting._shared import (
    COLORS,
    COLUMN_WIDTH,
    label_on_right,
    line_style,
    require_matplotlib,
    style_axes,
)

# label of a panel: {key in history_: label of its line}
_PANELS = {
    "loss": {"loss": "training", "valid_loss": "validation"},
    "alignment": {"alignment": ""},
    "uniformity": {"uniformity": ""},
    "effective\nrank": {"effective_rank": ""},
}
_STYLES = (
    {"color": COLORS[0], "linestyle": "-", "marker": "o"},
    {"color": COLORS[3], "linestyle": "--", "marker": "s"},
)


class LearningCurveDisplay:
    """Loss and quality of the embeddings over the epochs of training.

    A panel each for the loss and the alignment, uniformity [1]_ and effective rank of
    the projections, as far as the history has them. An effective rank that stays low
    shows what the loss may hide: that few of their dimensions are used.

    Use `from_estimator` to make one.

    Parameters
    ----------
    history : list of dict
        A row for each epoch, with "epoch" and at least one of "loss", "valid_loss",
        "alignment", "uniformity" and "effective_rank".

    Attributes
    ----------
    axes_ : ndarray of shape (n_panels,), matplotlib Axes
        One for each panel.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure

    See Also
    --------
    sksimclr.SimCLRTransformer : What its ``history_`` holds.
    sksimclr.metrics : The same three measures of any embeddings.

    References
    ----------
    .. [1] Wang and Isola (2020), "Understanding Contrastive Representation Learning
       through Alignment and Uniformity on the Hypersphere",
       https://arxiv.org/abs/2005.10242

    Examples
    --------
    >>> from sksimclr.plotting import LearningCurveDisplay
    >>> history = [{"epoch": 1, "loss": 4.5}, {"epoch": 2, "loss": 3.9}]
    >>> display = LearningCurveDisplay(history).plot()
    >>> display.axes_[0].lines[0].get_ydata()
    array([4.5, 3.9])
    """

    def __init__(self, history):
        self.history = history

    def plot(self, ax=None, *, line_kw=None):
        """Draw the panels.

        Parameters
        ----------
        ax : matplotlib Axes or array of shape (n_panels,) of them, default=None
            One for each panel. A single one makes room for several panels. By default
            those of a new figure, one journal column wide.
        line_kw : dict, default=None
            Keyword arguments for ``Axes.plot``, for every line.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            Matplotlib is not installed.
        ValueError
            The history is empty or has nothing to show, or `ax` has another number of
            axes than there are panels.
        """
        require_matplotlib("LearningCurveDisplay.plot")
        panels = _panels_of(self.history)
        self.axes_ = _panel_axes(ax, len(panels))
        self.ax_ = self.axes_[0]
        self.figure_ = self.ax_.figure
        epochs = [row["epoch"] for row in self.history]
        for axes, (label, lines) in zip(self.axes_, panels.items(), strict=True):
            _draw_panel(axes, self.history, epochs, lines, line_kw)
            style_axes(axes, "", label)
        style_axes(self.axes_[-1], "epoch", label)
        self.figure_.align_ylabels(self.axes_)
        return self

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, line_kw=None):
        """Show the ``history_`` of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            A fitted `SimCLRTransformer` or another estimator with ``history_``, frozen
            or not; or a pipeline, of which the first step with one is taken.
        ax, line_kw
            As in `plot`.

        Returns
        -------
        LearningCurveDisplay

        Raises
        ------
        ImportError
            Matplotlib is not installed.
        sklearn.exceptions.NotFittedError
            There is no ``history_``.
        ValueError
            As in `plot`.
        """
        require_matplotlib("LearningCurveDisplay.from_estimator")
        return cls(_history_of(estimator)).plot(ax, line_kw=line_kw)


def _history_of(estimator):
    """Return the history of an estimator, or of the first step that has one."""
    for step in [estimator, *dict(getattr(estimator, "steps", [])).values()]:
        if hasattr(step, "history_"):
            return step.history_
    raise NotFittedError(
        "LearningCurveDisplay.from_estimator needs a fitted SimCLRTransformer, or "
        "another estimator or a pipeline with `history_`, and found none in "
        f"{estimator!r}. Call `fit` first."
    )


def _panels_of(history):
    """Return the panels for which the history has lines: {label: {key: label}}."""
    if not history:
        raise ValueError(
            "LearningCurveDisplay needs at least one epoch, got an empty history. Fit "
            "with max_epochs >= 1."
        )
    found = {
        label: {key: name for key, name in lines.items() if key in history[0]}
        for label, lines in _PANELS.items()
    }
    panels = {label: lines for label, lines in found.items() if lines}
    if not panels or "epoch" not in history[0]:
        keys = [key for lines in _PANELS.values() for key in lines]
        raise ValueError(
            "Rows of the history of LearningCurveDisplay must have 'epoch' and at "
            f"least one of {keys}, got {sorted(history[0])}."
        )
    return panels


def _panel_axes(ax, n_panels):
    """Return an array of axes, one under the other unless they were given."""
    import matplotlib.pyplot as plt

    if ax is None:
        size = (COLUMN_WIDTH, 0.5 + 1.0 * n_panels)
        options = {"sharex": True, "squeeze": False, "layout": "constrained"}
        return plt.subplots(n_panels, figsize=size, **options)[1][:, 0]
    axes = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
    if len(axes) == 1 and n_panels > 1:
        return _split(axes[0], n_panels)
    if len(axes) != n_panels:
        raise ValueError(
            f"LearningCurveDisplay has {n_panels} panels to draw, got {len(axes)} "
            "axes. Pass one for each, or a single one."
        )
    return axes


def _split(ax, n_panels):
    """Put panels in the place of `ax`."""
    place = ax.get_subplotspec()
    if place is None:
        raise ValueError(
            f"LearningCurveDisplay cannot put {n_panels} panels in the place of axes "
            f"that are no subplot, {ax!r}. Make them by plt.subplots."
        )
    ax.set_axis_off()
    grid = place.subgridspec(n_panels, 1)
    return grid.subplots(sharex=True, squeeze=False)[:, 0]


def _draw_panel(ax, history, epochs, lines, line_kw):
    """Draw the lines of one panel; two are labelled at their ends."""
    from matplotlib.ticker import MaxNLocator

    ends = {}
    for (key, label), style in zip(lines.items(), _STYLES, strict=False):
        values = [row.get(key, np.nan) for row in history]
        ax.plot(
            epochs,
            values,
            **line_style(line_kw, label=label, linewidth=1, markersize=2.5, **style),
        )
        ends[label] = values[-1], style["color"]
    if len(ends) > 1:
        _label_ends(ax, ends)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def _label_ends(ax, ends):
    """Write the labels of two lines at the height of their ends, apart."""
    by_height = sorted(ends.items(), key=lambda end: end[1][0])
    for (label, (y, color)), side in zip(by_height, ("top", "bottom"), strict=True):
        label_on_right(ax, y, label, color, va=side)
