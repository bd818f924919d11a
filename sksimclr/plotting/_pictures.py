"""Images as pictures, alone and in a grid."""

import numpy as np
from sklearn.utils import check_array

from sksimclr._estimators.validation import as_arrays
from sksimclr._images.images import as_floats, as_images, is_lazy, is_path_sequence
from sksimclr.plotting._shared import (
    COLUMN_WIDTH,
    LABEL_SIZE,
    PAGE_WIDTH,
    TEXT_SIZE,
    axes_or_new,
    text_width,
)

_GAP = 0.06  # between pictures, as a part of their side
_LINE = 1.25 * TEXT_SIZE / 72  # height of a line of text, inches
_MARGIN = 0.1  # around the grid, and between captions, inches
_SMALLEST = 0.4  # side of a picture on paper, inches
_THINNEST = 0.2  # side of what holds a picture whose other side is 1


def find_images(X, image_shape=None):
    """See X, in any form that estimators take, as lazily read images."""
    X = as_arrays(X)
    if not is_path_sequence(X) and not is_lazy(X):
        X = check_array(X, dtype="numeric", allow_nd=True, ensure_all_finite=False)
    return as_images(X, image_shape)


def as_pictures(images):
    """Return images as matplotlib shows them: grey or colours, in [0, 1].

    Parameters
    ----------
    images : sequence of ndarray of shape (H, W) or (H, W, C)
        Integers of 8 and 16 bits are divided by their type's maximum. If any value is
        still outside [0, 1], the range of all of them is stretched to it.

    Returns
    -------
    list of ndarray of shape (H, W), (H, W, 3) or (H, W, 4), float32

    Examples
    --------
    >>> as_pictures([np.array([[0, 255]], "uint8")])[0]
    array([[0., 1.]], dtype=float32)
    >>> as_pictures([np.array([[0.5, 2.0, 3.5]])])[0]
    array([[0. , 0.5, 1. ]], dtype=float32)
    """
    pictures = [as_floats(np.asarray(image)) for image in images]
    low = min(picture.min() for picture in pictures)
    high = max(picture.max() for picture in pictures)
    if low < 0 or high > 1:
        pictures = [(picture - low) / ((high - low) or 1) for picture in pictures]
    return [_without_single_channel(picture) for picture in pictures]


def _without_single_channel(picture):
    """Of grey, or grey and alpha, return the grey."""
    is_grey = picture.ndim == 3 and picture.shape[2] <= 2
    return picture[..., 0] if is_grey else picture


def draw_grid(
    ax, rows, *, row_labels=(), column_labels=(), captions=None, legend="", im_kw=None
):
    """Draw rows of pictures on one pair of axes.

    Parameters
    ----------
    ax : matplotlib Axes or None
        None makes a figure as wide as a column or a page of a journal.
    rows : list of list of ndarray of shape (H, W) or (H, W, C)
    row_labels, column_labels : sequence of str
    captions : list of list of str, default=None
        Under each picture, of at most two lines.
    legend : str
        One line under the grid.
    im_kw : dict, default=None
        For ``Axes.imshow``.

    Returns
    -------
    matplotlib Axes
    """
    n_columns = max(len(row) for row in rows)
    places = [(i, k) for i, row in enumerate(rows) for k in range(len(row))]
    pictures = as_pictures([rows[i][k] for i, k in places])
    texts = [captions[i][k] for i, k in places] if captions else []
    caption = np.array([text_width(texts, TEXT_SIZE), 2 * _LINE if captions else 0])
    cell = _cell(pictures)
    if ax is None:
        margin = text_width(row_labels, LABEL_SIZE) + 2 * _MARGIN
        side, width = _side_on_paper(cell, n_columns, margin, caption[0])
        height = len(rows) * (side * (cell[1] + _GAP) + caption[1]) + _MARGIN
        height += 1.6 * _LINE * (bool(legend) + bool(column_labels))
        ax = axes_or_new(None, (width, height))
    else:
        side = _side_within(ax, cell, len(rows), n_columns, caption[1])
    caption += [_MARGIN / 2, 0]
    step = np.array(
        [max(cell[0] + _GAP, caption[0] / side), cell[1] + _GAP + caption[1] / side]
    )
    for (i, k), picture in zip(places, pictures, strict=True):
        _place(ax, picture, step * [k, i] + cell / 2, im_kw)
    for (i, k), text in zip(places, texts, strict=False):
        below = step * [k, i] + cell * [0.5, 1] + [0, _GAP / 2]
        ax.text(*below, text, ha="center", va="top", size=TEXT_SIZE)
    _frame(ax, cell, step, len(rows), n_columns)
    _label(ax, cell, step, row_labels, column_labels, legend)
    return ax


def _cell(pictures):
    """Return width and height of what holds each picture; the longest side is 1."""
    sides = np.array([picture.shape[1::-1] for picture in pictures])
    return (sides / sides.max(axis=1, keepdims=True)).max(axis=0).clip(_THINNEST)


def _side_on_paper(cell, n_columns, margin, caption):
    """Return the longest side of a picture and the width of the figure, inches.

    The figure is wider than a column or a page only if the captions, or many pictures,
    would not fit else. `margin` and `caption` are widths in inches.
    """
    width = COLUMN_WIDTH if n_columns <= 4 else PAGE_WIDTH
    width = max(width, margin + n_columns * max(_SMALLEST, caption + _MARGIN / 2))
    return (width - margin) / (n_columns * (cell[0] + _GAP)), width


def _side_within(ax, cell, n_rows, n_columns, caption):
    """Return the longest side of a picture if the grid fills `ax`, inches.

    `caption` is the height of what is under each picture, inches.
    """
    width, height = np.array(ax.bbox.size) / ax.figure.dpi
    by_height = (height / n_rows - caption) / (cell[1] + _GAP)
    return max(min(width / (n_columns * (cell[0] + _GAP)), by_height), _LINE)


def _place(ax, picture, centre, im_kw):
    """Show a picture around `centre`, its longest side being 1."""
    height, width = np.array(picture.shape[:2]) / max(picture.shape[:2]) / 2
    (x, y), style = centre, {"cmap": "gray", "vmin": 0, "vmax": 1} | (im_kw or {})
    ax.imshow(picture, extent=(x - width, x + width, y + height, y - height), **style)


def _frame(ax, cell, step, n_rows, n_columns):
    """Let the axes end where the grid does."""
    around = (step[0] - cell[0] - _GAP) / 2  # of half a caption that is wider
    ax.set_aspect("equal", anchor="NW")  # where the labels are
    ax.set_xlim(-around, n_columns * step[0] - _GAP - around)
    ax.set_ylim(n_rows * step[1] - _GAP / 2, 0)
    ax.spines[:].set_visible(False)


def _label(ax, cell, step, row_labels, column_labels, legend):
    """Write the labels of rows and columns, and what is below the grid."""
    centres = cell[0] / 2 + step[0] * np.arange(len(column_labels))
    ax.set_xticks(centres, column_labels, fontsize=TEXT_SIZE)
    centres = cell[1] / 2 + step[1] * np.arange(len(row_labels))
    ax.set_yticks(centres, row_labels, fontsize=LABEL_SIZE)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.set_xlabel(legend, fontsize=TEXT_SIZE)
