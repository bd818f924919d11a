"""Where stations are, and when magnetic midnight is there."""

import numpy as np

# Geodetic latitude and longitude, degrees north and east, of the all-sky stations of
# THEMIS: H. Frey's list, which is part of SPEDAS (projects/themis/ground/
# thm_asi_stations.pro, 2008). Headers of the raw files of gill agree with it; asilib
# 0.30 differs by up to 0.13 degrees, half a minute of local time.
SITES = {
    "atha": (54.714, -113.314),  # Athabasca
    "chbg": (49.814, -74.419),  # Chibougamau
    "ekat": (64.733, -110.670),  # Ekati
    "fsim": (61.762, -121.221),  # Fort Simpson
    "fsmi": (59.984, -111.842),  # Fort Smith
    "fykn": (66.560, -145.214),  # Fort Yukon
    "gako": (62.407, -145.158),  # Gakona
    "gbay": (53.316, -60.460),  # Goose Bay
    "gill": (56.354, -94.656),  # Gillam
    "inuv": (68.413, -133.770),  # Inuvik
    "kapu": (49.392, -82.320),  # Kapuskasing
    "kian": (66.971, -160.438),  # Kiana
    "kuuj": (58.155, -68.532),  # Kuujjuaq
    "mcgr": (62.953, -155.596),  # McGrath
    "nrsq": (61.162, -45.442),  # Narsarsuaq
    "pgeo": (53.815, -122.828),  # Prince George
    "pina": (50.163, -96.066),  # Pinawa
    "rank": (62.828, -92.113),  # Rankin Inlet
    "snap": (63.580, -110.870),  # Snap Lake
    "snkq": (56.536, -79.231),  # Sanikiluaq
    "talo": (69.546, -93.577),  # Taloyoak
    "tpas": (53.994, -100.941),  # The Pas
    "whit": (61.010, -135.223),  # Whitehorse
    "yknf": (62.520, -114.313),  # Yellowknife
}

# North pole of the centred dipole, of the first three coefficients of IGRF-14 for 2015:
# g10 = -29441.46, g11 = -1501.77, h11 = 4795.99 nT
DIPOLE_POLE = (80.31, -72.61)


def site_position(site, sites=None):
    """Return the latitude and longitude of a station, degrees north and east.

    Parameters
    ----------
    site : str
        Code of the station.
    sites : dict of str to (float, float), default=None
        Positions of stations that are not THEMIS's, or that are better known.

    Returns
    -------
    (float, float)

    Raises
    ------
    ValueError
        The position is not known, or is none.

    Examples
    --------
    >>> site_position("gill")
    (56.354, -94.656)
    >>> site_position("lyrn", {"lyrn": (78.15, 16.04)})
    (78.15, 16.04)
    """
    position = (sites or {}).get(site, SITES.get(site))
    if position is None:
        raise ValueError(
            f"The position of site {site!r} is not known. Pass it, in degrees north "
            f"and east: sites={{{site!r}: (latitude, longitude)}}, or at the command "
            f"line --position {site} LATITUDE LONGITUDE."
        )
    return check_position(position, f" for {site!r}")


def check_position(position, whose=""):
    """Return the latitude and longitude of a place, degrees north and east.

    Raises
    ------
    ValueError
        It is none on Earth.

    Examples
    --------
    >>> check_position([56, -94])
    (56.0, -94.0)
    """
    try:
        latitude, longitude = map(float, position)
        is_place = -90 <= latitude <= 90 and -180 <= longitude <= 360
    except (TypeError, ValueError):
        is_place = False
    if not is_place:
        raise ValueError(
            "The position of a site is (latitude, longitude) in degrees north and "
            f"east, from -90 to 90 and -180 to 360; got {position!r}{whose}."
        )
    return latitude, longitude


def magnetic_midnight(latitude, longitude):
    """Return when it is midnight in magnetic local time, UTC hours in [0, 24).

    Magnetic local time is the angle around the axis of the centred dipole from the
    meridian opposite to the Sun, in hours [1]_. With the Sun over the equator, and at
    its mean hour, it advances as universal time does:

    ``MLT = UT - midnight``, ``midnight = -(phi + phi_pole) / 15``,

    where phi is the dipole longitude of the place and phi_pole the geographic longitude
    of the pole, degrees. Of the magnetic local time of AACGM coordinates this differs
    by 0.4 hours (root mean square) and at most 1.2 hours in winter nights at the THEMIS
    stations.

    Parameters
    ----------
    latitude, longitude : float
        Degrees north and east.

    References
    ----------
    .. [1] Laundal and Richmond (2017), "Magnetic Coordinate Systems", Space Science
       Reviews 206, https://doi.org/10.1007/s11214-016-0275-y

    Examples
    --------
    >>> round(magnetic_midnight(*SITES["gill"]), 1)
    6.8
    """
    pole = np.deg2rad(DIPOLE_POLE)
    latitude, east = np.deg2rad(latitude), np.deg2rad(longitude) - pole[1]
    phi = np.arctan2(
        np.cos(latitude) * np.sin(east),
        np.cos(latitude) * np.cos(east) * np.sin(pole[0])
        - np.sin(latitude) * np.cos(pole[0]),
    )
    return float(-np.rad2deg(phi + pole[1]) / 15 % 24)
