"""What the night sky shows: geometry, auroral forms, moon, clouds and stars.

Brightness is in camera counts above the bias. Every ``make_*`` function draws what
stays the same in a sequence and returns a function of time (minutes from the middle
of the sequence), so that consecutive frames show the same form as it evolves.
"""

from types import SimpleNamespace

import numpy as np
from scipy import fft, ndimage

EARTH_RADIUS = 6371.0  # km
FIELD_DIP = np.deg2rad(77)  # inclination of the geomagnetic field
LOWER_BORDER = 105.0  # altitude of the lower border of most forms, km
ALTITUDES = (105.0, 111.0, 119.0, 129.0, 142.0, 158.0, 180.0)  # km
MILKY_WAY_POLE = np.array([0.46, 0.74, 0.49])  # in the frame of the stars
EARTH_ROTATION = np.deg2rad(0.25)  # per minute


def make_sky(size, radius=0.97):
    """Return the direction of each pixel of a fisheye and its view of each layer."""
    offset = (np.arange(size, dtype="f4") - size / 2) / (radius * size / 2)
    x, y = np.meshgrid(offset, -offset)  # y: towards north
    distance = np.hypot(x, y)
    zenith = np.minimum(distance, 1) * np.float32(np.pi / 2)
    to_east, to_north = x / np.maximum(distance, 1e-6), y / np.maximum(distance, 1e-6)
    up, across = np.cos(zenith), np.sin(zenith)
    sky = SimpleNamespace(
        size=size,
        radius=radius * size / 2,
        inside=distance <= 1,
        distance=distance,
        azimuth=np.arctan2(to_east, to_north),
        direction=np.stack([across * to_east, across * to_north, up]),
        extinction=np.exp(-0.12 / (up + 0.05)),
    )
    sky.layers = [
        _see_layer(zenith, to_east, to_north, i) for i in range(len(ALTITUDES))
    ]
    sky.airglow = slant_factor(zenith, 95.0) * sky.extinction
    sky.cloud_plane = [
        np.tan(zenith * 0.93) * to_east,
        np.tan(zenith * 0.93) * to_north,
    ]
    return sky


def slant_factor(zenith, altitude):
    """Return how much longer a slanted view of a thin layer is (van Rhijn)."""
    sine = EARTH_RADIUS / (EARTH_RADIUS + altitude) * np.sin(zenith)
    return 1 / np.sqrt(1 - sine**2)


def _ground_distance(zenith, altitude):
    """Return how far away, km along the ground, a line of sight meets an altitude."""
    sine = EARTH_RADIUS / (EARTH_RADIUS + altitude) * np.sin(zenith)
    return EARTH_RADIUS * (zenith - np.arcsin(sine))


def _see_layer(zenith, to_east, to_north, i):
    """Return where a layer is seen (x, y), its slant, smear and lean (km)."""
    ground = _ground_distance(zenith, ALTITUDES[i])
    lean = (ALTITUDES[i] - LOWER_BORDER) / np.tan(FIELD_DIP)  # of field lines, south
    half_thickness = (ALTITUDES[i] - ALTITUDES[i - 1] if i else 6.0) / 2
    smear = _ground_distance(zenith, ALTITUDES[i] + half_thickness) - ground
    slant = slant_factor(zenith, ALTITUDES[i])
    return ground * to_east, ground * to_north, slant, smear, lean


def noise_2d(rng, slope, n=256):
    """Return periodic noise, mean 0 and std 1, with a power-law spectrum."""
    k = np.hypot(fft.fftfreq(n)[:, None], fft.rfftfreq(n)) * n
    filter_ = np.maximum(k, 1) ** (-slope / 2) * (k > 0.5) * np.exp(-((k / 60) ** 2))
    white = fft.rfft2(rng.standard_normal((n, n), dtype="f4"))
    noise = fft.irfft2(white * filter_.astype("f4"))
    return noise / noise.std()


