"""What the name of an all-sky file tells."""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sksimclr._files.frames import Frames

_SITE = "(?!full|wide|dark|mask|bias|flat)[a-zA-Z]{4}(?=[_.])"
_NAMES = [
    re.compile(  # 20140310_0600_gill, 2024-09-06T16:19:25Z, 20200508_060500_122643_gill
        r"(?<!\d)(?P<year>(?:19|20)\d\d)(?P<dash>[-.]?)(?P<month>\d\d)(?P=dash)"
        r"(?P<day>\d\d)[_T -]?(?P<hour>\d\d)(?P<colon>[-_:.]?)(?P<minute>\d\d)"
        r"(?:(?P=colon)(?P<second>\d\d)"
        r"(?:(?:\.|_(?=\d{6}(?!\d)))(?P<fraction>\d{1,9}))?)?Z?(?!\d)"
        rf"(?:_(?P<site>{_SITE}))?"
    ),
    re.compile(  # thg_l1_asf_gako_2011010617
        rf"_(?P<site>{_SITE})_(?P<year>(?:19|20)\d\d)(?P<month>\d\d)(?P<day>\d\d)"
        r"(?P<hour>\d\d)(?!\d)"
    ),
    re.compile(  # MUO150101_000000, of the Finnish cameras
        r"(?<![a-zA-Z])(?P<site>[A-Z]{3})(?P<year>\d\d)(?P<month>\d\d)(?P<day>\d\d)_"
        r"(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)(?!\d)"
    ),
]
_CALGARY = re.compile(  # 20140310_0600_gill_themis19_full, .._gill_rgb-04_320ms_full
    r"\d{8}_\d{4}(?:\d\d)?(?:_\d{6})?_[a-zA-Z]{4}_(?P<imager>[a-zA-Z]+-?\d+)"
    r"(?:_\d+ms)?(?:_(?P<mode>[a-zA-Z0-9-]+))?(?=[_.])"
)
_DASC = re.compile(r"[A-Z]{3}_DASC_(?P<nanometres>\d{4})_\d{8}_")
_THEMIS_CDF = re.compile(r"thg_l1_as[fc]_")
_THEMIS = "THEMIS ASI"
# What lies in folders beside frames of the sky, by a word in its name
_NO_SKY = {
    "dark": "a dark frame",
    "bias": "a bias frame",
    "flat": "a flat field",
    "mask": "a mask",
    "wide": "a wide variant of another file",
    "keogram": "a keogram",
    "keo": "a keogram",
    "spect": "a spectrum",
    "spectrum": "a spectrum",
    "spectra": "a spectrum",
    "startrails": "a picture of star trails",
    "skymap": "a map of the sky",
    "montage": "a montage",
}
_WORD = re.compile("[a-z]+")
_LEAP_SECOND = re.compile(r"(?<=:\d9:)60(?:\.\d*)?$")
_UTC = re.compile(r"\s*(UTC|Z|\+00:00)$")
_ESCAPED = re.compile(r"\\u(d[89a-f][0-9a-f]{2}|005c)")  # no text of UTF-8
_LIKE_ESCAPED = re.compile(rf"\\(?={_ESCAPED.pattern[2:]})")


def as_text(path: str | os.PathLike[str]) -> str:
    r"""Return a path as text that can be written: what is not UTF-8 as ``\udc..``."""
    return in_utf8(_LIKE_ESCAPED.sub(r"\\u005c", os.fspath(path)))


def in_utf8(text: str) -> str:
    r"""Return a text that can be written: what is not UTF-8 as ``\udc..``."""
    return text.encode("utf-8", "backslashreplace").decode()


def absolute(path: str | os.PathLike[str]) -> str:
    """Return a path from the root, also one from the home folder, "~"."""
    return os.path.abspath(os.path.expanduser(path))


def as_path(text: str) -> str:
    """Return the path of which :func:`as_text` made a text."""
    return _ESCAPED.sub(lambda escaped: chr(int(escaped[1], 16)), text)


