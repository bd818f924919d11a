"""A night of a catalogue: its rows, and the central columns of its frames."""

import re
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

import numpy as np

_DAY = np.timedelta64(1, "D")
_THEMIS_PGM = re.compile(r"\d{8}_\d{4}_\w+_themis\d+_full\.pgm(\.gz)?")
_THEMIS_CDF = re.compile(r"thg_l1_asf_\w+_(\d{4})\d{6}_v\d+\.cdf")


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
    """

    files: np.ndarray
    frames: np.ndarray
    times: np.ndarray
    labels: np.ndarray
    classes: list


def find_night(catalogue, site, date, hours, n_most):
    """Return the frames of a night, evenly chosen if there are more than `n_most`.

    Parameters
    ----------
    catalogue, site, date, hours
        As in `KeogramDisplay.from_catalogue`.
    n_most : int

    Returns
    -------
    Night

    Raises
    ------
    ValueError
        There is none, or `date` or `hours` is no such thing.
    """
    from sksimclr.archive._catalogue import damage_named, open_rows, read_header

    start, end = _period(date, hours)
    rows, classes = open_rows(catalogue), read_header(catalogue)["classes"]
    names = ["file", "frame", "time"] + (["label"] if classes is not None else [])
    with damage_named(rows):
        table = rows.to_table(columns=names, filter=_within(site, start, end))
    if not table.num_rows:
        raise ValueError(
            f"The catalogue {str(catalogue)!r} has no frame of site {site!r} from "
            f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC. "
            f"{_what_there_is(rows, site)}"
        )
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
    )


def _period(date, hours):
    """Return first and last moment, datetimes of UTC."""
    try:
        day = np.datetime64(date, "D")
        first, last = (float(hour) for hour in hours)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "date must be 'YYYY-MM-DD' and hours (first, last), got "
            f"{date!r} and {hours!r}."
        ) from error
    if np.isnat(day) or not first < last:
        raise ValueError(
            f"date must be a day and the first of hours below the last, got {date!r} "
            f"and {hours!r}."
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


def _what_there_is(rows, site):
    """Return a sentence on the nights of a site, or on the sites, for a message."""
    from sksimclr.archive._catalogue import sites_and_dates

    found = sites_and_dates(rows)
    dates = sorted(date for place, date in found if place == site)
    if dates:
        return f"It has {len(dates)} dates of it, {dates[0]} to {dates[-1]}."
    return f"It has sites {sorted({place for place, _ in found})}."


def _numbers(labels, classes):
    """Return labels as indices into the classes, NaN for null."""
    index = {name: float(number) for number, name in enumerate(classes)}
    index[None] = np.nan
    return np.array([index[label] for label in labels.to_pylist()])


def read_columns(night, central):
    """Read the frames of a night again, file by file, and keep their columns.

    Parameters
    ----------
    night : Night
    central : callable
        Takes images (n, H, W) or (n, H, W, C), returns their columns (n, n_rows).

    Returns
    -------
    ndarray of shape (n_frames, n_rows), float32

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
        found = central(_read_again(file, night.frames[rows].max()))
        if columns is None:
            columns = np.empty((len(night.files), found.shape[1]), np.float32)
        if found.shape[1] != columns.shape[1]:
            raise ValueError(
                f"Frames of one night must have one size, but those of {file!r} have "
                f"{found.shape[1]} rows in the field of view, those before it "
                f"{columns.shape[1]}. Choose `hours` with frames of one size."
            )
        columns[rows] = found[night.frames[rows]]
    return columns


def _read_again(file, last):
    """Return the images of a file, which must have one with number `last`."""
    from sksimclr._files.file_names import as_path
    from sksimclr._files.readers import read_frames

    try:
        images = read_frames(as_path(file)).images
    except (OSError, ValueError) as error:
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
        raise kind(
            "A keogram reads frames again from the files that the catalogue names, and "
            f"could not read {file!r}: {error}"
        ) from error
    if len(images) <= last:
        raise ValueError(
            f"{file!r} has changed since it was labelled: the catalogue has its frame "
            f"{last}, and it has {len(images)} frames. Label it again."
        )
    return images


def north_of(file):
    """Return where north is in the frames of a file, None if that is not known."""
    name = Path(file).name
    if _THEMIS_PGM.fullmatch(name):
        return "top"
    match = _THEMIS_CDF.fullmatch(name)
    return "bottom" if match and int(match[1]) < 2024 else None
