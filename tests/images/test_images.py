import contextlib
import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from PIL import Image
from png import write_png_16
from sklearn.base import BaseEstimator

from sksimclr._estimators.validation import check_images
from sksimclr._files.readers import read_image
from sksimclr._images.images import FileImages, as_images


class Estimator(BaseEstimator):
    """The least that `check_images` needs."""

    def __init__(self, image_shape=None):
        self.image_shape = image_shape


def batch_of(X, image_shape=None):
    """Return all of X as the network gets it."""
    images = check_images(Estimator(image_shape), X, reset=True)
    return images.batch(slice(0, len(images)))


@pytest.fixture
def grey(rng):
    """Six grey images of 5 x 7 pixels."""
    return rng.integers(0, 256, (6, 5, 7), dtype=np.uint8)


@pytest.fixture
def grey_files(grey, tmp_path):
    """Write the same six images to PNG files."""
    paths = [tmp_path / f"{k}.png" for k in range(6)]
    for path, image in zip(paths, grey, strict=True):
        Image.fromarray(image).save(path)
    return paths


def test_all_forms_of_the_same_images_give_the_same_batch(grey, grey_files, tmp_path):
    """Arrays, lists, flattened rows, memory maps, HDF5, tensors and files."""
    expected = grey[:, None]
    flattened = grey.reshape(6, 35)
    memory_map = np.memmap(tmp_path / "m", np.uint8, "w+", shape=grey.shape)
    memory_map[:] = grey
    read_only = grey.copy()
    read_only.flags.writeable = False
    with h5py.File(tmp_path / "images.h5", "w") as file:
        for form, shape in [
            (grey, None),
            (grey[..., None], None),
            (list(grey), None),
            (np.asfortranarray(grey), None),
            (flattened, (5, 7)),
            (flattened, [5, 7, 1]),
            (memory_map, None),
            (memory_map.reshape(6, 35), (5, 7)),
            (read_only, None),
            (file.create_dataset("grey", data=grey), None),
            (file.create_dataset("flattened", data=flattened), (5, 7)),
            (torch.from_numpy(grey), None),
            (grey_files, None),
            ([str(path) for path in grey_files], None),
            (np.array([str(path) for path in grey_files]), None),
            (pd.Series([str(path) for path in grey_files]), None),
        ]:
            batch = batch_of(form, shape)
            np.testing.assert_array_equal(batch, expected)
            assert batch.dtype == np.uint8
            assert batch.flags.writeable and batch.flags.c_contiguous


def test_data_frame_of_flattened_rows(grey):
    """Column names are remembered, as scikit-learn does."""
    estimator = Estimator((5, 7))
    frame = pd.DataFrame(grey.reshape(6, 35), columns=[f"p{k}" for k in range(35)])
    images = check_images(estimator, frame, reset=True)
    np.testing.assert_array_equal(images.batch([0, 3]), grey[[0, 3], None])
    assert estimator.feature_names_in_[3] == "p3"


def test_channels_come_first_in_a_batch(rng):
    """(n, H, W, C) becomes (n, C, H, W)."""
    colour = rng.integers(0, 256, (4, 5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(batch_of(colour), colour.transpose(0, 3, 1, 2))


def test_rows_are_read_in_the_order_asked_for(grey, tmp_path):
    """Also by HDF5, which wants increasing row numbers without repetition."""
    rows = np.array([4, 1, 1, 5])
    with h5py.File(tmp_path / "images.h5", "w") as file:
        lazy = as_images(file.create_dataset("grey", data=grey))
        np.testing.assert_array_equal(lazy.batch(rows), grey[rows, None])
    np.testing.assert_array_equal(as_images(grey).batch(rows), grey[rows, None])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, ">u2"])
def test_short_integers_are_scaled_by_their_maximum(dtype):
    """The type's largest value becomes 1 (uint8 only on the device)."""
    top = np.iinfo(np.dtype(dtype)).max
    X = np.full((2, 4, 4), top, dtype=dtype)
    batch = batch_of(X)
    assert batch.dtype == (np.uint8 if dtype == np.uint8 else np.float32)
    np.testing.assert_allclose(batch / (255 if dtype == np.uint8 else 1), 1)


@pytest.mark.parametrize("dtype", [bool, np.int64, np.float16, np.float32, np.float64])
def test_other_numbers_are_taken_as_they_are(dtype):
    """Floats, long integers and booleans only become float32."""
    X = np.ones((2, 4, 4), dtype=dtype)
    batch = batch_of(X)
    assert batch.dtype == np.float32
    np.testing.assert_array_equal(batch, 1)


@pytest.mark.parametrize(
    ("n_features", "image_shape", "expected"),
    [(9, None, (3, 3)), (12, None, (1, 12)), (12, (2, 2, 3), (2, 2, 3))],
)
def test_shape_of_flattened_rows(n_features, image_shape, expected):
    """Square if it can be, else one strip; `image_shape` decides."""
    estimator = Estimator(image_shape)
    check_images(estimator, np.zeros((3, n_features)), reset=True)
    assert estimator.image_shape_ == expected
    assert estimator.n_features_in_ == n_features