def site_and_time(path: str | os.PathLike[str]) -> tuple[str, np.datetime64]:
    """Return the site and the time in names such as 20140310_0600_gill_themis19_full.

    Or such as thg_l1_asf_gill_2014031006_v01.cdf.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    site : str
        "" if the name has none.
    time : datetime64[ns]
        NaT if the name has none, or one that no clock shows.
    """
    name = os.path.basename(path)
    matches = filter(None, (pattern.search(name) for pattern in _NAMES))
    found = next((match.groupdict() for match in matches), None)
    if found is None:
        return "", np.datetime64("NaT", "ns")
    year = found["year"] if len(found["year"]) == 4 else f"20{found['year']}"
    clock = [found["hour"], found.get("minute") or "00", found.get("second") or "00"]
    text = f"{year}-{found['month']}-{found['day']}T{':'.join(clock)}"
    fraction = found.get("fraction") or "0"
    return (found["site"] or "").lower(), as_times([f"{text}.{fraction}"])[0]


def instrument_of(path: str | os.PathLike[str]) -> str:
    """Return the imager that a file's name tells, and its wavelength or mode.

    Examples
    --------
    >>> instrument_of("20140310_0600_gill_themis19_full.pgm.gz")
    'THEMIS ASI'
    >>> instrument_of("20220307_0600_gill_nir-216_8446.pgm.gz")
    'nir-216, 844.6 nm'
    """
    name = os.path.basename(path)
    if _THEMIS_CDF.match(name):
        return _THEMIS
    if match := _CALGARY.match(name):
        return as_instrument(match["imager"], match["mode"])
    if match := _DASC.match(name):
        return f"DASC, {int(match['nanometres'])} nm"
    return ""


def as_instrument(imager: str | None, mode: str | None) -> str:
    """Return the name of an imager of the University of Calgary.

    With the line that it sees, a mode of four digits, or a mode that is not the usual
    one; and without the number of its camera if it is one of THEMIS.
    """
    imager, mode = (imager or "").strip().lower(), (mode or "").strip().lower()
    if imager.startswith("themis"):
        return _THEMIS
    if re.fullmatch(r"\d{4}", mode):
        mode = f"{int(mode) / 10:.1f} nm"
    return ", ".join(filter(None, (imager, "" if mode == "full" else mode)))


def not_of_the_sky(path: str | os.PathLike[str]) -> str:
    """Say by its name what a file is that holds no frames of the sky, "" if it may.

    Examples
    --------
    >>> not_of_the_sky("20140310_gill_dark.png"), not_of_the_sky("20140310_gill.png")
    ('a dark frame', '')
    """
    words = _WORD.findall(os.path.basename(path).lower())
    return next((_NO_SKY[word] for word in words if word in _NO_SKY), "")


def as_times(texts: list[str]) -> NDArray[np.datetime64]:
    """Return ISO 8601 texts as datetime64[ns], NaT for what is no time.

    Parameters
    ----------
    texts : list of str
        "NaT" or times of the years that datetime64[ns] knows, 1678 to 2261. It knows no
        leap seconds: in one, time stands still at the last nanosecond before it.

    Returns
    -------
    ndarray of shape (n,), datetime64[ns]
    """
    try:
        return np.array(texts, "datetime64[ns]")
    except ValueError:
        if len(texts) == 1:
            (text,) = texts
            held = _LEAP_SECOND.sub("59.999999999", text)
            return as_times([held if held != text else "NaT"])
        return np.concatenate([as_times([text]) for text in texts])


def without_utc(text: str) -> str:
    """Return the text of a time without what says that it is UTC.

    Examples
    --------
    >>> without_utc("2020-01-01 06:00:03.5 UTC")
    '2020-01-01 06:00:03.5'
    """
    return _UTC.sub("", text.strip())


def named_frames(
    path: str | os.PathLike[str], images: NDArray[Any], damage: str = ""
) -> Frames:
    """Return frames with the site, and the time of a single one, of the file's name."""
    if images.dtype == bool:
        images = images * np.uint8(255)
    site, time = site_and_time(path)
    frames = Frames(images, site=site, damage=damage, instrument=instrument_of(path))
    if len(frames) == 1:
        frames.times[0] = time
    return frames
