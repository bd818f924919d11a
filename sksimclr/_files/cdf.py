"""Frames in CDF files, as NASA distributes those of the THEMIS imagers."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sksimclr._files.cdf_records import CDFFile
from sksimclr._files.frames import Frames

_IMAGES = re.compile(r"[a-z]{3}_[a-z]{3}_(?P<site>[a-z0-9]{3,8})")  # thg_asf_gill
_EPOCH_OF_1970 = 62_167_219_200_000  # milliseconds since the year 0
_NOON_OF_2000 = np.datetime64("2000-01-01T12:00:00", "ns")  # TT2000 counts from there,
_TT_BEFORE_TAI = 32_184_000_000  # in nanoseconds of TT
_LEAP_SECONDS = {  # TAI - UTC in seconds, since digital cameras look at the sky
    "1999-01-01": 32,
    "2006-01-01": 33,
    "2009-01-01": 34,
    "2012-07-01": 35,
    "2015-07-01": 36,
    "2017-01-01": 37,
}
_THEMIS = {"thg_asf_": "THEMIS ASI", "thg_asc_": "THEMIS ASI"}
_MOST_NAMED = 20  # variables, in a message
_LAST = np.datetime64(2**32, "s")  # until when a time is believed, in 2106


def read_cdf(path: Path) -> Frames:
    """Read the frames of a CDF file of level 1.

    Parameters
    ----------
    path : Path
        Its images are the first variable with a name like ``thg_asf_gill``, a record
        per frame or, since 2024, all frames in one record (row, column, frame). Signed
        ones become unsigned.

    Returns
    -------
    Frames
        The site is that in the variable's name. Times are those of the variable
        ``..._epoch`` (CDF_EPOCH or CDF_TIME_TT2000) or, if it has none for each frame,
        of ``..._time``, in UTC. While a leap second lasts, time stands still at the
        last nanosecond before it, for datetime64 has none.

    Raises
    ------
    ValueError
        It is not such a file, or damaged.
    """
    file = CDFFile(path)
    name = _image_variable(file)
    records, damage = file.read(name)
    damages = [file.damage, damage]
    if not len(records):
        raise ValueError("; ".join(filter(None, damages)) or "it has no frames")
    is_cube = records.ndim == 4 and len(records) == 1
    if is_cube:
        records = np.ascontiguousarray(np.moveaxis(records[0], -1, 0))
    damages += [] if damage else [_disagreement(file, name, len(records))]
    images, negative = _unsigned(np.ascontiguousarray(records))
    damages.append(negative)
    return Frames(
        images,
        times=_times(file, name, len(records), is_cube=is_cube),
        site=_IMAGES.sub(r"\g<site>", name.lower()),
        damage="; ".join(filter(None, damages)),
        instrument=_THEMIS.get(name[:8].lower(), name[:7].lower()),
    )


def _image_variable(file: CDFFile) -> str:
    """Return the name of the variable that holds images."""
    for name, variable in file.variables.items():
        is_image = len(variable.shape) in (2, 3) and variable.dtype.kind in "iu"
        if _IMAGES.fullmatch(name.lower()) and is_image:
            return name
    found = [f"{name} {v.dtype} {v.shape}" for name, v in file.variables.items()]
    found[_MOST_NAMED:] = ["..."] if len(found) > _MOST_NAMED else []
    raise ValueError(
        "expected a variable of integers (row, column) for each frame with a name like "
        f"thg_asf_gill, got these variables: {', '.join(found) or 'none'}. "
        f"{file.damage}".strip()
    )


def _unsigned(images: NDArray[Any]) -> tuple[NDArray[Any], str]:
    """Return images of unsigned integers, and what is wrong with signed ones."""
    if images.dtype.kind == "u":
        return images, ""
    n_negative = int((images < 0).sum())
    damage = f"{n_negative:,} of its values are below zero and read as 0"
    if n_negative:
        images = np.maximum(images, 0)
    return images.view(f"u{images.dtype.itemsize}"), damage if n_negative else ""


def _disagreement(file: CDFFile, name: str, n_frames: int) -> str:
    """Say whether there are more or fewer times than frames, one of which is wrong."""
    for suffix in ("_epoch", "_time"):
        variable = file.variables.get(name + suffix)
        n_times = variable.n_records * math.prod(variable.shape) if variable else 1
        if n_times not in (1, n_frames):
            return f"it has {n_frames} frames, but {n_times} values of {name}{suffix}"
    return ""


def _times(
    file: CDFFile, name: str, n_frames: int, *, is_cube: bool
) -> NDArray[np.datetime64]:
    """Return datetime64[ns] of the frames, NaT where the file has none.

    Epochs are exact to a millisecond where there is one for each frame; times can be
    whole seconds that are up to a tenth of a second away.
    """
    times = _from_seconds(_per_frame(file, f"{name}_time", n_frames))
    epochs = _epochs(file, f"{name}_epoch", n_frames)
    better, other = (times, epochs) if is_cube else (epochs, times)
    return np.where(np.isnat(better), other, better)


def _epochs(file: CDFFile, name: str, n_frames: int) -> NDArray[np.datetime64]:
    """Return the epochs of the frames as datetime64[ns], UTC; NaT if unknown."""
    values = _per_frame(file, name, n_frames)
    if values.dtype.kind == "i" and file.variables[name].is_tt2000:
        return _from_tt2000(values)
    return _from_seconds((values - _EPOCH_OF_1970) / 1000)


def _from_seconds(seconds: NDArray[Any]) -> NDArray[np.datetime64]:
    """Return seconds since 1970 to the microsecond, NaT for nonsense."""
    known = (seconds > 0) & (seconds < _LAST.astype(np.int64))
    micros = np.round(np.where(known, seconds, 0) * 1e6).astype("datetime64[us]")
    return np.where(known, micros, np.datetime64("NaT")).astype("datetime64[ns]")


def _from_tt2000(values: NDArray[np.int64]) -> NDArray[np.datetime64]:
    """Return CDF_TIME_TT2000 as UTC, NaT before 1999 and for nonsense.

    In a leap second, the last one before an offset begins, a clock without one would
    show the next day, and then go back; it waits instead.
    """
    offsets = _TT_BEFORE_TAI + 10**9 * np.array(list(_LEAP_SECONDS.values()))
    days = np.array([*_LEAP_SECONDS, _LAST], "datetime64[ns]")
    begins = (days[:-1] - _NOON_OF_2000).astype(np.int64) + offsets
    known = (values >= begins[0]) & (values < (_LAST - _NOON_OF_2000).astype(np.int64))
    values = np.where(known, values, begins[0])
    place = np.searchsorted(begins, values, side="right") - 1
    utc = _NOON_OF_2000 + (values - offsets[place]).astype("timedelta64[ns]")
    utc = np.minimum(utc, days[place + 1] - np.timedelta64(1, "ns"))
    return np.where(known, utc, np.datetime64("NaT"))


def _per_frame(file: CDFFile, name: str, n_frames: int) -> NDArray[Any]:
    """Return a variable's values for the frames, NaN if it has too few."""
    unknown = np.full(n_frames, np.nan)
    if name not in file.variables or file.variables[name].dtype.kind not in "if":
        return unknown
    try:
        records, _ = file.read(name)
    except ValueError:
        return unknown
    return records.ravel()[:n_frames] if records.size >= n_frames else unknown
