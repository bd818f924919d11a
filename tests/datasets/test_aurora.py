"""Tests of make_aurora: its contract, its physics, its leak and its difficulty."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GroupKFold,
    StratifiedGroupKFold,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sksimclr.datasets import make_aurora
from sksimclr.model_selection import NearestIndexClassifier

CLASSES = ["arc", "diffuse", "discrete", "cloudy", "moon", "noaurora"]


@pytest.fixture(scope="module")
def data():
    """Return the data set of the main example."""
    return make_aurora(800, size=64, random_state=0)


@pytest.fixture(scope="module")
def sharp():
    """Return a few frames of full size."""
    return make_aurora(36, n_sequences=36, random_state=0)


def distance_from_centre(size):
    """Return the distance of each pixel from the centre, in half frames."""
    offset = (np.arange(size) - size / 2) / (size / 2)
    return np.hypot(offset[:, None], offset)


def preprocess(images):
    """Scale the inner disc between its percentiles 1 and 99: equation (1)."""
    disc = distance_from_centre(images.shape[1]) <= 0.85
    low, high = np.percentile(images[:, disc], [1, 99], axis=1)[:, :, None, None]
    return np.clip((images - low) / (high - low), 0, 1) * disc


def small_pixels(images):
    """Return preprocessed frames as rows of 32 x 32 block means."""
    n, block = len(images), images.shape[1] // 32
    blocks = preprocess(images).reshape(n, 32, block, 32, block)
    return blocks.mean(axis=(2, 4)).reshape(n, -1)


def pixel_score(data, cv):
    """Return the accuracy of logistic regression on small pixels."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    X = small_pixels(data.images)
    return cross_val_score(model, X, data.target, groups=data.groups, cv=cv).mean()


def held_out_score(data):
    """Return the pixel score on held-out sequences."""
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    return pixel_score(data, folds)


def index_score(data, cv):
    """Return the accuracy of copying the label of the nearest frame in time."""
    X = np.arange(len(data.target))[:, None]
    model = NearestIndexClassifier()
    return cross_val_score(model, X, data.target, groups=data.groups, cv=cv).mean()


def of_class(data, name):
    """Return the frames of one class as floats."""
    return data.images[data.target == CLASSES.index(name)].astype(float)


def test_shapes_and_types(data):
    """Every array has the documented shape and type."""
    assert data.images.shape == (800, 64, 64)
    assert data.images.dtype == np.uint16
    for name in ("target", "target_aurora", "groups", "sequences"):
        assert data[name].shape == (800,)
        assert data[name].dtype == np.int64


def test_labels_follow_oath(data):
    """Classes are numbered as class6 of OATH, aurora or not as class2."""
    assert data.target_names == CLASSES
    assert set(data.target) == set(range(6))
    assert np.array_equal(data.target_aurora, np.where(data.target < 3, 0, 1))


def test_default_size_is_that_of_themis(sharp):
    """Frames are 256 pixels wide unless told otherwise."""
    assert sharp.images.shape == (36, 256, 256)


def test_folds_are_random_splits(data):
    """The folds are five 70/30 splits of all frames."""
    assert len(data.folds) == 5
    for train, test in data.folds:
        assert len(train) == 560
        assert np.array_equal(np.sort(np.r_[train, test]), np.arange(800))


def test_describes_itself(data):
    """DESCR says what the images are not."""
    assert "no measurement" in data.DESCR


def test_same_seed_same_frames():
    """An int determines every pixel; another int gives other pixels."""
    first, again = (make_aurora(9, size=24, random_state=3) for _ in range(2))
    other = make_aurora(9, size=24, random_state=4)
    assert np.array_equal(first.images, again.images)
    assert np.array_equal(first.target, again.target)
    assert not np.array_equal(first.images, other.images)


def test_random_state_instance_moves_on():
    """A RandomState is used as given: equal ones agree, a used one goes on."""
    a, b = np.random.RandomState(3), np.random.RandomState(3)
    first = make_aurora(6, size=16, random_state=a)
    assert np.array_equal(first.images, make_aurora(6, size=16, random_state=b).images)
    assert not np.array_equal(
        first.images, make_aurora(6, size=16, random_state=a).images
    )


