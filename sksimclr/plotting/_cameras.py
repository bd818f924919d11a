"""What is known of a camera by the names of its files, and by what is in them."""

import re
from pathlib import Path

_CALGARY = re.compile(  # 20220307_0600_gill_nir-216_8446, .._122643_gill_rgb-04_..
    r"\d{8}_\d{4}(\d\d)?(_\d{6})?_[a-z]{4}_(?P<imager>[a-z]+-?\d+)"
    r"(_(?P<angstrom>\d{4}))?(?=[_.])"
)
_DASC = re.compile(r"[A-Z]{3}_DASC_0?(?P<nanometres>\d{3,4})_\d{8}_")
_THEMIS_PGM = re.compile(r"\d{8}_\d{4}_\w+_themis\d+_full\.pgm(\.gz)?")
_THEMIS_CDF = re.compile(r"thg_l1_asf_\w+_(\d{4})\d{6}_v\d+\.cdf")
_THEMIS = "THEMIS ASI"
# Zenith angle at half the side of a frame of THEMIS, degrees: the Moon over Gillam and
# Venus over Gakona are both 1.45 of 128 pixels per degree from its middle.
_THEMIS_HALF = 88


def instrument_of(file, metadata=None):
    """Return the name of the imager that took a file, and its wavelength.

    Parameters
    ----------
    file : str
    metadata : dict of str to str, default=None
        Of its frames; asked if the name of the file does not tell.

    Returns
    -------
    str
        "" if neither tells.

    Examples
    --------
    >>> instrument_of("20220307_0600_gill_nir-216_8446.pgm.gz")
    'nir-216, 844.6 nm'
    >>> instrument_of("20140310_0600_gill_themis19_full.pgm.gz")
    'THEMIS ASI'
    >>> instrument_of("night.fits", {"INSTRUME": "ALFA", "FILTER": "O1"})
    'ALFA, O1'
    """
    name = Path(file).name
    if _THEMIS_CDF.match(name):
        return _THEMIS
    if match := _CALGARY.match(name):
        return _calgary(match["imager"], match["angstrom"])
    if match := _DASC.match(name):
        return f"DASC, {match['nanometres']} nm"
    found = metadata or {}
    if "Imager unique ID" in found:
        return _calgary(found["Imager unique ID"], found.get("Mode unique ID"))
    return ", ".join(found[key] for key in ("INSTRUME", "FILTER") if found.get(key))


def _calgary(imager, mode):
    """Return the name of an imager of the University of Calgary, and its line."""
    if imager.startswith("themis"):
        return _THEMIS
    is_line = re.fullmatch(r"\d{4}", mode or "")
    return f"{imager}, {int(mode) / 10:.1f} nm" if is_line else imager


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
