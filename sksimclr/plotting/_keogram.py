"""A night as a keogram, with the labels of its frames under it."""

import numpy as np

from sksimclr._images.images import check_unmasked
from sksimclr.plotting._columns import central_columns, on_axis_of_time
from sksimclr.plotting._night import find_night, north_of, read_columns
from sksimclr.plotting._pictures import find_images
from sksimclr.plotting._shared import (
    LABEL_SIZE,
    PAGE_WIDTH,
    TEXT_SIZE,
    axes_or_new,
    require_matplotlib,
    style_axes,
)
from sksimclr.plotting._strip import (
    GAP_COLOR,
    check_length,
    draw_strip,
    frame_classes,
)

_MAX_COLUMNS = 2000  # of a night: what a page shows in print
_BLOCK = 256  # frames read together


class KeogramDisplay:
    """A keogram of a night, with the class of each frame under it.

    A keogram is the central column of every frame, from north to south in most cameras,
    over time. Contrast is stretched over the whole night at once: 1 % of the pixels are
    black and 1 % white. Where no frame was taken, it is blank.

    Use `from_frames` or `from_catalogue` to make one.

    Parameters
    ----------
    columns : array-like of shape (n_frames, n_rows)
        Central column of each frame, from its top to its bottom.
    times : array-like of shape (n_frames,), datetime64
        UTC, in ascending order.
    labels : array-like of shape (n_frames,), default=None
        Class of each frame; None or NaN where it has none.
    target_names : sequence of str, default=None
        Name of label 0, 1, ...; with them each class has the same colour in every
        night. By default labels are named by their value.
    north : {"top", "bottom"}, default=None
        Where north is in the frames; the keogram is turned to have it at the top. None,
        unknown, shows frames as they are stored.
    title : str, default=""

    Attributes
    ----------
    ax_ : matplotlib Axes
        Of the keogram.
    strip_ax_ : matplotlib Axes or None
        Of the labels, if there are any.
    figure_ : matplotlib Figure

    See Also
    --------
    OccurrenceDisplay : Many nights at once.

    Examples
    --------
    >>> import numpy as np
    >>> from sksimclr.datasets import make_aurora
    >>> from sksimclr.plotting import KeogramDisplay
    >>> data = make_aurora(12, size=32, random_state=0)
    >>> times = np.datetime64("2014-03-10T06:00") + 5 * np.arange(12)
    >>> display = KeogramDisplay.from_frames(
    ...     data.images, times, data.target, target_names=data.target_names)
    >>> display.columns.shape
    (12, 27)
    """

    def __init__(
        self, columns, times, labels=None, *, target_names=None, north=None, title=""
    ):
        self.columns = columns
        self.times = times
        self.labels = labels
        self.target_names = target_names
        self.north = north
        self.title = title

    def plot(self, ax=None, *, image_kw=None):
        """Draw the keogram and the strip.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            To draw on; by default those of a new figure, one page wide.
        image_kw : dict, default=None
            Keyword arguments for ``Axes.imshow`` of the keogram.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            Matplotlib is not installed.
        ValueError
            There is no frame, or one without a time; times are not in order; lengths
            differ, or labels have no names.
        """
        require_matplotlib("KeogramDisplay.plot")
        from matplotlib.dates import date2num

        columns, times = _check(self.columns, self.times, self.north)
        classes = None
        if self.labels is not None:
            classes = frame_classes(self.labels, len(times), self.target_names)
        if self.north == "bottom":
            columns = columns[:, ::-1]
        edges, frames = on_axis_of_time(times)
        limits = date2num(edges)
        self.ax_ = axes_or_new(ax, (PAGE_WIDTH, 2.2))
        self.figure_ = self.ax_.figure
        self._draw_keogram(columns, frames, limits, image_kw)
        self.strip_ax_ = None
        if classes is not None:
            self.strip_ax_ = draw_strip(self.ax_, classes, frames, limits)
        self._label_time(edges, limits)
        self._label_north(columns.shape[1])
        return self

    def _draw_keogram(self, columns, frames, limits, image_kw):
        """Show the columns of `frames`, blank where there is none."""
        shown = np.where(frames[:, None] < 0, np.nan, columns[frames]).T
        finite = shown[np.isfinite(shown)]
        low, high = np.percentile(finite, (1, 99)) if finite.size else (0, 1)
        style = {"cmap": "gray", "aspect": "auto", "interpolation": "nearest"}
        style |= image_kw or {}
        if "norm" not in style:
            style = {"vmin": low, "vmax": high} | style
        self.ax_.set_facecolor(GAP_COLOR)
        self.ax_.imshow(
            np.ma.masked_invalid(shown),
            extent=(*limits, len(shown), 0),
            **style,
        )

    def _label_time(self, edges, limits):
        """Write hours and minutes, UTC, under what is lowest."""
        from matplotlib.dates import AutoDateLocator, DateFormatter

        lowest = self.ax_ if self.strip_ax_ is None else self.strip_ax_
        days = np.datetime_as_string(edges, unit="D")
        is_short = edges[1] - edges[0] < np.timedelta64(5, "m")
        for ax in {self.ax_, lowest}:
            ax.set_xlim(*limits)
            ax.xaxis.set_major_locator(AutoDateLocator(minticks=4, maxticks=9))
            formatter = DateFormatter("%H:%M:%S" if is_short else "%H:%M", tz="UTC")
            ax.xaxis.set_major_formatter(formatter)
        if lowest is not self.ax_:
            self.ax_.tick_params(axis="x", labelbottom=False, length=0)
        style_axes(lowest, f"UTC, {' to '.join(dict.fromkeys(days))}", "")
        lowest.spines[["top", "right"]].set_visible(True)
        self.ax_.set_title(self.title, fontsize=LABEL_SIZE, loc="left")

    def _label_north(self, n_rows):
        """Write which side is up, as far as it is known."""
        ends = ("top", "bottom") if self.north is None else ("north", "south")
        self.ax_.set_yticks([0, n_rows], ends, fontsize=TEXT_SIZE)
        for label, va in zip(
            self.ax_.get_yticklabels(), ("top", "bottom"), strict=True
        ):
            label.set_verticalalignment(va)
        self.ax_.tick_params(axis="y", length=0)
        name = "of the frame" if self.north is None else ""
        self.ax_.set_ylabel(name, fontsize=LABEL_SIZE)

    @classmethod
    def from_frames(
        cls,
        images,
        times,
        labels=None,
        *,
        target_names=None,
        center=None,
        radius=0.85,
        north=None,
        title="",
        ax=None,
        image_kw=None,
    ):
        """Show frames as a keogram.

        Parameters
        ----------
        images : images in any form that estimators of sksimclr take
            Raw frames of one camera: those of an `AuroraPreprocessor` are stretched one
            by one, so that their brightness cannot be compared.
        times : array-like of shape (n_frames,), datetime64
            UTC. Frames are put in their order.
        labels : array-like of shape (n_frames,), default=None
            Class of each frame; None or NaN where it has none.
        target_names
            As in `KeogramDisplay`.
        center : (float, float), default=None
            Row and column of the zenith, pixels; None is the centre of the frames.
        radius : float, default=0.85
            Of the field of view, as a part of half the shorter side of a frame, in
            (0, 2].
        north, title
            As in `KeogramDisplay`.
        ax, image_kw
            As in `plot`.

        Returns
        -------
        KeogramDisplay

        Raises
        ------
        ImportError
            Matplotlib is not installed.
        TypeError, ValueError
            `center` is outside the frames, `radius` no number in its range, or as in
            `plot`.
        FileNotFoundError
            One of the paths in `images` does not exist.
        """
        require_matplotlib("KeogramDisplay.from_frames")
        images = find_images(images)
        times = _as_times(times, len(images))
        numbers = np.arange(len(images))
        blocks = [
            central_columns(images.read(block), center, radius)
            for block in np.split(numbers, numbers[_BLOCK::_BLOCK])
        ]
        order = np.argsort(times, kind="stable")
        display = cls(
            np.concatenate(blocks)[order],
            times[order],
            None if labels is None else _in_order(labels, order),
            target_names=target_names,
            north=north,
            title=title,
        )
        return display.plot(ax, image_kw=image_kw)

    @classmethod
    def from_catalogue(
        cls,
        catalogue,
        site,
        date,
        *,
        hours=(0, 24),
        center=None,
        radius=0.85,
        north=None,
        ax=None,
        image_kw=None,
    ):
        """Show a night of a catalogue; its frames are read again from their files.

        Parameters
        ----------
        catalogue : str or path-like
            Folder that `sksimclr.archive.label_archive` has written.
        site : str
            Code of the station.
        date : str
            "YYYY-MM-DD", UTC.
        hours : (float, float), default=(0, 24)
            First and last hour, counted from 0 UTC of `date`: (-6, 10) is a night from
            18 UTC of the day before to 10 UTC.
        center, radius
            As in `from_frames`.
        north : {"top", "bottom"}, default=None
            As in `KeogramDisplay`. By default known for files of THEMIS and for no
            others, see the notes.
        ax, image_kw
            As in `plot`.

        Returns
        -------
        KeogramDisplay

        Raises
        ------
        ImportError
            Matplotlib or pyarrow is not installed.
        FileNotFoundError
            There is no such catalogue, or a file of the night is gone.
        OSError
            A file of the catalogue is damaged.
        TypeError, ValueError
            The catalogue has no frame of that night, a file cannot be read as when it
            was labelled, or as in `from_frames`.

        Notes
        -----
        Of a night with more than 2,000 frames so many are drawn, evenly chosen. Files
        are read one by one, and only the central columns are kept.

        Raw THEMIS files (``*_full.pgm``) have north at the top and east on the left;
        those in CDF files of level 1, before 2024, are turned by 180 degrees: so say
        the Moon over Gillam and Venus over Gakona. North is that of the magnetic field,
        within some degrees.
        """
        require_matplotlib("KeogramDisplay.from_catalogue")
        _check_north(north)
        night = find_night(catalogue, site, date, hours, _MAX_COLUMNS)
        columns = read_columns(
            night, lambda images: central_columns(images, center, radius)
        )
        known = [north or north_of(file) for file in night.files]
        if None not in known:
            turned = np.array(known) == "bottom"
            columns[turned] = columns[turned, ::-1]
        display = cls(
            columns,
            night.times,
            night.labels,
            target_names=night.classes,
            north=None if None in known else "top",
            title=f"{site}, {date}",
        )
        return display.plot(ax, image_kw=image_kw)