def test_global_random_state_untouched():
    """Numpy's global generator stays where it was when an int is given."""
    before = np.random.get_state()
    make_aurora(6, size=16, random_state=0)
    after = np.random.get_state()
    assert np.array_equal(before[1], after[1])
    assert before[2:] == after[2:]


def test_classes_have_the_same_number_of_sequences(data):
    """Sequences are dealt evenly to the classes, in no fixed order."""
    _, first = np.unique(data.groups, return_index=True)
    kinds = data.target[first]
    counts = np.bincount(kinds)
    assert counts.max() - counts.min() <= 1
    assert not np.array_equal(kinds[:12], np.arange(12) % 6)


@pytest.mark.parametrize(
    ("n_samples", "n_sequences", "expected"),
    [(800, None, 160), (12, None, 6), (4, None, 4), (1, None, 1), (10, 3, 3)],
)
def test_number_of_sequences(n_samples, n_sequences, expected):
    """Sequences number a fifth of the frames, and at least six where possible."""
    made = make_aurora(n_samples, size=16, n_sequences=n_sequences, random_state=0)
    assert len(set(made.groups)) == expected


def test_sequences_are_contiguous(data):
    """Frames come sequence by sequence, each of one class and about one length."""
    assert set(np.diff(data.groups)) == {0, 1}
    np.testing.assert_array_equal(data.sequences, data.groups)
    sizes = np.bincount(data.groups)
    assert sizes.max() - sizes.min() <= 1
    for group in np.unique(data.groups):
        assert len(set(data.target[data.groups == group])) == 1


