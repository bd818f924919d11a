"""How often each class occurs, by hour and month."""

from numbers import Integral

import numpy as np
from sklearn.utils import check_scalar

from sksimclr.plotting._shared import (
    LABEL_SIZE,
    PAGE_WIDTH,
    TEXT_SIZE,
    require_matplotlib,
    size_of,
    text_width,
)

_PANELS_IN_A_ROW = 4
_MONTHS_AND_SHARES = 1.0  # width of the names of months and of a scale, inches
_FRAMES = 0.75  # and of the other scale
_GAP = 0.15  # between titles, inches
_HOUR, _MONTH = 0.25, 0.12  # room for an hour and for a month, inches
_HOURS = {"hour": "UTC, hours", "magnetic_hour": "MLT, hours"}
_FIRST_HOUR = {"hour": 0, "magnetic_hour": 12}  # midnight is in the middle
_FIRST_MONTH = 6  # July, so that a northern winter stays in one piece
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


class OccurrenceDisplay:
    """The share of each class among the frames, by hour and month.

    A panel for each class, and one for the number of frames. Hours and months with few
    frames are blank.

    Use `from_catalogue` to make one.

    Parameters
    ----------
    counts : array-like of shape (n_classes, 12, 24), int
        Labelled frames of each class, for January to December and for hours from 0 on.
    classes : sequence of str
        Their names.
    hour : {"magnetic_hour", "hour"}, default="magnetic_hour"
        What the hours are: magnetic local time, or UTC.
    min_frames : int, default=None
        Blank are months and hours with fewer labelled frames, at least 1. By default
        those with less than a hundredth of the fullest.

    Attributes
    ----------
    fractions : ndarray of shape (n_classes, 12, 24), float64
        Share of each class, NaN where there are few frames.
    axes_ : ndarray of shape (n_classes + 1,), matplotlib Axes
        One for each class, and one for the number of frames.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure

    See Also
    --------
    sksimclr.archive.occurrence : The same as a table, by station or date as well.
    KeogramDisplay : A single night.

    Examples
    --------
    >>> import numpy as np
    >>> from sksimclr.plotting import OccurrenceDisplay
    >>> counts = np.zeros((2, 12, 24), int)
    >>> counts[:, 2, 6] = 300, 100
    >>> display = OccurrenceDisplay(counts, ["arc", "cloudy"]).plot()
    >>> display.fractions[:, 2, 6]
    array([0.75, 0.25])
    """

    def __init__(self, counts, classes, *, hour="magnetic_hour", min_frames=None):
        self.counts = counts
        self.classes = classes
        self.hour = hour
        self.min_frames = min_frames

    @property
    def fractions(self):
        """Share of each class, NaN where there are few frames."""
        n_frames = np.sum(self.counts, axis=0)
        fractions = np.asarray(self.counts) / np.maximum(n_frames, 1)
        return np.where(self._is_full(n_frames), fractions, np.nan)

    def _is_full(self, n_frames):
        """Return where there are enough frames."""
        if self.min_frames is None:
            return n_frames >= max(1, n_frames.max() / 100)
        return n_frames >= self.min_frames

    def plot(self, ax=None, *, image_kw=None):
        """Draw the panels.

        Parameters
        ----------
        ax : matplotlib Axes or array of shape (n_classes + 1,) of them, default=None
            One for each panel. A single one makes room for all. By default those of a
            new figure, one page wide.
        image_kw : dict, default=None
            Keyword arguments for ``Axes.imshow`` of the classes.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            Matplotlib is not installed.
        TypeError, ValueError
            No hour has enough frames, `min_frames` is not as described, counts have
            another shape, or `ax` another number of axes than there are panels.
        """
        require_matplotlib("OccurrenceDisplay.plot")
        self._check()
        n_frames = np.sum(self.counts, axis=0)
        months, hours = self._shown(n_frames)
        part = np.ix_(months, hours)
        shares = np.sum(self.counts, axis=(1, 2)) / n_frames.sum()
        titles = [
            [*f"{name},".split(), f"{100 * share:.0f} %"]
            for name, share in zip(self.classes, shares, strict=True)
        ]
        titles.append([f"{n_frames.sum():,}", "frames"])
        self.axes_, titles = _panel_axes(ax, titles)
        self.ax_ = self.axes_[0]
        self.figure_ = self.ax_.figure
        percent = 100 * self.fractions
        style = {"cmap": "viridis"} | (image_kw or {})
        if "norm" not in style:
            style = {"vmin": 0, "vmax": np.nanmax(percent)} | style
        for panel, values, title in zip(self.axes_, percent, titles, strict=False):
            image = _draw(panel, values[part], title, style)
        seen = np.where(n_frames > 0, n_frames, np.nan)
        style = {"cmap": "Blues", "vmin": 0}
        frames = _draw(self.axes_[-1], seen[part], titles[-1], style)
        bars = _add_bars(self.axes_, image, frames)
        self._label(months, hours, bars)
        return self

    def _shown(self, n_frames):
        """Return the months and the hours that are shown, in their order."""
        months = np.roll(np.arange(12), -_FIRST_MONTH)
        hours = np.roll(np.arange(24), -_FIRST_HOUR[self.hour])
        is_full = self._is_full(n_frames)[np.ix_(months, hours)]
        months = months[_from_first_to_last(is_full.any(axis=1))]
        return months, hours[_from_first_to_last(is_full.any(axis=0))]

    def _label(self, months, hours, bars):
        """Write months, hours and what the colours mean, as far as there is room."""
        n_columns = _n_columns_of(self.axes_)
        for number, panel in enumerate(self.axes_):
            is_lowest = number + n_columns >= len(self.axes_)
            panel.tick_params(labelsize=TEXT_SIZE, length=2)
            panel.tick_params(labelleft=number % n_columns == 0, labelbottom=is_lowest)
            panel.set_yticks([0], ["Mmm"])
            if is_lowest:
                panel.set_xlabel(_HOURS[self.hour], fontsize=LABEL_SIZE)
        width, height = size_of(self.ax_)
        _label_bars(bars, height, -(-len(self.axes_) // n_columns) * height)
        every = _step(len(months) * _MONTH / height)
        at = np.arange(0, len(months), every)
        edges = np.append(hours, (hours[-1] + 1) % 24)
        ticks = np.flatnonzero(hours % _step(len(hours) * _HOUR / width) == 0)
        if len(ticks) < 2:
            ticks = np.array([0, len(hours)])
        for panel in self.axes_:
            panel.set_yticks(at, [_MONTHS[months[k]] for k in at])
            panel.set_xticks(ticks - 0.5, [str(edges[k]) for k in ticks])

    def _check(self):
        """Raise a ValueError unless there is something to show."""
        counts, expected = np.shape(self.counts), (len(self.classes), 12, 24)
        if counts != expected:
            raise ValueError(
                f"counts of OccurrenceDisplay must be of shape {expected}, got "
                f"{counts}."
            )
        if self.hour not in _HOURS:
            raise ValueError(f"hour must be one of {[*_HOURS]}, got {self.hour!r}.")
        if self.min_frames is not None:
            check_scalar(self.min_frames, "min_frames", Integral, min_val=1)
        n_frames = np.sum(self.counts, axis=0)
        if not self._is_full(n_frames).any():
            raise ValueError(
                "OccurrenceDisplay shows hours with at least min_frames="
                f"{self.min_frames or 1} labelled frames, and the fullest has "
                f"{n_frames.max()}."
            )

    @classmethod
    def from_catalogue(
        cls,
        catalogue,
        *,
        hour="magnetic_hour",
        instrument=None,
        sites=None,
        min_frames=None,
        ax=None,
        image_kw=None,
    ):
        """Count the frames of a catalogue and show the shares of its classes.

        Parameters
        ----------
        catalogue : str or path-like
            Folder that `sksimclr.archive.label_archive` has written.
        hour : {"magnetic_hour", "hour"}, default="magnetic_hour"
            Magnetic local time, which is right to within about an hour, or UTC.
        instrument : str or sequence of str, default=None
            Count the frames of these alone. Needed if a station has several, in a
            catalogue with a column "instrument"; the error that you get without it
            names them.
        sites : dict of str to (float, float), default=None
            For magnetic local time: latitude and longitude of stations that are not
            THEMIS's, degrees north and east.
        min_frames, ax, image_kw
            As in `OccurrenceDisplay` and `plot`.

        Returns
        -------
        OccurrenceDisplay

        Raises
        ------
        ImportError
            Matplotlib or pyarrow is not installed.
        FileNotFoundError
            There is no such catalogue.
        OSError
            A file of the catalogue is damaged.
        TypeError, ValueError
            It has no labels, or several instruments at one station; the position of a
            station is not known; or as in `plot`.
        """
        require_matplotlib("OccurrenceDisplay.from_catalogue")
        from sksimclr.archive._catalogue import read_header
        from sksimclr.archive._occurrence import occurrence_of

        if hour not in _HOURS:
            raise ValueError(f"hour must be one of {[*_HOURS]}, got {hour!r}.")
        classes = read_header(catalogue)["classes"]
        if classes is None:
            raise ValueError(
                f"The catalogue {str(catalogue)!r} has no labels: its pipeline has no "
                "classifier at its end. Label the archive with one that has."
            )
        table = occurrence_of(instrument, catalogue, by=["month", hour], sites=sites)
        number = {name: k for k, name in enumerate(classes)}
        counts = np.zeros((len(classes), 12, 24), np.int64)
        known = table.select(["month", hour, "label", "n_frames"]).drop_null()
        for row in known.to_pylist():
            place = number[row["label"]], row["month"] - 1, row[hour]
            counts[place] += row["n_frames"]
        names = [str(name) for name in classes]
        display = cls(counts, names, hour=hour, min_frames=min_frames)
        return display.plot(ax, image_kw=image_kw)


def _from_first_to_last(is_shown):
    """Return a slice around all that is true."""
    shown = np.flatnonzero(is_shown)
    return slice(shown[0], shown[-1] + 1)


def _step(least):
    """Return the smallest usual step, of months or hours, that is at least so long."""
    return next((step for step in (1, 2, 3, 6, 12) if step >= least), 24)


def _panel_axes(ax, titles):
    """Return an array of axes, in rows unless they were given, and titles that fit.

    Parameters
    ----------
    ax : matplotlib Axes, array of them or None
    titles : list of list of str
        Words of the title of each panel.

    Returns
    -------
    axes : ndarray of matplotlib Axes
    titles : list of str
        With the words on as many lines as they need.
    """
    import matplotlib.pyplot as plt

    n_panels, widest = len(titles), max(text_width(t, LABEL_SIZE) for t in titles)
    axes = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
    if len(axes) == n_panels and ax is not None:
        room = [ax.bbox.width / ax.figure.canvas.figure.dpi for ax in axes]
        return axes, [_in_lines(*pair) for pair in zip(titles, room, strict=True)]
    if ax is not None and (len(axes) != 1 or axes[0].get_subplotspec() is None):
        raise ValueError(
            f"OccurrenceDisplay has {n_panels} panels to draw, got {len(axes)} axes. "
            "Pass one for each, or a single one made by plt.subplots."
        )
    width = PAGE_WIDTH if ax is None else size_of(axes[0])[0]
    for n_columns in range(min(n_panels, _PANELS_IN_A_ROW), 0, -1):
        is_full = n_panels % n_columns == 0  # else there is a place for the other scale
        room = width - _MONTHS_AND_SHARES - _FRAMES * (is_full or n_panels < n_columns)
        if room / n_columns >= widest + _GAP:
            break
    n_rows = -(-n_panels // n_columns)
    titles = [_in_lines(words, room / n_columns - _GAP) for words in titles]
    if ax is None:
        n_lines = max(title.count("\n") for title in titles) + 1
        height = 0.55 + n_rows * (1.2 + 0.14 * n_lines)
        figure = plt.figure(figsize=(PAGE_WIDTH, height), layout="constrained")
        grid = figure.add_gridspec(n_rows, n_columns)
    else:
        axes[0].set_axis_off()
        figure = axes[0].figure
        grid = axes[0].get_subplotspec().subgridspec(n_rows, n_columns)
    places = [divmod(number, n_columns) for number in range(n_panels)]
    return np.array([figure.add_subplot(grid[place]) for place in places]), titles


def _in_lines(words, width):
    """Return words on lines of at most `width` inches, if each of them is shorter.

    Examples
    --------
    >>> _in_lines(["omega", "bands,", "16 %"], 0.9).split(chr(10))
    ['omega bands,', '16 %']
    """
    lines = [words[0]]
    for word in words[1:]:
        longer = f"{lines[-1]} {word}"
        if text_width([longer], LABEL_SIZE) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)


def _n_columns_of(axes):
    """Return how many panels are in the first row."""
    heights = [ax.get_position().y0 for ax in axes]
    return next((k for k, y in enumerate(heights) if y < heights[0] - 1e-3), len(axes))


def _draw(ax, values, title, style):
    """Show values of months and hours, blank where they are NaN."""
    image = ax.imshow(np.ma.masked_invalid(values), **({"aspect": "auto"} | style))
    ax.set_title(title, fontsize=LABEL_SIZE)
    return image


def _add_bars(axes, shares, frames):
    """Add the scales of shares and of numbers of frames, the latter at its panel."""
    figure, form = shares.figure, "{x:,.10g}"
    bar = figure.colorbar(shares, ax=list(axes), aspect=30, pad=0.02, format=form)
    beside = axes[-1].inset_axes((1.05, 0, 0.06, 1))
    # without room of its own if there is an empty place
    beside.set_in_layout(len(axes) % _n_columns_of(axes) == 0)
    return bar, figure.colorbar(frames, cax=beside, format=form)


def _label_bars(bars, height, whole):
    """Label scales: that of shares is `whole` inches high, the other `height`."""
    from matplotlib.ticker import MaxNLocator

    of_shares, of_frames = bars
    long = "percent of labelled frames"
    if text_width([long], LABEL_SIZE) > whole:
        long = "percent of\nlabelled frames"
    most = int(np.clip(height / (2 * _MONTH), 1, 4))
    for bar, label, n_ticks in (of_shares, long, 6), (of_frames, "frames", most):
        bar.set_label(label, fontsize=LABEL_SIZE)
        bar.locator = MaxNLocator(
            n_ticks, steps=[1, 2, 5, 10], integer=bar is of_frames
        )
        bar.ax.tick_params(labelsize=TEXT_SIZE, length=2)
