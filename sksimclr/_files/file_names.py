"""What the name of an all-sky file tells."""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sksimclr._files.frames import Frames

_NAME = re.compile(
    r"(?<!\d)(?P<date>(?:19|20)\d{6})[_T-]?(?P<time>\d{4}(?:\d\d)?)(?!\d)"
    r"(?:_(?!full|wide)(?P<site>[a-zA-Z]{4})(?=[_.]))?"
)
_NAME_OF_CDF = re.compile(
    r"thg_l1_as[fc]_(?P<site>[a-z]{4})_(?P<date>(?:19|20)\d{6})(?P<time>\d\d)_v\d+\."
)
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
    match = _NAME.search(name) or _NAME_OF_CDF.match(name)
    if match is None:
        return "", np.datetime64("NaT", "ns")
    date, clock = match["date"], match["time"].ljust(6, "0")
    text = f"{date[:4]}-{date[4:6]}-{date[6:]}T{clock[:2]}:{clock[2:4]}:{clock[4:]}"
    return (match["site"] or "").lower(), as_times([text])[0]


def as_times(texts: list[str]) -> NDArray[np.datetime64]:
    """Return ISO 8601 texts as datetime64[ns], NaT for what is no time.

    Parameters
    ----------
    texts : list of str
        "NaT" or times of the years that datetime64[ns] knows, 1678 to 2261.

    Returns
    -------
    ndarray of shape (n,), datetime64[ns]
    """
    try:
        return np.array(texts, "datetime64[ns]")
    except ValueError:
        if len(texts) == 1:
            return np.array(["NaT"], "datetime64[ns]")
        return np.concatenate([as_times([text]) for text in texts])


def named_frames(
    path: str | os.PathLike[str], images: NDArray[Any], damage: str = ""
) -> Frames:
    """Return frames with the site, and the time of a single one, of the file's name."""
    if images.dtype == bool:
        images = images * np.uint8(255)
    site, time = site_and_time(path)
    frames = Frames(images, site=site, damage=damage)
    if len(frames) == 1:
        frames.times[0] = time
    return frames
