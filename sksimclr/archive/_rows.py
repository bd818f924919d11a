"""Arrays of labels and embeddings as Arrow tables, one for each site and date."""

import numpy as np

from sksimclr.archive._schemas import UNKNOWN, frame_schema


def rows_table(chunks, header):
    """Return the rows of frames for each site and date.

    Parameters
    ----------
    chunks : list of dict
        Columns of some frames of a file: "file" and "site" as texts, "instrument" as
        one or None, "frame", "time",
        "quality", "labelled" as arrays (n,), and what the model says of the labelled
        ones, in their order.
    header : dict
        Of the catalogue.

    Returns
    -------
    list of (str, str, pyarrow.Table)
    """
    import pyarrow as pa

    lengths = [len(chunk["frame"]) for chunk in chunks]
    schema = frame_schema(header)
    labelled = _join(chunks, "labelled")
    known = {
        "file": np.repeat([chunk["file"] for chunk in chunks], lengths),
        "frame": _join(chunks, "frame"),
        "time": _join(chunks, "time"),
        "quality": _join(chunks, "quality"),
        "model": np.repeat(header["model"], sum(lengths)),
        "instrument": np.repeat([chunk["instrument"] for chunk in chunks], lengths),
    }
    columns = [
        pa.array(known[field.name], field.type)
        if field.name in known
        else _of_labelled(field, chunks, labelled)
        for field in schema
    ]
    table = pa.Table.from_arrays(columns, schema=schema)
    sites = np.repeat([chunk["site"] for chunk in chunks], lengths)
    return list(_by_site_and_date(table, sites, known["time"]))


def _by_site_and_date(table, sites, times):
    """Yield site, date and their rows, which keep their order."""
    days = times.astype("datetime64[D]")
    dates = np.where(np.isnat(days), UNKNOWN, days.astype(str))
    keys, numbers = np.unique(
        np.stack([sites, dates], axis=1), axis=0, return_inverse=True
    )
    for k, (site, date) in enumerate(keys):
        rows = np.flatnonzero(numbers.ravel() == k)
        yield str(site), str(date), table.take(rows)


def _of_labelled(field, chunks, labelled):
    """Return a column that is null where a frame has no label."""
    import pyarrow as pa

    found = [chunk[field.name] for chunk in chunks if field.name in chunk]
    if not found:
        return pa.nulls(len(labelled), field.type)
    values = np.concatenate(found)
    if values.ndim == 2:
        return _lists(values, labelled)
    out = np.zeros(len(labelled), values.dtype)
    out[labelled] = values
    return pa.array(out, field.type, mask=~labelled)


def _lists(values, labelled):
    """Return rows of values as lists, null in the places without a label."""
    import pyarrow as pa

    ends = values.shape[1] * np.cumsum([0, *labelled])
    is_null = np.append(~labelled, False)  # the last one is an end alone
    offsets = pa.array(ends, pa.int32(), mask=is_null)
    return pa.ListArray.from_arrays(offsets, pa.array(values.ravel()))


def _join(chunks, name):
    return np.concatenate([chunk[name] for chunk in chunks])