def noise_1d(rng, coarsest, finest, n=4096):
    """Return periodic noise of n km, std 1, with the given range of scales (km)."""
    k = np.maximum(fft.rfftfreq(n), 1e-9)
    keep = np.exp(-((k * finest) ** 2) - (1 / (k * coarsest)) ** 2) / np.sqrt(k)
    noise = fft.irfft(fft.rfft(rng.standard_normal(n, dtype="f4")) * keep)
    return (noise / noise.std()).astype("f4")


def look_up(texture, x, y, period):
    """Return a periodic texture at the given points, linearly interpolated."""
    cells = texture.shape[0] / period
    points = np.stack([y * cells, x * cells])
    return ndimage.map_coordinates(texture, points, order=1, mode="grid-wrap")


def between(u, low, high):
    """Map u from the unit interval to a range, linearly."""
    return low + (high - low) * u


def between_log(u, low, high):
    """Map u from the unit interval to a range, logarithmically."""
    return low * (high / low) ** u


def _rotate(x, y, angle):
    """Turn coordinates by an angle."""
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return c * x + s * y, c * y - s * x


def _field_aligned(sky, orientation, footprint, scale_height):
    """Sum the light of a form that stands on the field lines of its footprint."""
    light = np.zeros_like(sky.distance)
    for altitude, layer in zip(ALTITUDES, sky.layers, strict=True):
        x, y, slant, smear, lean = layer
        x, y = _rotate(x, y, orientation)
        weight = np.exp(-(altitude - LOWER_BORDER) / scale_height)
        light += np.float32(weight) * slant * footprint(x, y + lean, smear)
    return light * sky.extinction / len(ALTITUDES)


def _fading(u, faintest, brightest):
    """Return the brightness of a form, which rises and falls within minutes."""
    level = between_log(u.brightness, faintest, brightest)
    return lambda minutes: np.float32(
        level * np.exp(0.5 * np.sin(2 * np.pi * u.pulse + minutes / 4))
    )


def _band(x, y, smear, band):
    """Return a band along x: sharp at its poleward edge, with a glow equatorward."""
    column = x.astype("i4")
    width = np.hypot(band.width, smear)
    s = (y - band.path.take(column, mode="wrap")) / width
    edge = np.exp(-(s**2)) * (band.width / width)
    glow = band.glow * np.exp(np.minimum(s, 0) / 6) * (s < 0)
    rays = band.rays.take(column, mode="wrap") / (1 + (smear / 8) ** 2)
    return (edge + glow) * band.level.take(column, mode="wrap") * np.exp(rays)


def make_arc(sky, u, site, rng):
    """Return one to three quiet, nearly magnetic east-west arcs that drift slowly."""
    count = 1 + int(3 * u.count)
    tilt = between(u.tilt, -0.35, 0.35)
    drift = between(u.drift, -4, 4)  # km per minute
    spacing = rng.choice([-1, 1]) * rng.uniform(50, 100)
    places = between(u.place, -230, 260) + spacing * np.arange(count)
    bands = [_draw_arc(rng, u, place) for place in places]
    fade = _fading(u, 1200, 9000)

    def light(minutes):
        def footprint(x, y, smear):
            x, y = _rotate(x, y, tilt)
            x, y = x + 6 * minutes, y - drift * minutes
            return sum(_band(x, y, smear, band) for band in bands)

        return fade(minutes) * _field_aligned(sky, site.orientation, footprint, 28)

    return light


def _draw_arc(rng, u, place):
    """Return one smooth band at a distance (km) north of the camera."""
    return SimpleNamespace(
        path=place + between(u.contrast, 3, 14) * noise_1d(rng, 1500, 260),
        level=rng.uniform(0.4, 1) * np.exp(0.4 * noise_1d(rng, 1200, 80)),
        width=np.float32(between_log(u.width, 8, 20) * rng.uniform(0.8, 1.25)),
        rays=0.06 * noise_1d(rng, 60, 10),
        glow=np.float32(0.12),
    )


