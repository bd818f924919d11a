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
_LAST_SECOND = 2**32  # of the years that a time is believed to be in, to 2106


def read_cdf(path: Path) -> Frames:
    """Read the frames of a CDF file of level 1.

    Parameters
    ----------
    path : Path
        Its images are the first variable with a name like ``thg_asf_gill``, a record
        per frame or, since 2024, all frames in one record (row, column, frame).

    Returns
    -------
    Frames
        The site is that in the variable's name. Times are those of the variable
        ``..._epoch`` or, if it has none for each frame, of ``..._time``.

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
    return Frames(
        np.ascontiguousarray(records),
        times=_times(file, name, len(records), is_cube=is_cube),
        site=_IMAGES.sub(r"\g<site>", name.lower()),
        damage="; ".join(filter(None, damages)),
    )


def _image_variable(file: CDFFile) -> str:
    """Return the name of the variable that holds images."""
    for name, variable in file.variables.items():
        is_image = len(variable.shape) in (2, 3) and variable.dtype.kind == "u"
        if _IMAGES.fullmatch(name.lower()) and is_image:
            return name
    found = ", ".join(file.variables) or "none"
    raise ValueError(
        "expected a variable of images with a name like thg_asf_gill, got these "
        f"variables: {found}. {file.damage}".strip()
    )


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
    seconds = _per_frame(file, f"{name}_time", n_frames)
    epochs = (_per_frame(file, f"{name}_epoch", n_frames) - _EPOCH_OF_1970) / 1000
    better, other = (seconds, epochs) if is_cube else (epochs, seconds)
    seconds = np.where(_is_known(better), better, other)
    known = _is_known(seconds)
    micros = np.round(np.where(known, seconds, 0) * 1e6).astype("datetime64[us]")
    return np.where(known, micros, np.datetime64("NaT")).astype("datetime64[ns]")


def _is_known(seconds: NDArray[Any]) -> NDArray[np.bool_]:
    """Say which times are neither fill values nor nonsense."""
    return (seconds > 0) & (seconds < _LAST_SECOND)


def _per_frame(file: CDFFile, name: str, n_frames: int) -> NDArray[np.float64]:
    """Return a variable's values for the frames, NaN if it has too few."""
    unknown = np.full(n_frames, np.nan)
    if name not in file.variables or file.variables[name].dtype.kind != "f":
        return unknown
    try:
        records, _ = file.read(name)
    except ValueError:
        return unknown
    return records.ravel()[:n_frames] if records.size >= n_frames else unknown
