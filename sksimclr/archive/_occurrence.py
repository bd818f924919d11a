"""How often each class occurs, counted over a catalogue of any size."""

from sksimclr.archive._catalogue import damage_named, open_rows, sites_and_dates
from sksimclr.archive._schemas import UNKNOWN
from sksimclr.archive._sites import magnetic_midnight, site_position

KEYS = ("site", "instrument", "date", "month", "hour", "magnetic_hour")


def occurrence(catalogue, *, by=("site", "hour"), sites=None):
    """Count the frames of each class in a catalogue.

    Streams over the rows: an archive need not fit in memory.

    Parameters
    ----------
    catalogue : str or path-like
        Folder that `label_archive` has written.
    by : sequence of str, default=("site", "hour")
        What is counted apart besides the class: any of "site"; "instrument"; "date",
        UTC; "month", 1 to 12; "hour", 0 to 23, UTC; "magnetic_hour", 0 to 23, 0 being
        the hour after magnetic midnight at the station.
    sites : dict of str to (float, float), default=None
        For "magnetic_hour": latitude and longitude of stations that are not THEMIS's,
        degrees north and east.

    Returns
    -------
    pyarrow.Table
        The columns of `by`, "label" and "n_frames", int64; only combinations that
        occur, in ascending order. Month and hours are null for frames without a time,
        magnetic hours also for those without a site, the label for those without one. A
        catalogue of embeddings alone has no column "label"; all its frames are counted.

    Raises
    ------
    FileNotFoundError
        There is no such catalogue.
    OSError
        A file of the catalogue is damaged.
    ValueError
        `by` names something else, or instruments and the catalogue has none; or the
        position of a station is not known.
    ImportError
        pyarrow is not installed: ``pip install "sksimclr[archive]"``.

    See Also
    --------
    sksimclr.plotting.OccurrenceDisplay : Shows them.

    Notes
    -----
    Magnetic local time is that of the centred dipole with the Sun at its mean place. It
    differs from AACGM's by 0.4 hours (root mean square), at most 1.2, in winter nights
    at the stations of THEMIS, and more elsewhere near the poles.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from sklearn.dummy import DummyClassifier
    >>> from sksimclr.archive import label_archive, occurrence
    >>> from sksimclr.datasets import make_aurora
    >>> frames = make_aurora(12, size=32, random_state=0).images
    >>> folder = tempfile.mkdtemp()
    >>> np.save(f"{folder}/20140310_0600_gill.npy", frames)
    >>> model = DummyClassifier().fit(frames, ["arc", "moon"] * 6)
    >>> run = label_archive(model, folder, f"{folder}/catalogue")
    >>> table = occurrence(f"{folder}/catalogue", by=["site", "month"])
    >>> table.column_names, sum(table["n_frames"].to_pylist())
    (['site', 'month', 'label', 'n_frames'], 12)
    """
    unknown = [key for key in by if key not in KEYS]
    if unknown or isinstance(by, str):
        raise ValueError(f"by must be a sequence of some of {KEYS}, got {by!r}.")
    rows = open_rows(catalogue)
    if "instrument" in by and not has_instruments(rows):
        raise ValueError(
            f"The catalogue {str(catalogue)!r} has no column of instruments: it was "
            "written before there was one. Label its files again, in another folder."
        )
    keys = [*by, *(["label"] if "label" in rows.schema.names else [])]
    if not keys:
        import pyarrow as pa

        return pa.table({"n_frames": [rows.count_rows()]})
    return _count(rows, {key: _expression(key, rows, sites) for key in keys})


def has_instruments(rows):
    """Tell whether a catalogue says of what instrument a frame is."""
    return "instrument" in rows.schema.names


def occurrence_of(instruments, catalogue, *, by, sites=None):
    """Count the frames of some instruments, those of one station not mixed unasked.

    Parameters
    ----------
    instruments : str, sequence of str or None
        None is all, if no station has two.
    catalogue, by, sites
        As in `occurrence`.

    Returns
    -------
    pyarrow.Table
        As that of `occurrence`, but there may be several rows of one combination.

    Raises
    ------
    ValueError
        A station has several instruments, or none is called so; or as in `occurrence`.
    """
    import pyarrow.compute as pc

    if instruments is None and not has_instruments(open_rows(catalogue)):
        return occurrence(catalogue, by=by, sites=sites)
    keys = ["site", "instrument", *by]
    table = occurrence(catalogue, by=keys, sites=sites)
    found = {}
    for row in table.group_by(["site", "instrument"]).aggregate([]).to_pylist():
        if row["instrument"]:
            found.setdefault(row["site"], set()).add(row["instrument"])
    names = sorted(set().union(*found.values()))
    if instruments is None:
        several = {site: sorted(has) for site, has in found.items() if len(has) > 1}
        if several:
            raise ValueError(
                f"Stations have several instruments, {several}: give those that are to "
                "be counted as instrument."
            )
        return table
    wanted = [instruments] if isinstance(instruments, str) else [*instruments]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise ValueError(f"The catalogue has instruments {names}, got {unknown}.")
    return table.filter(pc.field("instrument").isin(wanted))


def _count(rows, keys):
    """Return how many rows there are for each combination of the keys' values."""
    from pyarrow import acero

    steps = [
        acero.Declaration("scan", acero.ScanNodeOptions(rows, columns=keys)),
        acero.Declaration(
            "project", acero.ProjectNodeOptions([*keys.values()], [*keys])
        ),
        acero.Declaration(
            "aggregate",
            acero.AggregateNodeOptions(
                [([], "hash_count_all", None, "n_frames")], keys=[*keys]
            ),
        ),
    ]
    with damage_named(rows):
        table = acero.Declaration.from_sequence(steps).to_table()
    table = table.select([*keys, "n_frames"])
    return table.sort_by([(key, "ascending") for key in keys])


def _expression(key, rows, sites):
    """Return a key as an expression of the columns of a catalogue."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if key in ("site", "instrument", "date", "label"):
        return pc.field(key)
    time = pc.field("time").cast(pa.timestamp("ns"))
    if key == "month":
        return pc.month(time)
    if key == "hour":
        return pc.hour(time)
    minutes = pc.hour(time) * 60 + pc.minute(time) - _midnight_minutes(rows, sites)
    hours = pc.divide(minutes + 1440, 60)  # at least 0
    return pc.if_else(hours >= 24, hours - 24, hours)


def _midnight_minutes(rows, sites):
    """Return the minute of the day of magnetic midnight, an expression of the site."""
    import pyarrow as pa
    import pyarrow.compute as pc

    minutes = pc.scalar(0)
    for site in sorted({site for site, _ in sites_and_dates(rows)} - {UNKNOWN}):
        midnight = round(60 * magnetic_midnight(*site_position(site, sites)))
        minutes = pc.if_else(pc.field("site") == site, pc.scalar(midnight), minutes)
    nowhere = pa.scalar(None, pa.int64())
    return pc.if_else(pc.field("site") == UNKNOWN, nowhere, minutes)
