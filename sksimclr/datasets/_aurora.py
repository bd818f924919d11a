"""Synthetic all-sky images of the aurora, for tests, examples and quick trials."""

import numbers
from collections import namedtuple

import numpy as np
from sklearn.utils import Bunch, check_random_state

from . import _aurora_forms as forms

TARGET_NAMES = ["arc", "diffuse", "discrete", "cloudy", "moon", "noaurora"]
MINUTES_BETWEEN_FRAMES = 5.0
N_SITES = 20

# What distinguishes the sequences of a class, each uniform on the unit interval.
Latents = namedtuple(
    "Latents",
    "tilt place width brightness contrast count drift veil haze twilight dusk hour site",
)
Site = namedtuple(
    "Site", "latitude declination bias vignetting horizon town town_azimuth airglow"
)


def make_aurora(n_samples, *, size=256, n_sequences=None, random_state=None):
    """Generate raw-like all-sky frames."""
    _check_count("n_samples", n_samples, 1)
    _check_count("size", size, 16)
    if n_sequences is None:
        n_sequences = max(min(6, n_samples), n_samples // 6)
    _check_count("n_sequences", n_sequences, 1, n_samples)

    seeds = check_random_state(random_state).randint(2**31 - 1, size=4)
    rng = np.random.default_rng(seeds)
    kinds = rng.permutation(np.arange(n_sequences) % len(TARGET_NAMES))
    groups = np.sort(np.arange(n_samples) % n_sequences)
    images = _draw_images(kinds, groups, size, rng)
    target = kinds[groups]
    return Bunch(
        images=images,
        target=target,
        target_names=list(TARGET_NAMES),
        target_aurora=(target > 2).astype(np.int64),
        groups=groups,
        folds=_random_folds(n_samples),
        DESCR="",
    )


def _random_folds(n_samples):
    order = np.argsort(np.random.RandomState(1804).rand(5, n_samples), axis=1)
    n_train = round(0.7 * n_samples)
    return [(row[:n_train], row[n_train:]) for row in order]


def _check_count(name, value, low, high=None):
    """Raise ValueError unless value is an integer within bounds."""
    allowed = f"at least {low}" if high is None else f"from {low} to {high}"
    is_count = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_count or value < low or (high is not None and value > high):
        raise ValueError(f"make_aurora: {name} must be an integer {allowed}; got {value!r}.")


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
        declination=forms.between(u[1], -0.3, 0.3),
        bias=rng.uniform(2300, 3600),
        vignetting=1 - forms.between(u[2], 0.1, 0.3) * np.minimum(sky.distance, 1) ** 3,
        horizon=_draw_horizon(sky, rng),
        town=forms.between_log(u[3], 60, 900),
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
        turn = forms.turn_sphere(site.latitude, hour_angle)
        clear = airglow + forms.stars_light(sky, sphere, turn) + form(minutes)
        clear += forms.milky_way_light(sky, turn)
        cloud_light, opacity = clouds(minutes)
        return clear * (1 - opacity) + (cloud_light + 2 * town) * opacity

    return light


def _make_form(sky, name, u, site, rng):
    """Return what gives the class its name as a function of time."""
    if name == "moon":
        return forms.make_moon(sky, u, rng)
    makers = {
        "arc": forms.make_arc,
        "diffuse": forms.make_diffuse,
        "discrete": forms.make_discrete,
    }
    if name in makers:
        return makers[name](sky, u, site, rng)
    return lambda minutes: np.float32(0)


def _make_cloud_deck(sky, name, u, site, rng):
    """Return clouds: a deck when cloudy, else now and then thin ones."""
    if name == "cloudy":
        lit = forms.between_log(u.brightness, 500, 5000)
        deck = forms.make_clouds(sky, rng, forms.between(u.veil, 0.5, 1), lit, u.contrast)
        return deck
    if u.veil < 0.7 or name == "noaurora":
        return lambda minutes: (0, 0)
    lit = site.airglow * (8 if name == "moon" else 1)
    cover = forms.between(u.haze, 0.1, 0.4)
    deck = forms.make_clouds(sky, rng, cover, lit, u.contrast)
    return lambda minutes: (deck(minutes)[0], 0.7 * deck(minutes)[1])


def _twilight_level(name, u):
    """Return the brightness of twilight at the horizon, often none."""
    share = {"noaurora": 0.4, "cloudy": 0.2}.get(name, 0.15)
    return 0 if u.twilight > share else forms.between_log(u.twilight / share, 300, 6000)


def _expose(sky, light, site, rng):
    """Return the counts that the camera reads from the light that falls on it."""
    signal = np.where(sky.inside, light * site.vignetting * site.horizon, 0)
    noise = rng.standard_normal(signal.shape, dtype="f4")
    noise *= np.sqrt(20**2 + 2 * signal) * (sky.size / 256)
    return np.clip(np.rint(site.bias + signal + noise), 0, 65535).astype(np.uint16)
