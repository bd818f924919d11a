import tracemalloc
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from real_data import oath_paths, read_cdf_frames, read_pgm_frames

from sksimclr import AuroraPreprocessor, _preprocessing
from sksimclr._files.readers import read_image
from sksimclr._images.sky import field_of_view, percentile_limits


def equation_1(frame, radius=0.85, center=None, percentiles=(1, 99)):
    """Equation (1) of the paper, one frame at a time, as it stands."""
    height, width = frame.shape
    row, column = center or (height / 2, width / 2)
    rows, columns = np.mgrid[:height, :width]
    distance = np.hypot(rows - row, columns - column)
    inside = distance <= radius * min(height, width) / 2
    low, high = np.percentile(frame[inside].astype(float), percentiles)
    return np.where(inside, np.clip((frame - low) / (high - low), 0, 1), 0)


@pytest.fixture
def frames(rng):
    """Frames like raw ones, but wide: uint16, a bias, noise and bright spots."""
    return (3000 + rng.gamma(2.0, 2000.0, (9, 48, 64))).astype(np.uint16)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32, np.float64, ">u2"])
@pytest.mark.parametrize("block_pixels", [1, 1 << 19])
def test_equals_equation_1(frames, dtype, block_pixels, monkeypatch):
    """Whatever the numbers are stored as, in one block and frame by frame."""
    monkeypatch.setattr(_preprocessing, "_BLOCK_PIXELS", block_pixels)
    expected = [equation_1(frame)[:, 8:56] for frame in frames]
    processed = AuroraPreprocessor().fit_transform(frames.astype(dtype))
    assert processed.dtype == np.float32
    assert_allclose(processed, expected, atol=3e-7)


def test_parameters_of_equation_1(frames):
    """Radius, centre and percentiles mean what they say."""
    params = {"radius": 0.6, "center": (20, 33.5), "percentiles": (5, 90)}
    processed = AuroraPreprocessor(**params).fit_transform(frames)
    expected = [equation_1(frame, **params)[:, 10:58] for frame in frames]
    assert_allclose(processed, expected, atol=3e-7)


def test_percentiles_over_the_whole_frame(frames):
    """`percentiles_over="frame"` includes what is cropped afterwards."""
    processed = AuroraPreprocessor(percentiles_over="frame").fit_transform(frames)
    limits = np.percentile(frames, (1, 99), axis=(1, 2)).T
    field = field_of_view((48, 64), 0.85, None)
    expected = np.clip((frames[3] - limits[3, 0]) / np.ptp(limits[3]), 0, 1) * field
    assert_allclose(processed[3], expected[:, 8:56], atol=3e-7)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.int64])
@pytest.mark.parametrize("n_pixels", [2, 3, 101, 4096])
@pytest.mark.parametrize("percentiles", [(0, 100), (1, 99), (33.3, 50), (0.01, 99.99)])
def test_percentiles_equal_numpys(dtype, n_pixels, percentiles, rng):
    """Exactly, to the last bit, for all integers."""
    info = np.iinfo(dtype)
    frames = rng.integers(info.min, info.max, (3, 1, n_pixels), dtype, endpoint=True)
    field = np.ones((1, n_pixels), dtype=bool)
    expected = np.percentile(frames.astype(float), percentiles, axis=(1, 2)).T
    assert_array_equal(percentile_limits(frames, field, percentiles), expected)


