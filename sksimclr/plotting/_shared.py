"""What all displays share: colours, sizes, axes, and checks of labels."""

import numpy as np

from sksimclr._estimators.labels import as_column

# Okabe and Ito's colours, https://jfly.uni-koeln.de/color/; yellow comes last since it
# is faint on white
COLORS = (
    "#0072B2",  # blue
    "#E69F00",  # orange
    "#009E73",  # green
    "#D55E00",  # vermilion
    "#CC79A7",  # purple
    "#56B4E9",  # sky blue
    "#000000",
    "#F0E442",  # yellow
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
COLUMN_WIDTH, PAGE_WIDTH = 3.5, 7.0  # of a journal, inches
LABEL_SIZE, TEXT_SIZE = 8, 7  # points


def group_style(number):
    """Return the colour and the marker of a group; 64 pairs differ.

    Examples
    --------
    >>> group_style(0), group_style(8)
    (('#0072B2', 'o'), ('#0072B2', 's'))
    """
    lap = number // len(COLORS)
    return COLORS[number % len(COLORS)], MARKERS[(number + lap) % len(MARKERS)]


def require_matplotlib(caller):
    """Raise an ImportError that says who needs matplotlib, unless it is there."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{caller} needs matplotlib, which is not installed. Run "
            '`pip install "sksimclr[plot]"`.'
        ) from error


def axes_or_new(ax, figsize):
    """Return `ax`, or else the axes of a new figure of `figsize` inches."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=figsize, layout="constrained")[1]


def size_of(ax):
    """Return width and height of axes, inches, where the layout puts them so far."""
    figure = ax.figure.canvas.figure
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    return np.array(ax.bbox.size) / figure.dpi


def style_axes(ax, xlabel, ylabel):
    """Label the axes, in sizes for print, and leave them two spines."""
    ax.set_xlabel(xlabel, fontsize=LABEL_SIZE)
    ax.set_ylabel(ylabel, fontsize=LABEL_SIZE)
    ax.tick_params(labelsize=TEXT_SIZE)
    ax.spines[["top", "right"]].set_visible(False)


def label_on_right(ax, y, text, color, va="center"):
    """Write what a line at height `y` is, right of the axes."""
    ax.annotate(
        text,
        (1, y),
        xycoords=ax.get_yaxis_transform(),
        xytext=(3, 0),
        textcoords="offset points",
        va=va,
        color=color,
        size=TEXT_SIZE,
        annotation_clip=False,
    )


def text_width(texts, size):
    """Return the width of the widest line in `texts`, inches; 0 if there is none."""
    from matplotlib.textpath import TextPath

    lines = {line for text in texts for line in text.splitlines()}
    widths = (TextPath((0, 0), line, size=size).get_extents().x1 for line in lines)
    return max(widths, default=0) / 72


def line_style(line_kw, **defaults):
    """Return `defaults` for ``Axes.plot``, overridden by the caller's `line_kw`."""
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.lines import Line2D

    return defaults | normalize_kwargs(line_kw or {}, Line2D)


def group_labels(y, n_samples, *, owner, argument, target_names=None):
    """Return the groups of equal labels, in ascending order.

    Parameters
    ----------
    y : array-like of shape (n_samples,)
    n_samples : int
        How many labels there must be.
    owner, argument : str
        Who asks, and what it calls `y`, for messages.
    target_names : sequence of str, default=None
        Name of label 0, 1, ...; by default labels are named by their value.

    Returns
    -------
    names : list of str
        Of the groups that occur.
    numbers : ndarray of shape (n_samples,), int
        Group of each sample, an index into `names`.

    Examples
    --------
    >>> group_labels([2, 0, 2], 3, owner="me", argument="y", target_names="abc")
    (['a', 'c'], array([1, 0, 1]))
    """
    y = as_column(y, argument)
    if len(y) != n_samples:
        raise ValueError(
            f"{owner} needs one label per image or row: expected {n_samples} in "
            f"{argument}, got {len(y)}."
        )
    labels, numbers = np.unique(y, return_inverse=True)
    if target_names is None:
        return [str(label) for label in labels], numbers
    for label in labels:
        if labels.dtype.kind not in "biu" or not 0 <= label < len(target_names):
            raise ValueError(
                f"{owner} got {len(target_names)} target names, so labels in "
                f"{argument} must be integers from 0 to {len(target_names) - 1}, got "
                f"{label!s}. Give one name for each class, in the order of its number."
            )
    return [str(target_names[int(label)]) for label in labels], numbers
