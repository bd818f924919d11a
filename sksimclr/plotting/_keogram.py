"""A night as a keogram, with the labels of its frames under it."""

from numbers import Real

import numpy as np
from sklearn.utils import check_scalar

from sksimclr._images.images import check_unmasked
from sksimclr.plotting._cameras import edge_elevation_of, north_of
from sksimclr.plotting._columns import angle_of, make_cut, on_axis_of_time
from sksimclr.plotting._night import find_night, read_columns
from sksimclr.plotting._night_axes import (
    add_magnetic_time,
    add_scale,
    label_time,
    set_elevations,
    set_times,
)
from sksimclr.plotting._pictures import find_images
from sksimclr.plotting._shared import (
    LABEL_SIZE,
    PAGE_WIDTH,
    axes_or_new,
    require_matplotlib,
    size_of,
)
from sksimclr.plotting._strip import (
    GAP_COLOR,
    as_labels,
    draw_strip,
    frame_classes,
    legend_rows,
)

_MAX_COLUMNS = 2000  # of a night: what a page shows in print
_BLOCK = 256  # frames read together


class KeogramDisplay:
    """A keogram of a night, with the class of each frame under it.

    A keogram is a cut through every frame, from magnetic north to south where that is
    known, over time. A frame lasts until the next one begins, but at most twice as long
    as those around it usually do; where no frame was taken, the keogram is blank.
    Contrast is stretched over the whole night at once: 1 % of the pixels are black and
    1 % white.

    Use `from_frames` or `from_catalogue` to make one.

    Parameters
    ----------
    columns : array-like of shape (n_frames, n_rows)
        Cut through each frame, from its top to its bottom.
    times : array-like of shape (n_frames,), datetime64
        Start of each frame, UTC, in ascending order.
    labels : array-like of shape (n_frames,), default=None
        Class of each frame; None or NaN where it has none.
    target_names : sequence of str, default=None
        Name of label 0, 1, ...; with them each class has the same colour in every
        night. By default labels are named by their value.
    north : {"top", "bottom"}, default=None
        Where north is in the columns; the keogram is turned to have it at the top.
        None, unknown, shows them as they are.
    elevations : array-like of shape (n_rows,), default=None
        Elevation of each row, degrees above the horizon at the top of the columns: 90
        in the zenith, more below it, 180 at the horizon at the bottom.
    elevation_label : str, default="elevation, degrees"
    units : str, default="counts"
        What the values of `columns` are, for the colour bar.
    position : (float, float), default=None
        Latitude and longitude of the station, degrees north and east: adds an axis of
        magnetic local time above.
    title : str, default=""

    Attributes
    ----------
    ax_ : matplotlib Axes
        Of the keogram.
    strip_ax_ : matplotlib Axes or None
        Of the labels, if there are any.
    bar_ax_ : matplotlib Axes
        Of the colour bar.
    magnetic_ax_ : matplotlib SecondaryAxis or None
        Of magnetic local time, if there is a position.
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
        self,
        columns,
        times,
        labels=None,
        *,
        target_names=None,
        north=None,
        elevations=None,
        elevation_label="elevation, degrees",
        units="counts",
        position=None,
        title="",
    ):
        self.columns = columns
        self.times = times
        self.labels = labels
        self.target_names = target_names
        self.north = north
        self.elevations = elevations
        self.elevation_label = elevation_label
        self.units = units
        self.position = position
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
            differ, labels have no names, or the position is none on Earth.
        """
        require_matplotlib("KeogramDisplay.plot")
        from matplotlib.dates import date2num

        columns, times, elevations = self._check()
        classes, names = None, ()
        if self.labels is not None:
            classes = frame_classes(self.labels, len(times), self.target_names)
            names = classes[2]
        midnight = self._midnight()
        edges, frames = on_axis_of_time(times)
        limits = date2num(edges)
        height = 2.5 + 0.3 * (midnight is not None)
        if ax is None:
            height += 0.14 * legend_rows(names, 0.8 * PAGE_WIDTH)[0]
        self.ax_ = axes_or_new(ax, (PAGE_WIDTH, height))
        self.figure_ = self.ax_.figure
        image = self._draw_keogram(columns, frames, limits, image_kw)
        self.strip_ax_ = None
        if classes is not None:
            self.strip_ax_ = draw_strip(self.ax_, classes, frames, limits)
        self.bar_ax_ = add_scale(image, self.units)
        label_time(self.ax_, self.strip_ax_, edges)
        self.magnetic_ax_ = None
        if midnight is not None:
            self.magnetic_ax_ = add_magnetic_time(self.ax_, midnight)
        self._label(edges, columns.shape[1], elevations)
        return self

    def _label(self, edges, n_rows, elevations):
        """Write what there is room for."""
        self.ax_.set_title(self.title, fontsize=LABEL_SIZE, loc="left")
        name = self.elevation_label if elevations is not None else ""
        self.ax_.set_ylabel(name, fontsize=LABEL_SIZE)
        size = size_of(self.ax_)
        axes = [self.ax_, self.strip_ax_, self.magnetic_ax_]
        set_times([ax for ax in axes if ax is not None], size, edges)
        ends = ("top", "bottom") if self.north is None else ("north", "south")
        set_elevations(self.ax_, size[1], n_rows, elevations, ends)

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
        return self.ax_.imshow(
            np.ma.masked_invalid(shown),
            extent=(*limits, len(shown), 0),
            **style,
        )

    def _check(self):
        """Return columns, times and elevations that fit each other, north first."""
        columns, times = _check(self.columns, self.times, self.north)
        elevations = self.elevations
        if elevations is not None:
            elevations = np.asarray(elevations, dtype=float)
            ascend = (np.diff(elevations) > 0).all()
            if elevations.shape != columns.shape[1:] or not ascend:
                raise ValueError(
                    "elevations of KeogramDisplay must ascend, one for each of "
                    f"{columns.shape[1]} rows, got {self.elevations!r}."
                )
        if self.north == "bottom":
            columns = columns[:, ::-1]
            elevations = None if elevations is None else 180 - elevations[::-1]
        return columns, times, elevations

    def _midnight(self):
        """Return when magnetic midnight is, UTC hours; None if nobody wants to know."""
        if self.position is None:
            return None
        from sksimclr.archive._sites import check_position, magnetic_midnight

        return magnetic_midnight(*check_position(self.position))

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
        edge_elevation=None,
        position=None,
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
            Start of each frame, UTC. Frames are put in their order.
        labels : array-like of shape (n_frames,), default=None
            Class of each frame; None or NaN where it has none.
        target_names
            As in `KeogramDisplay`.
        center : (float, float), default=None
            Row and column of the zenith, pixels; None is the centre of the frames.
        radius : float, default=0.85
            Of the field of view, as a part of half the shorter side of a frame, in
            (0, 2].
        north : {"top", "bottom"} or float, default=None
            Where magnetic north is in the frames: an angle, degrees anticlockwise from
            the top; "bottom" is 180. The cut begins there. None, unknown, cuts from top
            to bottom.
        edge_elevation : float, default=None
            Elevation at `radius`, degrees in [-90, 89], for the axis. Lenses are taken
            for equidistant: the angle from the zenith grows evenly. None takes the edge
            for the horizon, and says so.
        position, title
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
            `center` is outside the frames, `radius`, `north` or `edge_elevation` no
            number in its range, or as in `plot`.
        FileNotFoundError
            One of the paths in `images` does not exist.
        """
        require_matplotlib("KeogramDisplay.from_frames")
        axis = _axis_of_elevation(edge_elevation)
        images = find_images(images)
        times = _as_times(times, len(images))
        numbers, columns = np.arange(len(images)), []
        for block in np.split(numbers, numbers[_BLOCK::_BLOCK]):
            frames = images.read(block)
            cut = make_cut(frames.shape[1:3], center, radius, north)
            columns.append(cut.of(frames))
        order = np.argsort(times, kind="stable")
        display = cls(
            np.concatenate(columns)[order],
            times[order],
            None if labels is None else as_labels(labels, len(order))[order],
            target_names=target_names,
            north=None if north is None else "top",
            units=_units(frames),
            position=position,
            title=title,
            **axis(cut.distances),
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
        instrument=None,
        center=None,
        radius=0.85,
        north=None,
        edge_elevation=None,
        mlt=False,
        sites=None,
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
        date : str, datetime.date, numpy.datetime64 or pandas.Timestamp
            Day in UTC; a text is "YYYY-MM-DD" or "YYYYMMDD".
        hours : (float, float), default=(0, 24)
            First and last hour, counted from 0 UTC of `date`: (-6, 10) is a night from
            18 UTC of the day before to 10 UTC.
        instrument : str, default=None
            Which one, if the station had several that night; the error that you get
            without it names them.
        center, radius
            As in `from_frames`, for frames as they are stored.
        north : {"top", "bottom"} or float, default=None
            As in `from_frames`. By default known for files of THEMIS and for no others,
            see the notes.
        edge_elevation : float, default=None
            Elevation at `radius`, degrees in [-90, 89], as in `from_frames`. By default
            known for files of THEMIS: 15.2 at a `radius` of 0.85.
        mlt : bool, default=False
            Add an axis of magnetic local time, which is right to within about an hour.
        sites : dict of str to (float, float), default=None
            For `mlt`: latitude and longitude of stations that are not THEMIS's, degrees
            north and east.
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
            The catalogue has no frame of that night, or those of several instruments; a
            file cannot be read as when it was labelled; the position of the station is
            not known; or as in `from_frames`.

        Notes
        -----
        Of a night with more than 2,000 frames so many are drawn, evenly chosen. Files
        are read one by one, and only the cuts are kept.

        Raw THEMIS files (``*_full.pgm``) have north at the top and east on the left;
        those in CDF files of level 1, before 2024, are turned by 180 degrees: so say
        the Moon over Gillam and Venus over Gakona. North is that of the magnetic field,
        within some degrees.
        """
        require_matplotlib("KeogramDisplay.from_catalogue")
        angle_of(north)
        _axis_of_elevation(edge_elevation)
        position = _position(site, sites) if mlt else None
        night = find_night(catalogue, site, date, hours, _MAX_COLUMNS, instrument)
        known = {file: north_of(file) for file in night.files}
        is_known = north is not None or None not in known.values()

        def cut_of(file, shape):
            side = north if north is not None else known[file] if is_known else None
            return make_cut(shape, center, radius, side)

        columns, distances, frames = read_columns(night, cut_of)
        if edge_elevation is None:
            edge_elevation = edge_elevation_of(night.files[0], radius)
        name = night.instrument or frames.instrument
        display = cls(
            columns,
            night.times,
            night.labels,
            target_names=night.classes,
            north="top" if is_known else None,
            units=_units(frames.images),
            position=position,
            title=", ".join(filter(None, (site, name, night.day))).replace("$", r"\$"),
            **_axis_of_elevation(edge_elevation)(distances),
        )
        return display.plot(ax, image_kw=image_kw)


def _axis_of_elevation(edge_elevation):
    """Return a function of distances from the zenith, which makes an axis of them.

    Raises
    ------
    ValueError
        `edge_elevation` is no elevation.
    """
    edge, label = edge_elevation, "elevation, degrees"
    if edge is None:
        edge, label = 0, f"{label}\n(if the edge is the horizon)"
    check_scalar(edge, "edge_elevation", Real, min_val=-90, max_val=89)
    return lambda distances: {
        "elevations": 90 + (90 - edge) * distances,
        "elevation_label": label,
    }


def _position(site, sites):
    """Return where a station is."""
    from sksimclr.archive._sites import site_position

    return site_position(site, sites)


def _units(images):
    """Return what the values of frames are called."""
    return "brightness" if images.dtype.kind == "f" else "counts"


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
    if north not in (None, "top", "bottom"):
        raise ValueError(f"north must be 'top', 'bottom' or None, got {north!r}.")
    return columns, times
