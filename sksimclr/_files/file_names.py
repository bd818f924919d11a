"""What the name of an all-sky file tells."""

import os
import re

import numpy as np

_NAME = re.compile(
    r"(?<!\d)(?P<date>(?:19|20)\d{6})[_T-]?(?P<time>\d{4}(?:\d\d)?)(?!\d)"
    r"(?:_(?!full|wide)(?P<site>[a-zA-Z]{4})(?=[_.]))?"
)


def site_and_time(path):
    """Return the site and the time in names such as 20140310_0600_gill_themis19_full.

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
    match = _NAME.search(os.path.basename(path))
    if match is None:
        return "", np.datetime64("NaT", "ns")
    date, clock = match["date"], match["time"].ljust(6, "0")
    text = f"{date[:4]}-{date[4:6]}-{date[6:]}T{clock[:2]}:{clock[2:4]}:{clock[4:]}"
    return (match["site"] or "").lower(), as_times([text])[0]


def as_times(texts):
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
