"""Frames in FITS files, as the Poker Flat camera and most observatories write them."""

from __future__ import annotations

import io
import math
import os
import re
import threading
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sksimclr._files.compressed import check_size, read_content
from sksimclr._files.file_names import (
    as_times,
    instrument_of,
    site_and_time,
    without_utc,
)
from sksimclr._files.frames import Frames

_START = b"SIMPLE  ="
_MAX_UNITS = 1000  # HDUs in a file
_DATES = ("DATE-OBS", "OBSDATE", "DATE_OBS")
_CLOCKS = ("OBSSTART", "TIME-OBS", "UT-OBS", "TIME_OBS", "UT")
_SITES = ("SITE", "SITEID", "STATION", "OBSERVAT")
_IMAGERS = ("INSTRUME", "CAMERA", "HEAD")
_CODE_LENGTHS = range(2, 9)  # of a station's code; longer texts are descriptions
_DAMAGE = re.compile("truncated|verification failed", re.IGNORECASE)  # astropy's words
_CHANNELS = (3, 4)  # of the first axis, when it is that of colours
_catching = threading.Lock()  # who catches warnings changes what all threads do
if hasattr(os, "register_at_fork"):  # a fork of a thread that waits would wait for ever
    os.register_at_fork(
        before=_catching.acquire,
        after_in_parent=_catching.release,
        after_in_child=_catching.release,
    )


def read_fits(path: Path) -> Frames:
    """Read the images of a FITS file.

    Parameters
    ----------
    path : Path
        Its frames are those of the first unit with an image: (H, W), (n, H, W) or
        colours (3, H, W); compressed inside (``.fz``) or with gzip. Numbers are scaled
        as BZERO and BSCALE say.

    Returns
    -------
    Frames
        Times are those of DATE-OBS, or OBSDATE and OBSSTART; the site is that of SITE;
        both else as in the file's name. The instrument is INSTRUME and FILTER. Rows
        are as they lie in the file, of which the first one is the lowest by FITS'
        convention.

    Raises
    ------
    ValueError
        It is no FITS file, has no image, or is damaged.
    ImportError
        astropy is not installed: ``pip install "sksimclr[cameras]"``.
    """
    if find_spec("astropy") is None:
        raise ImportError(
            f"{str(path)!r} is a FITS file, which needs astropy: "
            'pip install "sksimclr[cameras]".'
        )
    data, damage = read_content(path, _check_start)
    _check_start(data)
    images, header, more = _first_image(data)
    site, time = site_and_time(path)
    return Frames(
        images,
        times=_times(header, len(images), time),
        site=_site(header) or site,
        metadata={key: str(value) for key, value in header.items() if key},
        damage="; ".join(filter(None, (damage, more))),
        instrument=instrument_of(path) or _instrument(header),
    )


def _check_start(data: bytes) -> None:
    """Raise a ValueError if this is no FITS file."""
    if not data.startswith(_START):
        raise ValueError(
            f"expected a FITS file, which begins with {_START.decode()!r}, got "
            f"{bytes(data[:8])!r}"
        )


def _first_image(data: bytes) -> tuple[NDArray[Any], Any, str]:
    """Return images (n, H, W) or (n, H, W, C), their header, and what is wrong."""
    from astropy.io import fits

    with _catching, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with fits.open(io.BytesIO(data), memmap=False, checksum=True) as units:
            for number in range(_MAX_UNITS):
                try:
                    unit = units[number]
                except IndexError:
                    break
                shape = tuple(getattr(unit, "shape", ()) or ())
                if not getattr(unit, "is_image", False) or not 2 <= len(shape) <= 4:
                    continue
                check_size(8 * math.prod(shape), len(data))
                images = _as_frames(np.asarray(unit.data), shape)
                return images, unit.header.copy(), _said(caught)
    raise ValueError("it has no image (H, W) or (n, H, W)")


def _as_frames(array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return (n, H, W) or (n, H, W, C), with channels last."""
    if len(shape) == 2:
        return array[np.newaxis]
    if len(shape) == 4 and shape[1] in _CHANNELS:
        return np.moveaxis(array, 1, -1)
    if len(shape) == 3 and shape[0] in _CHANNELS:
        return np.moveaxis(array, 0, -1)[np.newaxis]
    return array


def _said(caught: list[warnings.WarningMessage]) -> str:
    """Return what astropy warned of that is damage: an early end, a wrong checksum."""
    from astropy.utils.exceptions import AstropyWarning

    ours = (each for each in caught if issubclass(each.category, AstropyWarning))
    texts = [" ".join(str(each.message).split()) for each in ours]
    return next((text for text in texts if _DAMAGE.search(text)), "")


def _times(
    header: Any, n_frames: int, of_name: np.datetime64
) -> NDArray[np.datetime64]:
    """Return when each frame was begun: that of a single one, or NaT."""
    times = np.full(n_frames, "NaT", "datetime64[ns]")
    if n_frames == 1:
        of_header = as_times([_text_of_time(header)])[0]
        times[0] = of_name if np.isnat(of_header) else of_header
    return times


def _text_of_time(header: Any) -> str:
    """Return the ISO 8601 text of when the exposure began, or "NaT"."""
    date, clock = _first(header, _DATES), _first(header, _CLOCKS)
    if "T" in date or " " in date:
        return without_utc(date).replace(" ", "T")
    return without_utc(f"{date}T{clock}") if date and clock else "NaT"


def _site(header: Any) -> str:
    """Return the code of the station, "" if there is none."""
    text = _first(header, _SITES).lower()
    is_code = len(text) in _CODE_LENGTHS and text.replace("-", "").isalnum()
    return text if is_code else ""


def _instrument(header: Any) -> str:
    """Return imager and filter, "" where the header has neither."""
    try:
        line = f"{float(_first(header, ('FILTWAV',))):g} nm"
    except ValueError:
        line = _first(header, ("FILTER",))
    return ", ".join(filter(None, (_first(header, _IMAGERS), line)))


def _first(header: Any, names: tuple[str, ...]) -> str:
    """Return the first of some entries that says something, as text."""
    values = (header.get(name) for name in names)  # None also of one without a value
    texts = (str(value).strip() for value in values if value is not None)
    return next(filter(None, texts), "")