def test_neighbours_in_a_sequence_look_alike(data):
    """Preprocessed neighbours correlate more than frames of other sequences."""
    X = small_pixels(data.images)
    X = X - X.mean(axis=0)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    neighbours = np.sum(X[1:] * X[:-1], axis=1)
    within = np.diff(data.groups) == 0
    strangers = np.sum(X[: -len(X) // 2] * X[len(X) // 2 :], axis=1)
    assert neighbours[within].mean() > strangers.mean() + 0.5


def test_corners_hold_bias_and_read_noise(sharp):
    """Outside the lens there is only the pedestal with some 20 counts of noise."""
    corner = sharp.images[:, distance_from_centre(256) > 1.05].astype(float)
    assert np.all((corner.mean(axis=1) > 2200) & (corner.mean(axis=1) < 3700))
    assert np.all((corner.std(axis=1) > 15) & (corner.std(axis=1) < 25))


def test_sky_is_brighter_than_the_corners(sharp):
    """Airglow lifts every pixel well inside the lens above the pedestal."""
    distance = distance_from_centre(256)
    sky = np.median(sharp.images[:, distance < 0.8], axis=1)
    corner = np.median(sharp.images[:, distance > 1.05], axis=1)
    assert np.all(sky > corner + 100)


def test_noise_grows_with_the_signal(sharp):
    """Shot noise: bright sky is noisier, by about the square root of the signal."""
    distance = distance_from_centre(256)
    frame = of_class(sharp, "moon")[0]
    signal = frame - np.median(frame[distance > 1.05])
    bend = frame[:, 2:] - 2 * frame[:, 1:-1] + frame[:, :-2]
    expected = np.sqrt(6 * (20**2 + 2 * signal[:, 1:-1]))
    ratio = (bend / expected)[distance[:, 1:-1] < 0.8]
    assert np.median(np.abs(ratio)) / 0.6745 == pytest.approx(1, rel=0.1)


def test_clear_sky_brightens_towards_the_horizon(sharp):
    """Airglow is seen through a longer path near the limb (van Rhijn)."""
    distance = distance_from_centre(256)
    for frame in of_class(sharp, "noaurora"):
        zenith = np.median(frame[distance < 0.2])
        limb = np.median(frame[(distance > 0.7) & (distance < 0.8)])
        assert limb > zenith + 50


def star_count(frames):
    """Return the number of pixels that stand out from their four neighbours."""
    around = [np.roll(frames, step, axis) for axis in (1, 2) for step in (-2, 2)]
    excess = frames - np.max(around, axis=0)
    return np.sum((excess > 250) & (distance_from_centre(256) < 0.8), axis=(1, 2))


def test_clouds_hide_stars(sharp):
    """A clear sky shows many more stars than a cloudy one."""
    clear, cloudy = of_class(sharp, "noaurora"), of_class(sharp, "cloudy")
    assert np.median(star_count(clear)) > 40
    assert np.median(star_count(cloudy)) < np.median(star_count(clear)) / 3


def test_stars_turn_with_the_earth():
    """The celestial sphere turns about its pole by 15 degrees an hour."""
    from sksimclr.datasets import _aurora_forms as forms

    start, later = (forms.turn_sphere(1.1, t * forms.EARTH_ROTATION) for t in (0, 60))
    angle = np.arccos((np.trace(later @ start.T) - 1) / 2)
    assert np.rad2deg(angle) == pytest.approx(15)
    pole = np.array([0, 0, 1])
    assert np.allclose(start @ pole, later @ pole)
    assert np.arcsin((start @ pole)[2]) == pytest.approx(1.1)


def test_only_the_moon_saturates_a_disc(sharp):
    """The moon is overexposed over many pixels; clear sky at most in a few stars."""
    full = np.sum(sharp.images == 65535, axis=(1, 2))
    moon = sharp.target == CLASSES.index("moon")
    assert np.median(full[moon]) > 30
    assert np.max(full[sharp.target == CLASSES.index("noaurora")]) < 30


def test_arcs_are_thinner_than_diffuse_aurora():
    """Arcs vary over fewer degrees than diffuse aurora, with noise averaged out."""
    made = make_aurora(240, size=64, n_sequences=240, random_state=1)
    X = preprocess(made.images)
    step = np.abs(np.diff(X, axis=1)).mean(axis=(1, 2)) / X.std(axis=(1, 2))
    arc, diffuse = (np.median(step[made.target == k]) for k in (0, 1))
    assert arc > 1.2 * diffuse


def test_sequence_order_leaks_through_random_folds(data):
    """The frame number alone tells the class on random folds, not on held-out ones."""
    assert index_score(data, data.folds) > 0.8
    assert index_score(data, GroupKFold(5)) < 0.35


def test_pixels_are_hard_on_held_out_sequences_only(data):
    """Pixels score 45 to 75 % on held-out sequences, far more on random folds."""
    honest = held_out_score(data)
    random = pixel_score(data, data.folds)
    assert 0.45 < honest < 0.75
    assert random > honest + 0.1


@pytest.mark.slow
def test_draws_are_equally_hard():
    """Five draws differ by less than 5 points, given enough sequences to average."""
    params = {"n_samples": 960, "size": 64, "n_sequences": 480}
    draws = [make_aurora(**params, random_state=seed) for seed in range(5)]
    scores = [pixel_score(draw, GroupKFold(2)) for draw in draws]
    assert min(scores) > 0.45
    assert max(scores) < 0.75
    assert np.ptp(scores) < 0.05


@pytest.mark.parametrize("n_samples", [1, 2, 5, 7])
def test_few_frames(n_samples):
    """Fewer frames than classes are fine."""
    made = make_aurora(n_samples, size=16, random_state=0)
    assert made.images.shape == (n_samples, 16, 16)
    assert len(set(made.target)) == min(n_samples, 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_samples": 0}, "n_samples must be an integer at least 1; got 0"),
        ({"n_samples": 2.5}, "n_samples must be an integer at least 1; got 2.5"),
        ({"n_samples": True}, "n_samples must be an integer at least 1; got True"),
        ({"n_samples": 4, "size": 8}, "size must be an integer at least 16; got 8"),
        (
            {"n_samples": 4, "n_sequences": 5},
            "n_sequences must be an integer from 1 to 4; got 5",
        ),
        (
            {"n_samples": 4, "n_sequences": 0},
            "n_sequences must be an integer from 1 to 4; got 0",
        ),
    ],
)
def test_errors_name_the_bound(arguments, message):
    """A wrong argument says what was expected and what was got."""
    with pytest.raises(ValueError, match=message):
        make_aurora(**arguments)