def make_diffuse(sky, u, site, rng):
    """Return a broad soft glow of patches, some of which pulsate."""
    tilt = site.orientation + between(u.tilt, -0.35, 0.35)
    patches, phases = noise_2d(rng, 3.4), 3 * noise_2d(rng, 3)
    place, width = between(u.place, -200, 200), between_log(u.width, 90, 260)
    patchiness = np.float32(between(u.contrast, 0.15, 0.9))
    period = between_log(u.count, 1000, 2000)  # km, of the texture
    fade = _fading(u, 450, 2500)
    x, y, slant, *_ = sky.layers[1]
    x, y = _rotate(x, y, tilt)
    band = np.exp(-(((y - place) / width) ** 2)) * slant * sky.extinction

    def light(minutes):
        patch = look_up(patches, x + between(u.drift, -5, 5) * minutes, y, period)
        pulse = np.sin(look_up(phases, x, y, period) + 1.3 * minutes)
        island = 1 / (1 + np.exp(-2 * patch - 0.8 * pulse))
        return fade(minutes) * band * (1 - patchiness + 2 * patchiness * island)

    return light


def make_discrete(sky, u, site, rng):
    """Return folded, curling, rayed bands with sharp edges."""
    count = 2 + int(3 * u.count)
    tilt = between(u.tilt, -0.8, 0.8)
    bands = [_draw_rayed_band(rng, u) for _ in range(count)]
    vortices = [_draw_vortex(rng, u) for _ in range(4)]
    drift = between(u.drift, -12, 12)
    fade = _fading(u, 2000, 16000)

    def light(minutes):
        def footprint(x, y, smear):
            x, y = _rotate(x, y, tilt)
            x, y = _swirl(x - drift * minutes, y, vortices, minutes)
            return sum(_band(x, y, smear, band) for band in bands)

        return fade(minutes) * _field_aligned(sky, site.orientation, footprint, 55)

    return light


def _draw_rayed_band(rng, u):
    """Return one folded band with rays along it."""
    place = between(u.place, -200, 200) + rng.uniform(-150, 150)
    return SimpleNamespace(
        path=place + 30 * noise_1d(rng, 600, 110),
        level=np.exp(0.8 * noise_1d(rng, 900, 90)),
        width=np.float32(between_log(u.width, 4, 11) * rng.uniform(0.7, 1.4)),
        rays=between(u.contrast, 0.25, 0.5) * noise_1d(rng, 40, 7),
        glow=np.float32(0.06),
    )


def _swirl(x, y, vortices, minutes):
    """Wind the plane around vortices, which turns bands into folds and curls."""
    for x0, y0, reach, turn in vortices:
        dx, dy = x - x0, y - y0
        turned = np.float32(turn * (1 + 0.05 * minutes))
        angle = turned * np.exp(-(dx**2 + dy**2) / reach**2)
        c, s = np.cos(angle), np.sin(angle)
        x, y = x0 + c * dx + s * dy, y0 + c * dy - s * dx
    return x, y


def _draw_vortex(rng, u):
    """Return centre, reach (km) and winding (radians) of one vortex."""
    x, y = rng.normal(0, 170), between(u.place, -200, 200) + rng.normal(0, 110)
    turn = rng.choice([-1, 1]) * rng.uniform(0.8, 2.8)
    return np.float32([x, y, rng.uniform(40, 130), turn])


def make_clouds(sky, rng, cover, lit, smooth, thickest=1.0):
    """Return light and opacity of a drifting cloud deck that covers part of the sky."""
    texture = noise_2d(rng, between(smooth, 2.4, 3.4))
    east, north = sky.cloud_plane
    wind, origin = rng.normal(0, 0.12, 2), rng.uniform(0, 12, 2)
    threshold = np.float32(between(cover, 1.6, -2.2))
    back = _offsets(sky, *rng.uniform(-0.7, 0.7, 2))
    backlit = lit * (1 + rng.uniform(0, 1.5) * np.exp(-np.hypot(*back) / 0.4))
    ripple = np.float32(rng.uniform(0.1, 0.4))

    def clouds(minutes):
        x, y = origin + wind * minutes
        thickness = look_up(texture, east + x, north + y, 12.0)
        opacity = thickest / (1 + np.exp(np.float32(-3) * (thickness - threshold)))
        return backlit * np.exp(ripple * thickness), opacity

    return clouds


