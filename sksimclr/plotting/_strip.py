"""The classes of frames as a strip of colours."""

import numpy as np

from sksimclr._estimators.labels import is_missing
from sksimclr._images.images import check_unmasked
from sksimclr.plotting._shared import COLORS, TEXT_SIZE, group_labels, text_width

GAP_COLOR = "#DCE6F0"  # no grey, so that it is no sky
_LIGHTER = 0.6  # how much white is in the colours of classes 8 to 15
_STRIP = 0.1  # height of the strip, as a part of that of the axes above it
_SPACE = 0.04  # between the two, in the same unit
_BELOW = 28  # from the strip to the legend, with the axis of time between, points
_HANDLE, _TO_TEXT, _BETWEEN = 0.8, 0.8, 1.6  # of the legend, in sizes of its letters


def frame_classes(labels, n_frames, target_names):
    """Return the class of each frame, and colours and names of the classes.

    Parameters
    ----------
    labels : array-like of shape (n_frames,)
        None or NaN for a frame without.
    n_frames : int
    target_names : sequence of str or None
        Name of label 0, 1, ...; they fix the colours.

    Returns
    -------
    numbers : ndarray of shape (n_frames,), int
        Index into the other two, -1 without a label.
    colors, names : list of str
        Of the classes that occur.

    Examples
    --------
    >>> frame_classes(["arc", None, "moon"], 3, None)
    (array([ 0, -1,  1]), ['#0072b2', '#e69f00'], ['arc', 'moon'])
    """
    labels = as_labels(labels, n_frames)
    known = np.array([not is_missing(each) for each in labels], bool)
    numbers = np.full(n_frames, -1)
    if not known.any():
        return numbers, [], []
    values = np.array(labels[known].tolist())
    if values.dtype.kind == "f" and (values == values.astype(int)).all():
        values = values.astype(int)
    names, numbers[known] = group_labels(
        values,
        len(values),
        owner="KeogramDisplay",
        argument="labels",
        target_names=target_names,
    )
    found = range(len(names)) if target_names is None else np.unique(values)
    return numbers, [_class_color(int(number)) for number in found], names


def draw_strip(ax, classes, frames, limits):
    """Show the class of every frame under `ax`, and below the classes' names.

    Parameters
    ----------
    ax : matplotlib Axes
    classes : (numbers, colors, names)
        Of `frame_classes`.
    frames : ndarray of shape (n_cells,), int
        Number of the frame in each cell, -1 where there is none.
    limits : (float, float)
        Left and right end.

    Returns
    -------
    matplotlib Axes
        Of the strip.
    """
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Patch
    from matplotlib.transforms import ScaledTranslation

    numbers, colors, names = classes
    blank = to_rgba(GAP_COLOR), to_rgba("white")  # no frame, no label
    rgba = np.array([*map(to_rgba, colors), *blank])
    cells = np.where(frames < 0, len(colors), numbers[frames])  # -1 is the last
    strip_ax = ax.inset_axes((0, -_SPACE - _STRIP, 1, _STRIP))
    style = {"aspect": "auto", "interpolation": "nearest"}
    strip_ax.imshow(rgba[cells][None], extent=(*limits, 1, 0), **style)
    strip_ax.set_yticks([])
    _, n_columns = legend_rows(names, ax.bbox.width / ax.figure.dpi)
    pairs = zip(colors, names, strict=True)
    ax.legend(
        handles=[Patch(color=color, label=name) for color, name in pairs],
        loc="upper left",
        bbox_to_anchor=(0, -_SPACE - _STRIP),
        bbox_transform=ax.transAxes
        + ScaledTranslation(0, -_BELOW / 72, ax.figure.dpi_scale_trans),
        ncols=n_columns,
        borderaxespad=0,
        borderpad=0,
        handlelength=_HANDLE,
        columnspacing=_BETWEEN,
        frameon=False,
        fontsize=TEXT_SIZE,
    )
    return strip_ax


def legend_rows(names, width):
    """Return how many rows and columns a legend has that is `width` inches wide."""
    if not len(names):
        return 0, 1
    em = TEXT_SIZE / 72
    entry = text_width(names, TEXT_SIZE) + em * (_HANDLE + _TO_TEXT + _BETWEEN)
    n_columns = int(np.clip((width + em * _BETWEEN) // entry, 1, len(names)))
    return -(-len(names) // n_columns), n_columns


def _class_color(number):
    """Return the colour of a class: eight of them, and the same in lighter."""
    if number >= 2 * len(COLORS):
        raise ValueError(
            f"KeogramDisplay has colours for {2 * len(COLORS)} classes, got more. Put "
            "classes together before you show them."
        )
    from matplotlib.colors import to_hex, to_rgb

    rgb = np.array(to_rgb(COLORS[number % len(COLORS)]))
    if number >= len(COLORS):
        rgb += _LIGHTER * (1 - rgb)
    return to_hex(rgb)


def as_labels(labels, n_frames):
    """Return labels as an array; raise a ValueError unless there is one per frame."""
    check_unmasked(labels, "labels")
    # of lists, NumPy would make strings of a NaN among strings
    labels = np.asarray(labels, object if isinstance(labels, (list, tuple)) else None)
    if labels.shape != (n_frames,):
        raise ValueError(
            f"KeogramDisplay needs one label per frame: expected {n_frames} in labels, "
            f"got shape {labels.shape}."
        )
    return labels