def _as_times(times, n_frames):
    """Return `times` as datetime64[ns], one for each frame."""
    check_unmasked(times, "times")
    times = np.asarray(times)
    if times.shape != (n_frames,) or times.dtype.kind != "M":
        raise ValueError(
            "KeogramDisplay needs one time per frame, as datetime64: expected "
            f"{n_frames}, got {times.dtype} of shape {times.shape}."
        )
    unknown = np.flatnonzero(np.isnat(times))
    if unknown.size:
        raise ValueError(
            "KeogramDisplay needs the time of every frame, got none for "
            f"{unknown.size}, the first of them number {unknown[0]}. Leave them out."
        )
    return times.astype("datetime64[ns]")


def _check(columns, times, north):
    """Return columns as floats and times as datetime64[ns], which fit each other."""
    check_unmasked(columns, "columns")
    columns = np.asarray(columns, dtype=np.float32)
    if columns.ndim != 2 or not columns.size:
        raise ValueError(
            "KeogramDisplay needs columns of shape (n_frames, n_rows), at least one of "
            f"each, got {columns.shape}."
        )
    times = _as_times(times, len(columns))
    back = np.flatnonzero(np.diff(times) < np.timedelta64(0))
    if back.size:
        raise ValueError(
            "times of KeogramDisplay must be in ascending order, got "
            f"{times[back[0] + 1]} after {times[back[0]]}. Sort them, and the frames, "
            "by np.argsort(times)."
        )
    _check_north(north)
    return columns, times


def _check_north(north):
    if north not in (None, "top", "bottom"):
        raise ValueError(f"north must be 'top', 'bottom' or None, got {north!r}.")


def _in_order(labels, order):
    """Return labels in the order of time."""
    check_unmasked(labels, "labels")
    labels = np.asarray(labels)
    check_length(labels, len(order))
    return labels[order]