def column_stripes(n):
    """Return values that repeat with the rows of an image."""
    return np.tile(np.arange(64), n // 64) ** 2


def hidden_from_the_sample(n):
    """Return values of which each 32nd, and those near it, are not like the others."""
    values = np.arange(n)[::-1].copy()
    for shift in range(-3, 4):
        values[16 + shift :: 33] = 0
    return values


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("percentiles", [(0, 100), (1, 99), (25, 50), (0.001, 99.9)])
@pytest.mark.parametrize(
    "make",
    [
        np.arange,
        np.zeros,
        column_stripes,
        hidden_from_the_sample,
        lambda n: np.arange(n) % 2,
        lambda n: np.arange(n) < n // 100,
        lambda n: np.arange(n) == n - 1,
    ],
)
def test_percentiles_of_images_that_no_sample_shows(make, percentiles, dtype):
    """Stripes, ties, a few bright pixels: a sample that misleads changes nothing."""
    frames = make(256 * 256).reshape(1, 256, 256).astype(dtype)
    field = np.ones((256, 256), dtype=bool)
    expected = np.percentile(frames.astype(float), percentiles, axis=(1, 2)).T
    assert_array_equal(percentile_limits(frames, field, percentiles), expected)
    assert_array_equal(percentile_limits(frames[:0], field, percentiles).shape, (0, 2))


def test_field_of_view_is_that_of_the_released_images():
    """37,177 pixels around (127, 128), the furthest at exactly 108.8."""
    field = field_of_view((256, 256), 0.85, (127, 128))
    assert field.sum() == 37_177
    rows, columns = np.nonzero(field)
    assert np.hypot(rows - 127, columns - 128).max() <= 108.8
    assert_array_equal(field_of_view((256, 256), 0.85, None)[1:], field[:-1])


def test_layouts_are_kept(frames):
    """Rows stay rows, one channel stays one channel, paths become frames."""
    expected = AuroraPreprocessor().fit_transform(frames)
    rows = AuroraPreprocessor(image_shape=(48, 64)).fit_transform(frames.reshape(9, -1))
    assert_array_equal(rows, expected.reshape(9, -1))
    channel = AuroraPreprocessor().fit_transform(frames[..., None])
    assert_array_equal(channel, expected[..., None])


def test_memory_maps_and_files(frames, tmp_path):
    """Both give what the array gives."""
    expected = AuroraPreprocessor().fit_transform(frames)
    lazy = np.memmap(tmp_path / "frames", np.uint16, "w+", shape=frames.shape)
    lazy[:] = frames
    assert_array_equal(AuroraPreprocessor().fit_transform(lazy), expected)
    paths = [tmp_path / f"{k}.png" for k in range(9)]
    for path, frame in zip(paths, frames, strict=True):
        Image.fromarray(frame).save(path)
    assert_array_equal(AuroraPreprocessor().fit_transform(paths), expected)


def test_the_only_channel_with_signal_is_taken(frames):
    """Green alone gives what grey frames give, exactly; so does grey and alpha."""
    expected = AuroraPreprocessor().fit_transform(frames)
    for channel in range(3):
        colour = np.zeros((*frames.shape, 3), frames.dtype)
        colour[..., channel] = frames
        processed = AuroraPreprocessor().fit_transform(colour)
        assert_array_equal(processed[..., 0], expected)
    with_alpha = np.stack([frames, np.full_like(frames, 65535)], axis=-1)
    assert_array_equal(AuroraPreprocessor().fit_transform(with_alpha)[..., 0], expected)


def test_colours_become_luminance(rng):
    """As Pillow's mode L, frame by frame, with single-channel frames among them."""
    colour = rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    colour[2, ..., [0, 2]] = 0
    processed = AuroraPreprocessor().fit_transform(colour)[..., 0]
    grey = np.array(Image.fromarray(colour[1]).convert("L"))
    assert_allclose(processed[1], equation_1(grey), atol=0.01)  # Pillow rounds
    exact = colour[1] @ np.array([0.299, 0.587, 0.114])
    assert_allclose(processed[1], equation_1(exact), atol=1e-6)
    assert_allclose(processed[2], equation_1(colour[2, ..., 1]), atol=3e-7)


def test_colours_may_be_others_than_in_fit(frames):
    """Grey, grey and alpha, RGB, RGBA or green alone: one camera, one result."""
    opaque = np.full_like(frames, 65535)
    forms = [
        frames,
        np.stack([frames, opaque], axis=3),
        np.stack([frames] * 3, axis=3),
        np.stack([frames, frames, frames, opaque], axis=3),
        np.stack([0 * frames, frames, 0 * frames], axis=3),
    ]
    expected = AuroraPreprocessor().fit_transform(frames)
    for seen in forms:
        fitted = AuroraPreprocessor().fit(seen)
        for form in forms:
            found = fitted.transform(form)
            assert found.shape == expected.shape + (1,) * (form.ndim - 3)
            assert_allclose(found.reshape(expected.shape), expected, atol=1e-6)
    with pytest.raises(ValueError, match="was fitted on images of shape"):
        fitted.transform(frames[:, :-2])


def test_size_resizes_antialiased(frames):
    """Close to Pillow's antialiased resize; `uint8` rounds."""
    full = AuroraPreprocessor().fit_transform(frames)
    small = AuroraPreprocessor(size=16).fit_transform(frames)
    expected = np.asarray(Image.fromarray(full[0]).resize((16, 16), Image.BILINEAR))
    assert small.shape == (9, 16, 16)
    assert_allclose(small[0], expected, atol=1e-5)
    bytes_ = AuroraPreprocessor(size=16, dtype="uint8").fit_transform(frames)
    assert bytes_.dtype == np.uint8
    assert_array_equal(bytes_, np.rint(small * 255))


def circles(shape, center, limit):
    """Return a frame whose field of view is white, with a darker half."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    inside = (rows - center[0]) ** 2 + (columns - center[1]) ** 2 <= limit**2
    return inside * np.where(columns < center[1], 1000, 2000).astype(np.uint16)


@pytest.mark.parametrize("size", [None, 32])
@pytest.mark.parametrize(
    ("shape", "center"), [((72, 128), None), ((128, 72), None), ((72, 128), (36, 90))]
)
def test_circle_of_wide_frames_stays_a_circle(shape, center, size):
    """What comes out is that of the square frame around it."""
    point = center or (shape[0] / 2, shape[1] / 2)
    limit = 0.85 * 36
    wide = circles(shape, point, limit)
    top, left = np.clip(np.subtract(point, 36), 0, np.subtract(shape, 72)).astype(int)
    square = wide[top : top + 72, left : left + 72]
    found = AuroraPreprocessor(center=center, size=size).fit_transform(wide[None])
    expected = AuroraPreprocessor(center=None, size=size).fit_transform(square[None])
    assert found.shape == (1, size or 72, size or 72)
    np.testing.assert_array_equal(found, expected)


def test_circle_that_frames_cut_stays_a_circle():
    """As wide as the frame, and higher: the square reaches beyond it."""
    wide = circles((72, 128), (36, 64), 60)
    preprocessor = AuroraPreprocessor(radius=60 / 36)
    found = preprocessor.fit_transform(wide[None])
    assert found.shape == (1, 121, 121)
    assert preprocessor.get_feature_names_out().shape == (121**2,)
    filled = np.flatnonzero(found[0].any(axis=1))
    assert (filled[0], filled[-1] + 1) == (25, 25 + 72)  # row 60 is the middle one


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_idempotent_up_to_rounding(frames, dtype):
    """Processed once more, nothing changes by more than a rounding step."""
    preprocessor = AuroraPreprocessor(dtype=dtype)
    once = preprocessor.fit_transform(frames)
    scale = 255 if dtype == "uint8" else 1
    again = preprocessor.fit_transform(once)
    assert_allclose(again / scale, once / scale, atol=0.005)


@pytest.mark.parametrize("block_pixels", [1, 1 << 19])
def test_frames_without_contrast_become_zeros_with_one_warning(
    frames, block_pixels, monkeypatch
):
    """All of them are listed, and the others are not touched."""
    monkeypatch.setattr(_preprocessing, "_BLOCK_PIXELS", block_pixels)
    frames[2] = 1234
    frames[5, 1:, 1:] = 7  # contrast outside the field of view alone
    with pytest.warns(UserWarning, match=r"2 frame\(s\).*image 2, image 5") as caught:
        processed = AuroraPreprocessor(radius=0.5).fit_transform(frames)
    assert len(caught) == 1
    assert not processed[[2, 5]].any()
    assert processed[[0, 1, 3, 4, 6, 7, 8]].any(axis=(1, 2)).all()
    with pytest.warns(UserWarning, match="image 9 and 20 more"):
        AuroraPreprocessor().fit_transform(np.zeros((30, 16, 16)))


def test_flat_files_are_named(tmp_path):
    """The warning has the file's name."""
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(tmp_path / "dark.png")
    with pytest.warns(UserWarning, match="dark.png"):
        AuroraPreprocessor().fit_transform([tmp_path / "dark.png"])


def test_works_without_fit(frames):
    """It is stateless."""
    assert_array_equal(
        AuroraPreprocessor().transform(frames),
        AuroraPreprocessor().fit_transform(frames),
    )


def test_input_is_not_changed(frames):
    """Neither arrays nor read-only arrays."""
    before = frames.copy()
    frames.flags.writeable = False
    AuroraPreprocessor().fit_transform(frames)
    assert_array_equal(frames, before)


@pytest.mark.parametrize("n_cores", [1, 64])
def test_memory_is_input_output_and_at_most_64_mb(n_cores, monkeypatch):
    """Measured on 400 frames of 256 x 256, whose output takes 105 MB."""
    monkeypatch.setattr(_preprocessing, "cpu_count", lambda: n_cores)
    frames = np.random.default_rng(0).integers(
        0, 65535, (400, 256, 256), dtype=np.uint16
    )
    colour = np.repeat(frames[:150, ..., None], 3, axis=3)
    for X in (frames, frames[..., :128].astype(np.float64), colour):
        preprocessor = AuroraPreprocessor()
        tracemalloc.start()
        processed = preprocessor.fit_transform(X)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak - processed.nbytes < 64e6


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"radius": 0}, "'radius' parameter of AuroraPreprocessor"),
        ({"radius": -1.0}, "'radius' parameter of AuroraPreprocessor"),
        ({"percentiles": (99, 1)}, r"percentiles must be two increasing.*\(99, 1\)"),
        ({"percentiles": (1, 101)}, "between 0 and 100"),
        ({"percentiles": (1, "a")}, "percentiles must be two"),
        ({"percentiles_over": "disc"}, "'percentiles_over' parameter"),
        ({"size": 0}, "'size' parameter"),
        ({"dtype": "float16"}, "'dtype' parameter"),
        ({"center": (500, 500)}, r"No pixel.*center=\(500.0, 500.0\)"),
        ({"center": (1, 2, 3)}, r"center must be.*\(1, 2, 3\)"),
        ({"center": ("a", 5)}, r"center must be.*\('a', 5\)"),
        ({"image_shape": (5, 5)}, "do not fit image_shape"),
    ],
)
def test_bad_parameters(frames, params, message):
    """The error names the parameter and what it got, in `fit` and without it."""
    X = frames.reshape(9, -1) if "image_shape" in params else frames
    preprocessor = AuroraPreprocessor(**params)
    for method in (preprocessor.fit, preprocessor.transform):
        with pytest.raises(ValueError, match=message):
            method(X)