def make_moon(sky, u, site, rng):
    """Return the moon: overexposed disc, streak, ghost, aureole and moonlit sky."""
    zenith, azimuth = between(u.place, 0.2, 0.9), between(u.tilt, -np.pi, np.pi)
    phase = np.float32(between_log(u.brightness, 1, 6))
    core = between(u.width, 0.018, 0.045)
    streak = 9000 * max(u.contrast - 0.4, 0)
    ghost = rng.uniform(-0.7, -0.3), rng.uniform(0.04, 0.14), 700 * rng.random()

    def light(minutes):
        at = azimuth + EARTH_ROTATION * minutes
        x, y = zenith * np.sin(at), zenith * np.cos(at)
        dx, dy = _offsets(sky, x, y)
        away = np.hypot(dx, dy)
        glare = 1500 / (away + 0.08) + 80000 * np.exp(-((away / core) ** 4))
        bloom = streak * np.exp(-((dx / 0.012) ** 2) - (dy / 0.35) ** 2)
        reflection = _ghost(sky, ghost[0] * x, ghost[0] * y, *ghost[1:])
        return phase * (glare + bloom + reflection).astype("f4")

    return light


def _offsets(sky, x, y):
    """Return the offsets of all pixels from a point, in fisheye radii."""
    column = (np.arange(sky.size) - sky.size / 2) / sky.radius
    return column[None, :] - x, -column[:, None] - y


def _ghost(sky, x, y, reach, level):
    """Return a faint ring filled with light: a reflection inside the lens."""
    away = np.hypot(*_offsets(sky, x, y))
    rim = np.exp(-(((away - reach) / 0.02) ** 2))
    return level * (rim + 0.6 * (away < reach))


def make_twilight(sky, azimuth, level):
    """Return the glow of the sun below the horizon."""
    toward = 0.5 + 0.5 * np.cos(sky.azimuth - azimuth)
    height = np.minimum(sky.distance, 1)
    return level * (0.06 + toward**2 * np.exp((height - 1) * 5)) * height


def make_celestial_sphere(rng, n_stars=1600):
    """Return directions (3, n_stars) and brightnesses (n_stars,) of the stars."""
    directions = rng.standard_normal((3, n_stars))
    flux = 90 * rng.uniform(1e-3, 1, n_stars) ** (-1 / 1.1)
    return directions / np.linalg.norm(directions, axis=0), flux


def turn_sphere(latitude, hour_angle, orientation=0.0):
    """Return the rotation from the frame of the stars to right, top of frame, up."""
    c, s = np.cos(hour_angle), np.sin(hour_angle)
    spin = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    c, s = np.cos(latitude), np.sin(latitude)
    to_horizon = np.array([[1, 0, 0], [0, -s, c], [0, c, s]])
    c, s = np.cos(orientation), np.sin(orientation)
    to_camera = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return to_camera @ to_horizon @ spin


def stars_light(sky, sphere, turn):
    """Return the stars above the horizon, each spread over its nearest pixels."""
    directions, flux = sphere
    east, north, up = turn @ directions
    reach = (
        np.arccos(up)
        / (np.pi / 2)
        * sky.radius
        / np.maximum(np.hypot(east, north), 1e-9)
    )
    column, row = sky.size / 2 + reach * east, sky.size / 2 - reach * north
    shine = flux * (up > 0.05) * np.exp(-0.12 / (np.abs(up) + 0.05)) * sky.size / 256
    light = np.zeros(sky.size**2)
    for i in (0, 1):
        for j in (0, 1):
            r, c = np.floor(row).astype(int) + i, np.floor(column).astype(int) + j
            weight = (1 - np.abs(row - r)) * (1 - np.abs(column - c)) * shine
            kept = (r >= 0) & (r < sky.size) & (c >= 0) & (c < sky.size) & (up > 0.05)
            light += np.bincount((r * sky.size + c)[kept], weight[kept], sky.size**2)
    return light.reshape(sky.size, sky.size).astype("f4")


def milky_way_light(sky, turn):
    """Return the faint band of the Milky Way."""
    pole = (turn @ MILKY_WAY_POLE).astype("f4")
    latitude = np.tensordot(pole, sky.direction, axes=1)
    return 70 * np.exp(-((latitude / 0.18) ** 2)) * sky.extinction
