"""What `summary` says of the nights of a catalogue, and of the clocks of cameras."""

from itertools import groupby

import numpy as np

from sksimclr._commands._report import duration, table
from sksimclr.archive import coverage

_ADVICE = """\
  Did the clock change to summer time, or back? Label what it wrote before and after
  into catalogues of their own, with --utc-offset, and let it show UTC from now on.
  Or are files of that hour lost, or there in two forms?"""


def nights_of(catalogue):
    """Return the rows of `sksimclr.archive.coverage` as dicts."""
    import pyarrow as pa

    nights = coverage(catalogue)
    kinds = [  # nanoseconds would need pandas
        pa.timestamp("us", "UTC") if pa.types.is_timestamp(kind) else kind
        for kind in nights.schema.types
    ]
    schema = pa.schema(list(zip(nights.column_names, kinds, strict=True)))
    return nights.cast(schema, safe=False).to_pylist()


def coverage_of_cameras(nights):
    """Return a dict for each instrument of a site.

    Parameters
    ----------
    nights : list of dict
        As of `nights_of`.
    """
    return [
        _sum(site, instrument, list(group))
        for (site, instrument), group in groupby(nights, _camera)
    ]


def _camera(night):
    return night["site"], night["instrument"]


def _sum(site, instrument, nights):
    """Return the sums over nights of an instrument."""
    cadences = [night["cadence"] for night in nights if night["cadence"] is not None]
    total = {
        name: sum(night[name] for night in nights)
        for name in ("n_frames", "n_repeated", "n_expected", "n_gaps", "missing")
    }
    return {
        "site": site,
        "instrument": instrument,
        "n_nights": len(nights),
        "cadence": float(np.median(cadences)) if cadences else None,
        **total,
        "longest_gap": max(night["longest_gap"] for night in nights),
    }


def hours_of_clocks(nights):
    """Return hours that are there twice, or missing, as dicts with times as text."""
    return [
        {
            "site": night["site"],
            "instrument": night["instrument"],
            "night": f"{night['start']:%Y-%m-%d}",
            "hour": f"{night[name]:%Y-%m-%d %H:%M:%S}",
            "what": what,
        }
        for night in nights
        for name, what in (("hour_twice", "twice"), ("hour_missing", "missing"))
        if night[name] is not None
    ]


def coverage_text(cameras, hours):
    """Return what there is to say of these, "" for nothing.

    Parameters
    ----------
    cameras, hours : list of dict
        As of `coverage_of_cameras` and `hours_of_clocks`.
    """
    if not cameras:
        return ""
    rows = [["site", "instrument", "nights", "cadence", "expected", "missing", ""]]
    rows[0] += ["gaps", "longest"]
    for camera in cameras:
        n_missing = camera["n_expected"] - camera["n_frames"]
        cadence, n_gaps = camera["cadence"], camera["n_gaps"]
        rows.append(
            [
                camera["site"],
                camera["instrument"] or "?",
                camera["n_nights"],
                "?" if cadence is None else f"{cadence:.3g} s",
                camera["n_expected"],
                n_missing,
                duration(camera["missing"]) if n_gaps else "",
                n_gaps,
                duration(camera["longest_gap"]) if n_gaps else "",
            ]
        )
    lines = ["Frames by the cadence of each night, from its first to its last:"]
    lines.append(table(rows, indent="  "))
    n_repeated = sum(camera["n_repeated"] for camera in cameras)
    if n_repeated:
        lines.append(
            f"{n_repeated} frames have the time of another one of their instrument: "
            "copies of files?"
        )
    if hours:
        lines.append("An hour is there twice, or missing (UTC):")
        rows = [
            [h["site"], h["instrument"] or "?", h["hour"], h["what"]] for h in hours
        ]
        lines += [table(rows, indent="  "), _ADVICE]
    return "\n".join(lines)
