"""A night of a catalogue: its rows, and the central columns of its frames."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np

from sksimclr._files.file_names import instrument_of

_DAY = np.timedelta64(1, "D")
_FAR = 10_000  # hours from a date, at most


@dataclass(frozen=True, eq=False)
class Night:
    """Frames of one station, in the order of time.

    Attributes
    ----------
    files : ndarray of shape (n_frames,), object
        Path of the file of each frame.
    frames : ndarray of shape (n_frames,), int
        Its number in that file.
    times : ndarray of shape (n_frames,), datetime64[ns]
    labels : ndarray of shape (n_frames,), float, or None
        Index into `classes`, NaN without a label; None if nothing was classified.
    classes : list of str or None
        All those that the pipeline knows.
    day : str
        The date that was asked for, "YYYY-MM-DD".
    instrument : str
        "" if it is not known.
    """

    files: np.ndarray
    frames: np.ndarray
    times: np.ndarray
    labels: np.ndarray
    classes: list
    day: str
    instrument: str


def find_night(catalogue, site, date, hours, n_most, instrument=None):
    """Return the frames of a night, evenly chosen if there are more than `n_most`.

    Parameters
    ----------
    catalogue, site, date, hours, instrument
        As in `KeogramDisplay.from_catalogue`.
    n_most : int

    Returns
    -------
    Night

    Raises
    ------
    ValueError
        There is none, `date` or `hours` is no such thing, or the frames are of several
        instruments.
    """
    from sksimclr.archive._catalogue import damage_named, open_rows, read_header

    day = as_day(date)
    start, end = _period(day, hours)
    rows, classes = open_rows(catalogue), read_header(catalogue)["classes"]
    names = ["file", "frame", "time"] + (["label"] if classes is not None else [])
    names += ["instrument"] if "instrument" in rows.schema.names else []
    with damage_named(rows):
        table = rows.to_table(columns=names, filter=_within(site, start, end))
    if not table.num_rows:
        raise ValueError(
            f"The catalogue {str(catalogue)!r} has no frame of site {site!r} from "
            f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC. "
            f"{_what_there_is(rows, site)}"
        )
    table, instrument = _of_one_instrument(table, instrument)
    table = table.sort_by([(name, "ascending") for name in ("time", "file", "frame")])
    n_rows = table.num_rows
    chosen = np.linspace(0, n_rows - 1, min(n_rows, n_most)).round().astype(int)
    table = table.take(chosen)
    return Night(
        files=np.array(table["file"].to_pylist(), dtype=object),
        frames=table["frame"].to_numpy(),
        times=table["time"].to_numpy().astype("datetime64[ns]"),
        labels=None if classes is None else _numbers(table["label"], classes),
        classes=None if classes is None else [str(name) for name in classes],
        day=str(day),
        instrument=instrument,
    )


def as_day(day):
    """Return a day, however it is written, as datetime64[D].

    Raises
    ------
    ValueError
        It is no day.

    Examples
    --------
    >>> [str(as_day(day)) for day in ("20140310", date(2014, 3, 10))]
    ['2014-03-10', '2014-03-10']
    """
    found = day
    try:
        if isinstance(day, str) and (
            match := re.fullmatch(r"(\d{4})(-?)(\d\d)\2(\d\d)", day.strip())
        ):
            found = np.datetime64("-".join(match.group(1, 3, 4)), "D")
        elif isinstance(day, datetime) and day.tzinfo is not None:
            found = np.datetime64(day.astimezone(UTC).date(), "D")
        elif isinstance(day, date):
            found = np.datetime64(day.strftime("%Y-%m-%d"), "D")
        elif isinstance(day, np.datetime64) and not np.isnat(day):
            found = day.astype("datetime64[D]")
    except ValueError:  # the 30th of February; pandas' NaT
        pass
    is_coarse = isinstance(day, np.datetime64) and np.datetime_data(day)[0] in "YM"
    if isinstance(found, np.datetime64) and not (is_coarse or np.isnat(found)):
        return found
    raise ValueError(
        "date must be a day in UTC, as 'YYYY-MM-DD' or 'YYYYMMDD', or a date of "
        f"Python, NumPy or pandas, got {day!r}."
    )


def _period(day, hours):
    """Return first and last moment, datetimes of UTC."""
    try:
        first, last = (float(hour) for hour in hours)
        is_period = -_FAR < first < last < _FAR
    except (TypeError, ValueError):
        is_period = False
    if not is_period:
        raise ValueError(
            f"hours must be (first, last), the first below the last, got {hours!r}."
        )
    moments = day + (np.array([first, last]) * 3.6e9).astype("timedelta64[us]")
    return moments.tolist()


def _within(site, start, end):
    """Return which rows are of a site and a period, as an expression of pyarrow."""
    import pyarrow as pa
    import pyarrow.compute as pc

    days = np.arange(start.date(), end.date() + _DAY.item()).astype(str)
    utc = pa.timestamp("ns", "UTC")
    low, high = (pa.scalar(t.replace(tzinfo=UTC), utc) for t in (start, end))
    time = pc.field("time")
    is_there = (pc.field("site") == site) & pc.field("date").isin(days.tolist())
    return is_there & (time >= low) & (time < high)


def _of_one_instrument(table, instrument):
    """Return the rows of one instrument, and its name.

    Catalogues with a column "instrument" say which it is; else names of files may.
    """
    import pyarrow as pa

    if "instrument" in table.column_names:
        names = table["instrument"].to_pylist()
    else:
        files = table["file"].to_pylist()
        known = {file: instrument_of(file) for file in set(files)}
        names = [known[file] for file in files]
    found = sorted({name for name in names if name})
    if instrument is None and len(found) <= 1:
        return table, "".join(found)
    if instrument is None or instrument not in found:
        raise ValueError(
            f"The frames of that night are of the instruments {found}: give one of "
            f"them as instrument, got {instrument!r}."
        )
    return table.filter(pa.array([name == instrument for name in names])), instrument


def _what_there_is(rows, site):
    """Return a sentence on the nights of a site, or on the sites, for a message."""
    from sksimclr.archive._catalogue import sites_and_dates
    from sksimclr.archive._schemas import UNKNOWN

    found = sites_and_dates(rows)
    dates = sorted({date for place, date in found if place == site} - {UNKNOWN})
    if dates:
        return f"It has {len(dates)} dates of it, {dates[0]} to {dates[-1]}."
    if (site, UNKNOWN) in found:
        return "It does not know when its frames of it were taken."
    return f"It has sites {sorted({place for place, _ in found})}."


def _numbers(labels, classes):
    """Return labels as indices into the classes, NaN for null."""
    index = {name: float(number) for number, name in enumerate(classes)}
    index[None] = np.nan
    return np.array([index[label] for label in labels.to_pylist()])


def read_columns(night, cut_of):
    """Read the frames of a night again, file by file, and keep their cuts.

    Parameters
    ----------
    night : Night
    cut_of : callable
        Takes a file and the shape (H, W) of its frames, returns their `Cut`.

    Returns
    -------
    columns : ndarray of shape (n_frames, n_rows), float32
    distances : ndarray of shape (n_rows,), float64
        Those of the cut.
    frames : Frames
        Of the last of the files.

    Raises
    ------
    FileNotFoundError
        A file is not there.
    ValueError
        A file cannot be read, has fewer frames than when it was labelled, or frames of
        another size than those before it.
    """
    columns = None
    for file in dict.fromkeys(night.files):
        rows = np.flatnonzero(night.files == file)
        frames = _read_again(file, night.frames[rows].max())
        cut = cut_of(file, frames.images.shape[1:3])
        if columns is None:
            columns = np.empty((len(night.files), len(cut.rows)), np.float32)
        if len(cut.rows) != columns.shape[1]:
            raise ValueError(
                f"Frames of one night must have one size, but those of {file!r} have "
                f"{len(cut.rows)} rows in the field of view, those before it "
                f"{columns.shape[1]}. Choose `hours` with frames of one size."
            )
        columns[rows] = cut.of(frames.images[night.frames[rows]])
    return columns, cut.distances, frames


def _read_again(file, last):
    """Return the frames of a file, which must have one with number `last`."""
    from sksimclr._files.file_names import as_path
    from sksimclr._files.readers import read_frames

    try:
        frames = read_frames(as_path(file))
    except (OSError, ValueError) as error:
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
        raise kind(
            "A keogram reads frames again from the files that the catalogue names, and "
            f"could not read {file!r}: {error}"
        ) from error
    if len(frames) <= last:
        raise ValueError(
            f"{file!r} has changed since it was labelled: the catalogue has its frame "
            f"{last}, and it has {len(frames)} frames. Label it again."
        )
    return frames
