"""What a camera has taken of its nights, and what it has not, by its own cadence."""

from itertools import groupby

import numpy as np

from sksimclr._files.finding import plain_name
from sksimclr.archive._cadence import frames_lost, hour_missing, hour_twice
from sksimclr.archive._catalogue import (
    damage_named,
    open_rows,
    parts_of_dates,
    read_header,
)

_SECOND = 10**9  # nanoseconds
_HOUR = 3600 * _SECOND
_PAUSE = 6 * _HOUR  # after which another night begins
_DAY = 24 * _HOUR  # after which it begins too, in the polar night
_SEASON = 180 * _DAY  # in which clocks are changed once,
_MOST_CHANGES = 2  # so that more hours of a kind are no doing of a clock
_COPIES = 0.25  # of the frames in an hour that is there twice, at most
_CLOCK = ("hour_twice", "hour_missing")


def coverage(catalogue):
    """Count the frames of each night, and those that are missing by its cadence.

    Streams over the rows, a day at a time: an archive need not fit in memory.

    Parameters
    ----------
    catalogue : str or path-like
        Folder that `label_archive` has written.

    Returns
    -------
    pyarrow.Table
        A row for each night of an instrument of a site, ordered by them and by time:

        ================  ==============================================================
        ``site``          as in the catalogue
        ``instrument``    likewise, null where unknown
        ``start``         time of the first frame, UTC
        ``end``           time of the last one
        ``cadence``       median step between frames, seconds; null for a single frame
        ``n_frames``      frames at different times
        ``n_repeated``    further ones, at a time that another frame has: copies
        ``n_expected``    frames and those that are missing between the first and the
                          last
        ``n_gaps``        steps in which frames are missing
        ``missing``       length of all gaps, seconds
        ``longest_gap``   of one of them, seconds; 0 without a gap
        ``hour_twice``    when an hour begins that is there twice, null for none
        ``hour_missing``  when an hour begins that is not there, null for none
        ================  ==============================================================

    Raises
    ------
    FileNotFoundError
        There is no such catalogue.
    OSError
        A file of the catalogue is damaged.
    ValueError
        The catalogue is of a later version.
    ImportError
        pyarrow is not installed: ``pip install "sksimclr[archive]"``.

    See Also
    --------
    occurrence : How often each class occurs.

    Notes
    -----
    A night ends where the instrument pauses for six hours, and after a day at the
    latest. A night without any frame has no row. Frames without a time do not count;
    those of files that could not be read are missing.

    How many frames a step between two of them lacks follows from the median of the 21
    steps around it, on the side where it is longer. Of frames that are missing at
    random, all are counted where they are a tenth, 99 % where they are a fifth, and
    83 % where they are three tenths.

    An hour is there twice when a clock goes back from summer time: for an hour there
    are two series of frames, each with the cadence of the night. Copies of files are no
    such hour, nor is a camera that takes more frames for an hour. An hour is missing
    when a clock goes forward, or when a file of an hour is lost, which looks the same:
    the only gap of its kind in a night that is regular otherwise, from a full hour of
    the clock. Clocks are changed once in half a year: where there are more than two
    hours of a kind, they are the schedule of the camera, and null here.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from sklearn.dummy import DummyClassifier
    >>> from sksimclr.archive import coverage, label_archive
    >>> from sksimclr.datasets import make_aurora
    >>> frames = make_aurora(6, size=32, random_state=0).images
    >>> folder = tempfile.mkdtemp()
    >>> for minute, frame in zip([0, 1, 2, 5, 6, 7], frames):
    ...     np.save(f"{folder}/20140310_060{minute}_gill.npy", frame[None])
    >>> model = DummyClassifier().fit(frames, ["arc", "moon"] * 3)
    >>> run = label_archive(model, folder, f"{folder}/catalogue")
    >>> night = coverage(f"{folder}/catalogue").to_pylist()[0]
    >>> night["cadence"], night["n_frames"], night["n_expected"], night["missing"]
    (60.0, 6, 8, 120.0)
    """
    rows = open_rows(catalogue)
    ahead = round(_HOUR * read_header(catalogue)["utc_offset"])
    parts, found = parts_of_dates(rows), []
    known = sorted(key for key in parts if key[1][:1].isdigit())
    with damage_named(rows):
        for site, keys in groupby(known, lambda key: key[0]):
            nights = _nights_of_site(rows, [parts[key] for key in keys])
            found += [_describe(site, *night, ahead) for night in nights]
        found.sort(key=lambda n: (n["site"], n["instrument"] or "", n["start"]))
        _forget_copies(found, rows, parts)
    _forget_schedules(found)
    return _table(found)


def _nights_of_site(rows, days):
    """Yield instrument, times and the next time or None, as nights end.

    Parameters
    ----------
    rows : pyarrow.dataset.Dataset
    days : list of list of pyarrow.dataset.Fragment
        In the order of days.
    """
    waiting = {}
    for parts in days:
        for part in parts:
            for instrument, times in _times(rows, part):
                waiting.setdefault(instrument, []).append(times)
        for instrument, times in waiting.items():
            in_order = np.sort(np.concatenate(times), kind="stable")
            *ended, last = _split(in_order)
            yield from ((instrument, *night) for night in ended)
            waiting[instrument] = [last[0]]
    yield from ((instrument, times, None) for instrument, [times] in waiting.items())