def test_other_width_than_in_fit(frames):
    """What `fit` saw is what `transform` expects."""
    preprocessor = AuroraPreprocessor().fit(frames)
    with pytest.raises(ValueError, match=r"\(48, 60\).*fitted on.*\(48, 64\)"):
        preprocessor.transform(frames[:, :, :60])


# Real frames


def test_released_images_hardly_change(real_data):
    """By at most 0.2 % of full scale: equation (1) was applied inside the disc."""
    paths = oath_paths(real_data)
    assert len(paths) == 5
    processed = AuroraPreprocessor(center=(127, 128)).fit_transform(paths)
    for path, image in zip(paths, processed, strict=True):
        green = read_image(path)[..., 1] / 65535
        assert np.abs(image - green).max() <= 0.002


@pytest.mark.parametrize(
    ("read", "n_frames"), [(read_pgm_frames, 40), (read_cdf_frames, 23)]
)
def test_raw_themis_frames(real_data, read, n_frames):
    """Real frames are stretched as equation (1) says, without a warning."""
    if read is read_cdf_frames:
        pytest.importorskip("cdflib")
    frames = read(real_data)
    assert frames.shape == (n_frames, 256, 256) and frames.dtype == np.uint16
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        processed = AuroraPreprocessor().fit_transform(frames)
    assert_allclose(processed, [equation_1(frame) for frame in frames], atol=3e-7)