def test_rows_fit_an_estimator_that_saw_images(grey):
    """After images, `transform` also takes them flattened, and with one channel."""
    estimator = Estimator()
    check_images(estimator, grey, reset=True)
    for form in (grey.reshape(6, 35), grey[..., None]):
        images = check_images(estimator, form, reset=False)
        np.testing.assert_array_equal(images.batch([2]), grey[2:3, None])


def test_memory_map_is_not_read_whole(tmp_path):
    """NaN in an image that is not asked for stays unseen; one that is, is named."""
    lazy = np.memmap(tmp_path / "m", np.float32, "w+", shape=(10, 4, 4))
    lazy[7] = np.nan
    images = check_images(Estimator(), lazy, reset=True)
    assert np.isfinite(images.batch([0, 6])).all()
    with pytest.raises(ValueError, match="NaN or infinity.*first in image 7"):
        images.batch([3, 7])
    with pytest.raises(ValueError, match="NaN or infinity.*first in image 7"):
        images.batch(slice(5, 9))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(5, 4, 4), (5, 4, 4, 3), (5, 16)])
def test_not_finite_is_named_at_once(bad, shape):
    """The first image with NaN or infinity, in every layout."""
    X = np.zeros(shape)
    X.reshape(5, -1)[3, 2] = bad
    X.reshape(5, -1)[4, 0] = bad
    with pytest.raises(ValueError, match="NaN or infinity.*first in image 3"):
        check_images(Estimator(), X, reset=True)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((3, 2, 4, 4, 1)), "got an array of shape"),
        (np.zeros((3, 3, 8, 8)), r"np.moveaxis\(X, 1, -1\)"),
        (np.zeros((3, 8, 8, 5)), "1 to 4"),
        (np.zeros((3, 0, 8)), "at least one pixel"),
        (np.zeros((0, 8, 8)), "0 sample"),
        (np.zeros((0, 8)), "0 sample"),
        (np.zeros(5), "Expected 2D array, got 1D array"),
        ([], "X is empty"),
        (iter([np.eye(4)]), "Use list"),
        (pd.DataFrame({"file": ["a.png"], "night": [3]}), r"X\['file'\]"),
        (pl.DataFrame({"file": ["a.png"], "night": [3]}), r"X\['file'\]"),
        ([np.zeros((4, 4)), np.zeros((4, 5))], r"\(4, 5\) in image 1"),
        (np.array([[["a"]]]), "Unable to convert|must be numbers|dtype='numeric'"),
        ("frames.png", "single path 'frames.png'"),
        (["a.png", None], "got None for image 1. Leave such rows out"),
        (pd.Series([None, "a.png"], dtype="string"), "got <NA> for image 0"),
        (pd.DataFrame({"file": ["a.png", np.nan]}), "got nan for image 1"),
        (pl.DataFrame({"file": [None, "a.png"]}), "got None for image 0"),
        (np.zeros((2, 8, 8), complex), "Complex data not supported"),
    ],
)
def test_what_is_no_images_is_said(X, message):
    """Wrong dimensions, channels, types and empty inputs."""
    with pytest.raises(ValueError, match=message):
        check_images(Estimator(), X, reset=True)


def test_object_array_of_alike_images_is_stacked_and_others_are_named(grey):
    """An object array of images works if they are alike."""
    boxed = np.empty(3, dtype=object)
    boxed[:] = list(grey[:3])
    np.testing.assert_array_equal(batch_of(boxed), grey[:3, None])
    boxed[2] = np.zeros((2, 2))
    with pytest.raises(ValueError, match=r"\(2, 2\) in image 2"):
        batch_of(boxed)
    with pytest.raises((TypeError, ValueError)):
        batch_of(np.array([{"a": 1}, {"b": 2}], dtype=object))


def test_image_shape_that_does_not_fit_is_refused():
    """The message has both sizes."""
    with pytest.raises(ValueError, match=r"Rows of 12 values.*\(5, 5\).*25"):
        check_images(Estimator((5, 5)), np.zeros((3, 12)), reset=True)


# Files


def test_sixteen_bit_colour_keeps_its_sixteen_bits(real_data):
    """The released OATH images: signal in green alone, up to 65535."""
    pixels = read_image(real_data / "oath" / "images" / "00001.png")
    assert pixels.shape == (256, 256, 3) and pixels.dtype == np.uint16
    assert pixels.max(axis=(0, 1)).tolist() == [0, 65535, 0]


def test_sixteen_bit_colour_without_real_data(rng, tmp_path):
    """RGB and RGBA, by a writer of PNG that is not Pillow's."""
    for n_channels in (3, 4):
        pixels = rng.integers(0, 65536, (5, 7, n_channels), dtype=np.uint16)
        path = tmp_path / f"{n_channels}.png"
        write_png_16(path, pixels)
        np.testing.assert_array_equal(read_image(path), pixels)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bit_grey_files(suffix, rng, tmp_path):
    """They are uint16, as the array that was written."""
    pixels = rng.integers(0, 65536, (5, 7), dtype=np.uint16)
    path = tmp_path / f"image.{suffix}"
    if suffix == "pgm":
        path.write_bytes(b"P5\n7 5\n65535\n" + pixels.astype(">u2").tobytes())
    else:
        Image.fromarray(pixels).save(path)
    image = read_image(path)
    np.testing.assert_array_equal(image, pixels)
    assert image.dtype == np.uint16


