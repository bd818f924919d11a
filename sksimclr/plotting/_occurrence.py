"""How often each class occurs, by hour and month."""

from numbers import Integral

import numpy as np
from sklearn.utils import check_scalar

from sksimclr.plotting._shared import (
    LABEL_SIZE,
    PAGE_WIDTH,
    TEXT_SIZE,
    require_matplotlib,
)

_PANELS_IN_A_ROW = 4
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
        self.axes_ = _panel_axes(ax, len(self.classes) + 1)
        self.ax_ = self.axes_[0]
        self.figure_ = self.ax_.figure
        percent, shares = 100 * self.fractions, np.sum(self.counts, axis=(1, 2))
        style = {"cmap": "viridis", "vmin": 0, "vmax": np.nanmax(percent)}
        style |= image_kw or {}
        for panel, name, values, share in zip(
            self.axes_, self.classes, percent, shares / n_frames.sum(), strict=False
        ):
            image = _draw(panel, values[part], f"{name}, {100 * share:.0f} %", style)
        _add_bar(image, self.axes_, "percent of the labelled frames")
        seen = np.where(n_frames > 0, n_frames, np.nan)
        style = {"cmap": "Blues", "vmin": 0}
        image = _draw(self.axes_[-1], seen[part], f"{n_frames.sum():,} frames", style)
        _add_bar(image, self.axes_, "frames")
        self._label(months, hours)
        return self

    def _shown(self, n_frames):
        """Return the months and the hours that are shown, in their order."""
        months = np.roll(np.arange(12), -_FIRST_MONTH)
        hours = np.roll(np.arange(24), -_FIRST_HOUR[self.hour])
        is_full = self._is_full(n_frames)[np.ix_(months, hours)]
        months = months[_from_first_to_last(is_full.any(axis=1))]
        return months, hours[_from_first_to_last(is_full.any(axis=0))]

    def _label(self, months, hours):
        """Write months on the left and hours below."""
        every = 1 if len(months) <= 8 else 2
        at = np.arange(0, len(months), every)
        ticks = np.flatnonzero(hours % (6 if len(hours) > 12 else 3) == 0)
        n_columns = _n_columns(len(self.axes_))
        for number, panel in enumerate(self.axes_):
            panel.set_yticks(at, [_MONTHS[months[k]] for k in at])
            panel.set_xticks(ticks - 0.5, [str(hours[k]) for k in ticks])
            panel.tick_params(labelsize=TEXT_SIZE, length=2)
            panel.tick_params(labelleft=number % n_columns == 0)
            if number + n_columns >= len(self.axes_):
                panel.set_xlabel(_HOURS[self.hour], fontsize=LABEL_SIZE)

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
                f"OccurrenceDisplay shows hours with min_frames={self.min_frames} "
                f"labelled frames, and the fullest has {n_frames.max()}."
            )

    @classmethod
    def from_catalogue(
        cls,
        catalogue,
        *,
        hour="magnetic_hour",
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
            It has no labels, the position of a station is not known, or as in `plot`.
        """
        require_matplotlib("OccurrenceDisplay.from_catalogue")
        from sksimclr.archive._catalogue import read_header
        from sksimclr.archive._occurrence import occurrence

        if hour not in _HOURS:
            raise ValueError(f"hour must be one of {[*_HOURS]}, got {hour!r}.")
        table = occurrence(catalogue, by=["month", hour], sites=sites)
        classes = read_header(catalogue)["classes"]
        number = {name: k for k, name in enumerate(classes)}
        counts = np.zeros((len(classes), 12, 24), np.int64)
        for row in table.drop_null().to_pylist():
            place = number[row["label"]], row["month"] - 1, row[hour]
            counts[place] += row["n_frames"]
        names = [str(name) for name in classes]
        display = cls(counts, names, hour=hour, min_frames=min_frames)
        return display.plot(ax, image_kw=image_kw)


def _from_first_to_last(is_shown):
    """Return a slice around all that is true."""
    shown = np.flatnonzero(is_shown)
    return slice(shown[0], shown[-1] + 1)


def _n_columns(n_panels):
    return min(n_panels, _PANELS_IN_A_ROW)


def _panel_axes(ax, n_panels):
    """Return an array of axes, in rows unless they were given."""
    import matplotlib.pyplot as plt

    n_columns = _n_columns(n_panels)
    n_rows = -(-n_panels // n_columns)
    axes = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
    if ax is None:
        figure = plt.figure(
            figsize=(PAGE_WIDTH, 0.5 + 1.4 * n_rows), layout="constrained"
        )
        grid = figure.add_gridspec(n_rows, n_columns)
    elif len(axes) == n_panels:
        return axes
    elif len(axes) == 1 and axes[0].get_subplotspec() is not None:
        axes[0].set_axis_off()
        grid, figure = (
            axes[0].get_subplotspec().subgridspec(n_rows, n_columns),
            axes[0].figure,
        )
    else:
        raise ValueError(
            f"OccurrenceDisplay has {n_panels} panels to draw, got {len(axes)} axes. "
            "Pass one for each, or a single one made by plt.subplots."
        )
    places = [divmod(number, n_columns) for number in range(n_panels)]
    return np.array([figure.add_subplot(grid[place]) for place in places])


def _draw(ax, values, title, style):
    """Show values of months and hours, blank where they are NaN."""
    image = ax.imshow(np.ma.masked_invalid(values), aspect="auto", **style)
    ax.set_title(title, fontsize=LABEL_SIZE)
    return image


def _add_bar(image, axes, label):
    """Add a scale of colours on the right of all panels."""
    bar = image.figure.colorbar(
        image, ax=list(axes), aspect=30, pad=0.02, format="{x:,.0f}"
    )
    bar.set_label(label, fontsize=LABEL_SIZE)
    bar.ax.tick_params(labelsize=TEXT_SIZE)