def _times(rows, part):
    """Yield each instrument of a file of rows, and its times, int64."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = [name for name in ("time", "instrument") if name in rows.schema.names]
    known = pc.field("time").is_valid()
    table = part.to_table(schema=rows.schema, columns=names, filter=known)
    times = table["time"].cast(pa.int64()).to_numpy()
    if "instrument" not in names:
        yield from [(None, times)] if len(times) else []
        return
    column = table["instrument"].combine_chunks().dictionary_encode("encode")
    numbers = column.indices.to_numpy()
    for number, instrument in enumerate(column.dictionary.to_pylist()):
        yield instrument, times[numbers == number]


def _split(times):
    """Return (times of a night, the next time if a day was full) for each night."""
    nights = []
    for night in np.split(times, np.flatnonzero(np.diff(times) > _PAUSE) + 1):
        while night[-1] - night[0] >= _DAY:
            stop = int(np.searchsorted(night, night[0] + _DAY))
            nights.append((night[:stop], night[stop]))
            night = night[stop:]
        nights.append((night, None))
    return nights


def _describe(site, instrument, times, until, ahead):
    """Return the row of a night."""
    starts = times[np.append(True, times[1:] > times[:-1])]
    steps = np.diff(starts if until is None else np.append(starts, until))
    night = {
        "site": site,
        "instrument": instrument,
        "start": int(starts[0]),
        "end": int(starts[-1]),
        "cadence": None,
        "n_frames": len(starts),
        "n_repeated": len(times) - len(starts),
        "n_expected": len(starts),
        "n_gaps": 0,
        "missing": 0.0,
        "longest_gap": 0.0,
        "hour_twice": None,
        "hour_missing": None,
    }
    if not len(steps):
        return night
    lost, usual = frames_lost(steps)
    gaps = (steps - usual)[lost > 0] / _SECOND
    night |= {
        "cadence": float(np.median(steps)) / _SECOND,
        "n_expected": len(starts) + int(lost.sum()),
        "n_gaps": len(gaps),
        "missing": float(gaps.sum()),
        "longest_gap": float(gaps.max(initial=0)),
    }
    twice = hour_twice(times)
    if twice is not None:
        night["hour_twice"] = int(times[twice[0]])
    if until is None:
        place = hour_missing(starts, steps, lost, usual, ahead)
        if place is not None:
            night["hour_missing"] = int(starts[place] + usual[place])
    return night


def _forget_copies(nights, rows, parts):
    """Take no copies of files, in other folders or versions, for an hour twice."""
    for night in nights:
        if night["hour_twice"] is not None:
            frames = list(_frames_of_hour(night, rows, parts))
            if len(set(frames)) < (1 - _COPIES) * len(frames):
                night["hour_twice"] = None


def _frames_of_hour(night, rows, parts):
    """Yield time and name of file, as copies have it too, of the hour that is twice."""
    import pyarrow as pa
    import pyarrow.compute as pc

    hour = night["hour_twice"], night["hour_twice"] + _HOUR
    low, high = (pa.scalar(time, pa.timestamp("ns", "UTC")) for time in hour)
    wanted = (pc.field("time") >= low) & (pc.field("time") < high)
    if "instrument" in rows.schema.names:
        name, known = pc.field("instrument"), night["instrument"]
        wanted &= name.is_null() if known is None else name == known
    for day in np.unique(np.array(hour, "M8[ns]").astype("M8[D]")):
        for part in parts.get((night["site"], str(day)), []):
            table = part.to_table(rows.schema, ["time", "file"], filter=wanted)
            files = table["file"].combine_chunks().dictionary_encode()
            names = [plain_name(file) for file in files.dictionary.to_pylist()]
            times = table["time"].cast(pa.int64()).to_pylist()
            for time, number in zip(times, files.indices.to_pylist(), strict=True):
                yield time, names[number]


def _forget_schedules(nights):
    """Take no hours for a clock's that are more than clocks are changed."""
    for name in _CLOCK:
        for _, group in groupby(nights, lambda n: (n["site"], n["instrument"])):
            found = [night for night in group if night[name] is not None]
            times = np.array([night[name] for night in found])
            for night in found:
                if (abs(times - night["start"]) < _SEASON).sum() > _MOST_CHANGES:
                    night[name] = None


def _table(nights):
    """Return rows of nights as a table."""
    import pyarrow as pa

    time = pa.timestamp("ns", "UTC")
    kinds = {
        "site": pa.string(),
        "instrument": pa.string(),
        "start": time,
        "end": time,
        "cadence": pa.float64(),
        "n_frames": pa.int64(),
        "n_repeated": pa.int64(),
        "n_expected": pa.int64(),
        "n_gaps": pa.int64(),
        "missing": pa.float64(),
        "longest_gap": pa.float64(),
        "hour_twice": time,
        "hour_missing": time,
    }
    columns = [
        pa.array([night[name] for night in nights], kind)
        for name, kind in kinds.items()
    ]
    return pa.Table.from_arrays(columns, schema=pa.schema(kinds))