def test_big_endian_tiff_files_are_read(rng, tmp_path):
    """Several of them, with one data type."""
    pixels = rng.integers(0, 65536, (2, 5, 7), dtype=np.uint16)
    paths = [tmp_path / "0.tif", tmp_path / "1.tif"]
    for path, image in zip(paths, pixels, strict=True):
        Image.frombytes("I;16B", (7, 5), image.astype(">u2").tobytes()).save(path)
    np.testing.assert_allclose(batch_of(paths)[:, 0], pixels / 65535, rtol=1e-6)


def test_files_with_several_frames_are_refused(rng, tmp_path):
    """Rather than their first frame taken for all."""
    frame = Image.fromarray(rng.integers(0, 255, (5, 7), dtype=np.uint8))
    pages = tmp_path / "pages.tif"
    frame.save(pages, save_all=True, append_images=[frame, frame])
    raw = tmp_path / "frames.pgm"
    raw.write_bytes((b"P5\n7 5\n65535\n" + bytes(70)) * 3)
    for path in (pages, raw):
        with pytest.raises(ValueError, match=f"one frame .* got 3 in '.*{path.name}'"):
            read_image(path)


def test_nan_in_a_file_is_named(tmp_path):
    """Floats in TIFF can be NaN."""
    paths = [tmp_path / f"{k}.tif" for k in range(3)]
    for path in paths:
        Image.fromarray(np.zeros((4, 4), np.float32)).save(path)
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(paths[1])
    with pytest.raises(ValueError, match=r"NaN or infinity.*image 1 \('.*1.tif'\)"):
        batch_of(paths)


def test_palette_png_gives_its_colours(tmp_path):
    """Not the numbers of its palette entries."""
    path = tmp_path / "palette.png"
    image = Image.new("RGB", (3, 2), (250, 100, 50)).quantize(4)
    image.save(path)
    np.testing.assert_array_equal(read_image(path), np.asarray(image.convert("RGB")))


def test_jpeg_files_are_read(tmp_path):
    """Within the accuracy of the format."""
    path = tmp_path / "image.jpg"
    Image.new("RGB", (8, 8), (250, 100, 50)).save(path, quality=95)
    np.testing.assert_allclose(read_image(path)[4, 4], (250, 100, 50), atol=4)


def test_bad_files_are_named(grey_files, tmp_path):
    """Missing, truncated, not an image, a directory, of another size or type."""
    good = grey_files[0]
    truncated, text, small, deep, short = (tmp_path / f"{n}.png" for n in "tdseh")
    short.write_bytes(b"\x89PNG\r\n\x1a\n")
    truncated.write_bytes(good.read_bytes()[:-30])
    text.write_text("not an image")
    Image.new("L", (3, 3)).save(small)
    Image.fromarray(np.zeros((5, 7), np.uint16)).save(deep)
    with pytest.raises(FileNotFoundError, match="nowhere.png"):
        as_images([good, tmp_path / "nowhere.png"])
    for bad, message in [
        (truncated, "Cannot read .*t.png.*damaged"),
        (text, "Cannot read .*d.png"),
        (short, "Cannot read .*h.png"),
        (tmp_path, "got a directory"),
        (small, r"\(3, 3\) uint8 in image 1 \('.*s.png'\)"),
        (deep, r"\(5, 7\) uint16 in image 1 \('.*e.png'\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            as_images([good, bad]).batch([0, 1])
    with pytest.raises(FileNotFoundError, match="gone.png"):
        read_image(tmp_path / "gone.png")


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_damaged_sixteen_bit_colour_is_an_error_or_an_image(place, rng, tmp_path):
    """A flipped bit never ends the interpreter."""
    path = tmp_path / "damaged.png"
    write_png_16(path, rng.integers(0, 65536, (16, 16, 3), dtype=np.uint16))
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 0xFF
    path.write_bytes(data)
    with contextlib.suppress(ValueError):
        assert read_image(path).shape == (16, 16, 3)
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="damaged.png"):
        read_image(path)


def test_files_are_only_read_when_asked_for(grey_files):
    """A damaged file that nobody asks for does no harm."""
    grey_files[3].write_text("broken")
    images = FileImages(grey_files)
    assert images.batch([0, 5]).shape == (2, 1, 5, 7)
    with pytest.raises(ValueError, match="3.png"):
        images.batch(slice(2, 4))


def test_import_of_the_package_does_not_import_torch():
    """Nor does the preprocessing of arrays."""
    code = (
        "import sys, sksimclr; assert 'torch' not in sys.modules;"
        "assert 'sklearn' not in sys.modules;"
        "import numpy as np;"
        "sksimclr.AuroraPreprocessor().fit_transform(np.eye(8)[None]);"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
