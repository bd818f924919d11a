"""Where north is, and how far down the horizon, in the frames of known cameras."""

import re
from pathlib import Path

from sksimclr._files.file_names import instrument_of

_THEMIS_PGM = re.compile(r"\d{8}_\d{4}_\w+_themis\d+_full\.pgm(\.gz)?")
_THEMIS_CDF = re.compile(r"thg_l1_asf_\w+_(\d{4})\d{6}_v\d+\.cdf")
_THEMIS = "THEMIS ASI"
# Zenith angle at half the side of a frame of THEMIS, degrees: the Moon over Gillam and
# Venus over Gakona are both 1.45 of 128 pixels per degree from its middle.
_THEMIS_HALF = 88


def north_of(file):
    """Return where north is in the frames of a file, None if that is not known."""
    name = Path(file).name
    if _THEMIS_PGM.fullmatch(name):
        return "top"
    match = _THEMIS_CDF.fullmatch(name)
    return "bottom" if match and int(match[1]) < 2024 else None


def edge_elevation_of(file, radius):
    """Return the elevation at a radius, degrees, None if that is not known.

    Examples
    --------
    >>> edge_elevation_of("20140310_0600_gill_themis19_full.pgm.gz", 0.75)
    24.0
    """
    is_themis = instrument_of(file) == _THEMIS
    return 90 - _THEMIS_HALF * radius if is_themis else None
