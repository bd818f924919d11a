"""Synthetic all-sky images of the aurora, for tests, examples and quick trials."""

import numbers
from collections import namedtuple

import numpy as np
from sklearn.utils import Bunch, check_random_state

from sksimclr.datasets import _aurora_forms as forms
from sksimclr.datasets._oath_files import TARGET_NAMES
from sksimclr.model_selection import oath_folds

N_AURORA = 3  # the first three classes are aurora
FRAMES_PER_SEQUENCE = 5
MINUTES_BETWEEN_FRAMES = 5.0
N_SITES = 6

# What tells the sequences of a class apart, each uniform on the unit interval: place
# to pulse shape the form, veil and haze thin clouds, twilight and dusk the sun below
# the horizon, hour turns the stars.
Latents = namedtuple(
    "Latents",
    "place tilt width brightness contrast count drift pulse "
    "veil haze twilight dusk hour site",
)
Site = namedtuple(
    "Site", "latitude orientation bias vignetting horizon town town_azimuth airglow"
)

DESCR = """\
Synthetic all-sky images of the aurora
--------------------------------------
Raw-like frames of a THEMIS all-sky camera in the six classes of the Oslo Auroral
THEMIS data set (OATH), drawn by sksimclr.datasets.make_aurora: no measurement, no
radiative model, and no substitute for real images. Frames come in sequences of similar
frames; `groups` numbers them. A random split tests on near copies of training images:
hold out whole sequences for an honest score.
"""


