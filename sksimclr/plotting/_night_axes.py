"""Axes of a keogram: universal and magnetic time, elevation, scale of brightness."""

import numpy as np

from sksimclr.plotting._shared import LABEL_SIZE, TEXT_SIZE, style_axes

_SHORT = np.timedelta64(5, "m")  # below it, seconds are written
_TICK = 0.55, 0.7  # inches that a time takes, without and with seconds
_LINE = 1.8 * TEXT_SIZE / 72  # that a line of text takes
_BAR = 0.1  # width of the colour bar, inches


def label_time(ax, strip_ax, edges):
    """Write the date below what is lowest; `set_times` makes the ticks.

    Parameters
    ----------
    ax : matplotlib Axes
        Of the keogram.
    strip_ax : matplotlib Axes or None
        Below it.
    edges : ndarray of shape (2,), datetime64[ns]
        Of the axis of time.
    """
    from matplotlib.dates import date2num

    lowest = ax if strip_ax is None else strip_ax
    for each in {ax, lowest}:
        each.set_xlim(*date2num(edges))
    if lowest is not ax:
        ax.tick_params(axis="x", labelbottom=False, length=0)
    last = edges[1] - np.timedelta64(1, "ns")  # the end may be midnight
    days = np.datetime_as_string([edges[0], last], unit="D")
    style_axes(lowest, f"UTC, {' to '.join(dict.fromkeys(days))}", "")
    lowest.spines[["top", "right"]].set_visible(True)


def add_magnetic_time(ax, midnight):
    """Add an axis of magnetic local time above a keogram.

    Parameters
    ----------
    ax : matplotlib Axes
    midnight : float
        When magnetic midnight is, UTC hours.

    Returns
    -------
    matplotlib SecondaryAxis
    """
    days = midnight / 24
    magnetic = ax.secondary_xaxis(
        "top", functions=(lambda utc: utc - days, lambda mlt: mlt + days)
    )
    magnetic.tick_params(labelsize=TEXT_SIZE)
    magnetic.set_xlabel("magnetic local time", fontsize=LABEL_SIZE)
    return magnetic


def set_times(axes, size, edges):
    """Let axes have as many times as there is room for.

    Parameters
    ----------
    axes : list of matplotlib Axes
    size : ndarray of shape (2,), float
        Width and height of the keogram, inches.
    edges : ndarray of shape (2,), datetime64[ns]
    """
    from matplotlib.dates import AutoDateLocator, DateFormatter

    is_short = bool(edges[1] - edges[0] < _SHORT)
    most = int(np.clip(size[0] / _TICK[is_short], 2, 9))
    for ax in axes:
        locator = AutoDateLocator(minticks=max(1, most // 2), maxticks=most)
        ax.xaxis.set_major_locator(locator)
        form = "%H:%M:%S" if is_short else "%H:%M"
        ax.xaxis.set_major_formatter(DateFormatter(form, tz="UTC"))


def set_elevations(ax, height, n_rows, elevations, ends):
    """Write elevations, and which side is up, on the left.

    Parameters
    ----------
    ax : matplotlib Axes
    height : float
        Of the keogram, inches.
    n_rows : int
    elevations : ndarray of shape (n_rows,), float, or None
        Degrees above the horizon at the upper side, ascending.
    ends : (str, str)
        Names of the upper and the lower side.
    """
    places, names = [0], [ends[0]]
    if elevations is not None:
        for elevation in _round_elevations(elevations, height):
            place = np.interp(elevation, elevations, np.arange(n_rows) + 0.5)
            room = min(place, n_rows - place) / n_rows * height
            if room > 1.6 * TEXT_SIZE / 72:  # besides the name of the side
                places.append(place)
                names.append(f"{min(elevation, 180 - elevation)}°")
    ax.set_yticks([*places, n_rows], [*names, ends[1]], fontsize=TEXT_SIZE)
    texts = ax.get_yticklabels()
    texts[0].set_verticalalignment("top")
    texts[-1].set_verticalalignment("bottom")
    ax.tick_params(axis="y", length=0 if elevations is None else 2)


def _round_elevations(elevations, height):
    """Return round elevations within those of the rows, as many as `height` holds."""
    low, high = elevations[0], elevations[-1]
    for step in (15, 30, 45, 90):
        if height * step / max(high - low, 1) > 1.5 * _LINE:
            break
    round_ones = np.arange(0, 181, step)
    return [int(e) for e in round_ones if low <= e <= high]


def add_scale(image, units):
    """Add a bar of what the brightness of an image means, on its right.

    Parameters
    ----------
    image : matplotlib AxesImage
    units : str

    Returns
    -------
    matplotlib Axes
        Of the bar.
    """
    from matplotlib.colors import LogNorm, PowerNorm

    ax, norm = image.axes, image.norm
    width = _BAR * ax.figure.dpi / ax.bbox.width
    bar_ax = ax.inset_axes((1 + width, 0, width, 1))
    values = image.get_array().compressed()
    below = bool(values.size) and values.min() < norm.vmin
    above = bool(values.size) and values.max() > norm.vmax
    extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}
    form = None if isinstance(norm, LogNorm) else "{x:,.10g}"
    bar = ax.figure.colorbar(
        image, cax=bar_ax, extend=extend[below, above], format=form
    )
    bar_ax.tick_params(labelsize=TEXT_SIZE, which="both", length=2)
    if isinstance(norm, LogNorm):
        units = f"{units}, logarithmic"
    elif isinstance(norm, PowerNorm):
        units = f"{units}, to the power {norm.gamma:g}"
    bar.set_label(units, fontsize=LABEL_SIZE)
    return bar_ax