def make_aurora(n_samples, *, size=256, n_sequences=None, random_state=None):
    """Generate raw-like all-sky images of the aurora in the six classes of OATH.

    A stand-in for real frames in tests, examples and quick trials, with what makes
    real ones hard: forms at any place and angle, weak aurora, airglow, twilight, thin
    clouds, moonlight, and sequences of similar frames that leak through random splits.

    Parameters
    ----------
    n_samples : int
        Number of frames, at least 1.
    size : int, default=256
        Side of the square frames in pixels, at least 16. Smaller frames show the same
        sky with less noise, as if pixels had been binned.
    n_sequences : int, default=None
        Number of sequences of consecutive similar frames, from 1 to ``n_samples``. None
        makes sequences of five frames, and at least six sequences if there are six
        frames.
    random_state : int, RandomState instance or None, default=None
        Determines the frames. Pass an int for the same frames at every call.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with attributes

        images : ndarray of shape (n_samples, size, size), uint16
            Counts of the camera, in the order in which they were "taken": bias about
            2,300 to 3,600 counts, airglow some hundreds above it, overexposed at
            65,535. North is within 52 degrees of the top. The field of view is a disc
            around row and column ``size / 2`` with radius ``0.97 * size / 2``.
        target : ndarray of shape (n_samples,), int64
            Class of each frame, 0 to 5, numbered as ``class6`` of OATH. All classes
            have the same number of sequences, give or take one.
        target_names : list of str
            Names of the six classes.
        target_aurora : ndarray of shape (n_samples,), int64
            0 for aurora (arc, diffuse, discrete), 1 for none, as ``class2`` of OATH.
        groups : ndarray of shape (n_samples,), int64
            Number of the sequence of each frame, in ascending order.
        sequences : ndarray of shape (n_samples,), int64
            The same, under the name that ``SimCLRTransformer.fit`` and
            :func:`load_oath` have for them.
        folds : list of 5 tuples (train, test)
            Random 70/30 splits, as those that come with OATH; they leak. Empty for a
            single frame.
        DESCR : str
            Description of the data.

    Raises
    ------
    ValueError
        If ``n_samples``, ``size`` or ``n_sequences`` is no integer or out of range.

    See Also
    --------
    sksimclr.datasets.fetch_oath : The real thing.
    sksimclr.model_selection.oath_folds : Where ``folds`` come from.

    Notes
    -----
    Each pixel of the fisheye looks in a fixed direction. Aurora stands on field
    lines, which dip 77 degrees, and is summed over seven layers between 105 and
    180 km: an arc is a thin sheet with a sharp lower border, and appears as a bow
    between east and west horizon; discrete forms are bands wound up by vortices and
    striped by rays; diffuse aurora is one broad layer of patches. A layer is brighter
    where it is seen at a slant (van Rhijn's factor), until the air absorbs it near
    the horizon. Aurora brightens and fades within minutes. Stars turn with the Earth,
    15 degrees an hour, frames being five minutes apart; clouds hide them and are lit
    from below and behind. Six stations differ in latitude, orientation of the camera,
    skyline, town light, airglow, vignetting and bias. The camera adds shot noise and
    read noise, at the levels of real frames.

    Within a class the position, angle, width and brightness of the forms are spread
    evenly over their ranges (Latin hypercube), so that every draw covers the same sky.

    Examples
    --------
    >>> from sksimclr.datasets import make_aurora
    >>> data = make_aurora(12, size=32, random_state=0)
    >>> data.images.shape, data.images.dtype
    ((12, 32, 32), dtype('uint16'))
    >>> data.groups
    array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5])
    >>> sorted(set(data.target_names[k] for k in data.target[data.target_aurora == 0]))
    ['arc', 'diffuse', 'discrete']
    """
    _check_count("n_samples", n_samples, 1)
    _check_count("size", size, 16)
    if n_sequences is None:
        n_sequences = max(min(6, n_samples), n_samples // FRAMES_PER_SEQUENCE)
    _check_count("n_sequences", n_sequences, 1, n_samples)

    seeds = check_random_state(random_state).randint(2**31 - 1, size=4)
    rng = np.random.default_rng(seeds)
    kinds = rng.permutation(np.arange(n_sequences) % len(TARGET_NAMES))
    groups = np.sort(np.arange(n_samples) % n_sequences)
    target = kinds[groups].astype(np.int64)
    return Bunch(
        images=_draw_images(kinds, groups, size, rng),
        target=target,
        target_names=list(TARGET_NAMES),
        target_aurora=(target >= N_AURORA).astype(np.int64),
        groups=groups.astype(np.int64),
        sequences=groups.astype(np.int64),
        folds=oath_folds(n_samples) if n_samples > 1 else [],
        DESCR=DESCR,
    )


def _check_count(name, value, low, high=None):
    """Raise ValueError unless value is an integer within bounds."""
    allowed = f"at least {low}" if high is None else f"from {low} to {high}"
    is_count = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_count or value < low or (high is not None and value > high):
        raise ValueError(
            f"make_aurora: {name} must be an integer {allowed}; got {value!r}."
        )


def _draw_images(kinds, groups, size, rng):
    """Return the frames of all sequences, in order."""
    sky, sphere = forms.make_sky(size), forms.make_celestial_sphere(rng)
    sites = [_draw_site(sky, u, rng) for u in _spread_evenly(N_SITES, 6, rng)]
    latents = _draw_latents(kinds, rng)
    images = np.empty((len(groups), size, size), dtype=np.uint16)
    for k, kind in enumerate(kinds):
        site = sites[int(latents[k].site * N_SITES)]
        frames = np.flatnonzero(groups == k)
        minutes = (frames - frames.mean()) * MINUTES_BETWEEN_FRAMES
        light = _make_scene(sky, sphere, kind, latents[k], site, rng)
        for i, t in zip(frames, minutes, strict=True):
            images[i] = _expose(sky, light(t), site, rng)
    return images


def _draw_latents(kinds, rng):
    """Draw the latents of all sequences, evenly spread within each class."""
    latents = np.empty((len(kinds), len(Latents._fields)))
    for kind in np.unique(kinds):
        rows = np.flatnonzero(kinds == kind)
        latents[rows] = _spread_evenly(len(rows), latents.shape[1], rng)
    return [Latents(*row) for row in latents]


def _spread_evenly(n_points, n_dimensions, rng):
    """Draw points in the unit cube, one in each of n slices of every axis."""
    shape = (n_dimensions, n_points)
    slices = rng.permuted(np.tile(np.arange(n_points), (n_dimensions, 1)), axis=1)
    return ((slices + rng.random(shape)) / n_points).T


def _draw_site(sky, u, rng):
    """Draw a station: where it is, its camera and its horizon."""
    return Site(
        latitude=np.deg2rad(forms.between(u[0], 54, 68)),
        orientation=forms.between(u[1], -0.9, 0.9),
        bias=rng.uniform(2300, 3600),
        vignetting=1 - forms.between(u[2], 0.1, 0.4) * np.minimum(sky.distance, 1) ** 3,
        horizon=_draw_horizon(sky, rng),
        town=forms.between_log(u[3], 60, 600),
        town_azimuth=2 * np.pi * u[4],
        airglow=forms.between(u[5], 280, 520),
    )


def _draw_horizon(sky, rng):
    """Return the share of light that trees and hills along the horizon let through."""
    hills = np.maximum(forms.noise_1d(rng, 2500, 300), 0)
    trees = np.maximum(forms.noise_1d(rng, 60, 12), 0) * (hills > 0.5)
    azimuth = ((sky.azimuth + np.pi) / (2 * np.pi) * len(hills)).astype(int)
    skyline = (1 - 0.03 * hills - 0.02 * trees).take(azimuth, mode="wrap")
    return np.clip((skyline - sky.distance) * sky.radius, 0, 1)


def _make_scene(sky, sphere, kind, u, site, rng):
    """Return the light that falls on the camera as a function of time."""
    name = TARGET_NAMES[kind]
    form = _make_form(sky, name, u, site, rng)
    clouds = _make_cloud_deck(sky, name, u, site, rng)
    town = forms.make_twilight(sky, site.town_azimuth, site.town)
    dusk = _twilight_level(name, u)
    twilight = forms.make_twilight(sky, 2 * np.pi * u.dusk, dusk)
    airglow = site.airglow * sky.airglow + town + twilight

    def light(minutes):
        hour_angle = 2 * np.pi * u.hour + forms.EARTH_ROTATION * minutes
        turn = forms.turn_sphere(site.latitude, hour_angle, site.orientation)
        clear = airglow + forms.stars_light(sky, sphere, turn) + form(minutes)
        clear += forms.milky_way_light(sky, turn)
        cloud_light, opacity = clouds(minutes)
        return clear * (1 - opacity) + (cloud_light + 2 * town) * opacity

    return light


def _make_form(sky, name, u, site, rng):
    """Return what gives the class its name as a function of time."""
    makers = {
        "arc": forms.make_arc,
        "diffuse": forms.make_diffuse,
        "discrete": forms.make_discrete,
        "moon": forms.make_moon,
    }
    if name in makers:
        return makers[name](sky, u, site, rng)
    return lambda minutes: np.float32(0)


def _make_cloud_deck(sky, name, u, site, rng):
    """Return clouds: a deck when cloudy, else now and then thin ones."""
    if name == "cloudy":
        lit = forms.between_log(u.brightness, 500, 5000)
        cover = forms.between(u.veil, 0.7, 1)
        return forms.make_clouds(sky, rng, cover, lit, u.contrast)
    if u.veil < 0.7 or name == "noaurora":
        return lambda minutes: (0, 0)
    lit = site.airglow * (8 if name == "moon" else 1)
    cover = forms.between(u.haze, 0.1, 0.4)
    return forms.make_clouds(sky, rng, cover, lit, u.contrast, thickest=0.7)


def _twilight_level(name, u):
    """Return the brightness of twilight at the horizon, often none."""
    share = 0.3 if name == "noaurora" else 0.12
    return 0 if u.twilight > share else forms.between_log(u.twilight / share, 300, 4000)


def _expose(sky, light, site, rng):
    """Return the counts that the camera reads from the light that falls on it."""
    signal = np.where(sky.inside, light * site.vignetting * site.horizon, 0)
    noise = rng.standard_normal(signal.shape, dtype="f4")
    noise *= np.sqrt(20**2 + 2 * signal) * (sky.size / 256)
    return np.clip(np.rint(site.bias + signal + noise), 0, 65535).astype(np.uint16)
