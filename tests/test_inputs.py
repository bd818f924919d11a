"""Every form of input is what its owner meant, or refused: forms x entry points."""

import gzip
import struct
import warnings
import zlib

import dask.array as da
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from PIL import Image, ImageCms, ImageOps
from png import png_chunk, write_png_16
from sklearn.base import BaseEstimator
from tiny import tiny_fine_tuned, tiny_pretrained, tiny_simclr

from sksimclr import AuroraPreprocessor
from sksimclr._estimators.labels import check_labels, check_sequences
from sksimclr._estimators.validation import check_images
from sksimclr._files import modes, readers
from sksimclr._files.readers import read_image
from sksimclr.archive import Frames, read_frames, register_reader, suggest
from sksimclr.metrics import alignment, effective_rank, uniformity
from sksimclr.model_selection import NearestIndexClassifier, time_sequences
from sksimclr.plotting import EmbeddingDisplay, KeogramDisplay, SilhouetteDisplay
from sksimclr.plotting._pictures import find_images

X = np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8)
ROWS = X.reshape(6, 64)
TABLE = pd.DataFrame(ROWS)
Y = np.array([0, 1, 0, 1, 0, 1])


class Estimator(BaseEstimator):
    """The least that `check_images` needs."""

    image_shape = None


class Sliced:
    """What is read by slicing, as a variable of netCDF: masked arrays come out."""

    dtype, ndim, shape = X.dtype, X.ndim, X.shape

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, rows):
        return np.ma.array(self.values[rows])

    def __array__(self, *_, **__):
        return np.asarray(self.values)


def batch_of(images):
    """Return all images as the network gets them."""
    found = check_images(Estimator(), images, reset=True)
    return found.batch(slice(0, len(found)))


def plotted(images):
    """Return all images as a display gets them."""
    found = find_images(images)
    return found.batch(slice(0, len(found)))


def simclr(images):
    """Embed them by a network that was trained on NumPy's."""
    return tiny_simclr(max_epochs=0).fit(X).transform(images)


def trained(images):
    """Embed NumPy's by a network that was trained on them."""
    return tiny_simclr().fit(images).transform(X)


def partially_trained(images):
    """Embed NumPy's after a step of training on them."""
    return tiny_simclr().partial_fit(images).transform(X)


def pretrained(images):
    """Give the features of a random network."""
    torch.manual_seed(0)
    return tiny_pretrained().fit(X).transform(images)


def fine_tuned(images):
    """Classify them after training on NumPy's."""
    return tiny_fine_tuned(max_epochs=1).fit(X, Y).predict_proba(images)


def prepared(images):
    """Stretch their contrast."""
    return np.asarray(AuroraPreprocessor().transform(images)).reshape(6, 8, 8)


ENTRIES = [
    batch_of,
    plotted,
    simclr,
    trained,
    partially_trained,
    pretrained,
    fine_tuned,
    prepared,
]
FORMS = {
    "UInt8": TABLE.astype("UInt8"),
    "uint8[pyarrow]": TABLE.astype("uint8[pyarrow]"),
    "UInt8 and uint8": TABLE.astype({k: "UInt8" for k in range(9)}),
    "category": TABLE.astype("category"),
    "polars": pl.DataFrame(ROWS),
    "column of arrays": pd.Series(list(X)),
    "column of Arrow lists": pd.Series(
        ROWS.tolist(), dtype=pd.ArrowDtype(pa.list_(pa.uint8()))
    ),
    "polars lists": pl.Series(ROWS.tolist(), dtype=pl.List(pl.UInt8)).to_frame("a"),
    "list": list(X),
    "tuple of tensors": tuple(torch.from_numpy(X)),
    "tensor": torch.from_numpy(X),
    "Pillow": [Image.fromarray(image) for image in X],
    "column of Pillow": pd.Series([Image.fromarray(image) for image in X]),
    "mask of nothing": np.ma.array(X, mask=False),
    "list of masks of nothing": list(np.ma.array(X)),
    "Dask": da.from_array(X, chunks=2),
    "Dask, mask of nothing": da.from_array(np.ma.array(X), chunks=2),
    "sliced": Sliced(X),
}


@pytest.mark.filterwarnings("ignore:The encoder may have collapsed")
@pytest.mark.parametrize("entry", ENTRIES)
def test_every_form_is_the_same_images(entry):
    """As an array of NumPy's, to the bit."""
    expected = entry(X)
    for name, form in FORMS.items():
        found = entry(form)
        np.testing.assert_array_equal(found, expected, err_msg=name)
        assert found.dtype == expected.dtype, name


def masked(values):
    """Return values of which the third row is masked in part."""
    values = np.ma.array(values, copy=True)
    values[2, ..., 1] = np.ma.masked
    return values


WRONG_TABLE = TABLE.astype({0: "uint16"})
REFUSED = {
    "masked": (masked(X), "X has 8 masked value.* first in row 2. .*filled"),
    "masked rows": (masked(ROWS), "X has 1 masked value.* first in row 2"),
    "list of masked": (list(masked(X)), "Image 2 has 8 masked value"),
    "column of masked": (pd.Series(list(masked(X))), "Image 2 has 8 masked value"),
    "Dask masked": (da.from_array(masked(X), chunks=2), "X has 8 masked .* row 2"),
    "sliced masked": (Sliced(masked(X)), "X has 8 masked value.* first in row 2"),
    "packed": (Sliced(X * 0.5), "says that it holds uint8, but gives float64"),
    "types": ([*X[:5], X[5].astype("u2")], "Expected uint8 .* got uint16 in image 5"),
    "float and uint8": ([*(X[:5] / 255), X[5]], "Expected float64 .* uint8 in image 5"),
    "types in a column": (
        pd.Series([*X[:5], X[5].astype("i1")]),
        "Expected uint8 .* got int8 in image 5",
    ),
    "types of columns": (WRONG_TABLE, "Expected uint16 as in column 0, got uint8"),
    "nullable columns": (WRONG_TABLE.convert_dtypes(), "uint16 .* got uint8 in column"),
    "Arrow columns": (
        WRONG_TABLE.convert_dtypes(dtype_backend="pyarrow"),
        "uint16 .* got uint8 in column 1",
    ),
    "polars columns": (
        pl.from_pandas(WRONG_TABLE.rename(columns=str)),
        "uint16 .* got uint8 in column 1",
    ),
    "missing": (TABLE.astype("UInt8").mask(TABLE == TABLE[3][2]), "contains NaN"),
    "a single image": (Image.fromarray(X[0]), "got a single one, 8 x 8 .* in a list"),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_is_no_images_for_certain_is_refused(entry):
    """With what is wrong, and where."""
    for form, message in REFUSED.values():
        with pytest.raises(ValueError, match=message):
            entry(form)


def test_types_that_are_not_scaled_may_be_mixed():
    """Numbers remain what they are."""
    mixed = [[[1, 2]], [[0.5, 1.0]]]
    np.testing.assert_array_equal(batch_of(mixed)[:, 0], mixed)
    table = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.0]})
    np.testing.assert_array_equal(batch_of(table)[:, 0, 0], table)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((8, 8, 3), "Make all of them grey, or all of them coloured."),
        ((9, 8), "Resize or crop them first."),
        ((9, 8, 3), "Resize or crop them first."),
    ],
)
def test_advice_goes_with_what_differs(shape, said):
    """Nobody can crop colours away."""
    images = np.random.default_rng(0).random((4, 8, 8))
    simclr = tiny_simclr(max_epochs=0).fit(images)
    others = np.random.default_rng(0).random((4, *shape))
    for call in (simclr.transform, lambda X: simclr.fit([*images, *X])):
        with pytest.raises(ValueError, match=said):
            call(others)


@pytest.fixture
def registry(monkeypatch):
    """Let readers be registered for a test alone."""
    monkeypatch.setattr(readers, "_READERS", dict(readers._READERS))


@pytest.mark.parametrize("read", [read_frames, read_image])
def test_masked_frames_of_a_reader_are_refused(registry, read, tmp_path):
    """As libraries for netCDF return them; those of which none is masked are taken."""
    path = tmp_path / "x.nc"
    path.write_bytes(b"CDF")
    register_reader(".nc", lambda path: Frames(np.ma.array(X[:1])))
    found = read(path)
    found = found if read is read_image else found.images[0]
    np.testing.assert_array_equal(found, X[0])
    assert type(found) is np.ndarray
    register_reader(".nc", lambda path: Frames(np.ma.masked_less(X[:1], 20)))
    with pytest.raises(ValueError, match="x.nc.* should return no masked values"):
        read(path)


# Images of Pillow, in lists and in files


def all_modes():
    """Return {mode: image (8, 6)} of smooth colours, of all modes that there are."""
    ramp = np.linspace(0, 255, 48).reshape(8, 6).astype(np.uint8)
    rgb = Image.fromarray(np.stack([ramp, ramp[::-1], ramp.T.reshape(8, 6)], axis=2))
    rgba = rgb.copy()
    rgba.putalpha(Image.fromarray(ramp // 2 + 100))
    images = {mode: rgba.convert(mode) for mode in ("LA", "RGBA", "RGBa", "PA")}
    images["La"] = images["LA"].convert("La")
    for mode in ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV", "I", "F"):
        images[mode] = rgb.convert(mode)
    spaces = [ImageCms.createProfile(space) for space in ("sRGB", "LAB")]
    images["LAB"] = ImageCms.profileToProfile(rgb, *spaces, outputMode="LAB")
    counts = ramp.astype(np.uint16) * 257 - 3
    for mode, dtype in (("I;16", "<u2"), ("I;16L", "<u2"), ("I;16B", ">u2")):
        data = counts.astype(dtype).tobytes()
        images[mode] = Image.frombytes(mode, (6, 8), data)
    return images


MODES = all_modes()
BECOMES = {"1": "L", "La": "LA", "P": "RGB", "PA": "RGBA", "RGBa": "RGBA"}
BECOMES |= dict.fromkeys(["RGBX", "CMYK", "YCbCr", "LAB", "HSV"], "RGB")
IN_TIFF = ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"]
IN_TIFF += ["I", "F", "I;16", "I;16B"]


def expected_of(mode):
    """Return the pixels of an image, as Pillow converts it."""
    image = MODES[mode]
    converted = image.convert(BECOMES[mode]) if mode in BECOMES else image
    pixels = np.asarray(converted)
    return pixels.astype(pixels.dtype.newbyteorder("="))


def read_list(image):
    """Return the pixels of an image in a list."""
    return check_images(Estimator(), [image], reset=True).read([0])[0]


@pytest.mark.parametrize("mode", MODES)
def test_modes_of_pillow_are_light(mode):
    """Numbers of grey or of colours, not of a palette, of ink or of another space."""
    found, expected = read_list(MODES[mode]), expected_of(mode)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype


@pytest.mark.parametrize("mode", IN_TIFF)
def test_files_and_images_of_a_mode_are_one(mode, tmp_path):
    """By path, in a list, in an archive."""
    path = tmp_path / "x.tif"
    MODES[mode].save(path, compression="tiff_lzw" if mode == "YCbCr" else None)
    expected, read = expected_of(mode), [read_image(path), read_list(Image.open(path))]
    if expected.dtype != np.int32:
        read.append(read_frames(path).images[0])
    for found in read:  # libtiff rounds others of the colours of YCbCr
        np.testing.assert_allclose(found, expected, atol=mode == "YCbCr")


@pytest.mark.parametrize("marker", [True, False])
def test_jpegs_of_ink_are_no_negatives(marker, tmp_path):
    """With and without Adobe's marker, which is how viewers and Pillow take them."""
    path, colour = tmp_path / "x.jpg", (250, 100, 50)
    Image.new("RGB", (16, 16), colour).convert("CMYK").save(path, quality=95)
    data = path.read_bytes()
    start = data.index(b"\xff\xee")
    end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    if not marker:
        path.write_bytes(data[:start] + data[end:])
    for found in (read_image(path), read_list(Image.open(path))):
        np.testing.assert_allclose(found[5, 5], colour, atol=4)


def test_modes_that_mean_no_image_are_refused_by_name(monkeypatch):
    """Whatever Pillow adds."""
    monkeypatch.delitem(modes._LIGHT, "HSV")
    with pytest.raises(ValueError, match="Cannot read image 0: .* got HSV"):
        batch_of([MODES["HSV"]])


def test_grey_and_alpha_of_16_bits_keep_them(rng, tmp_path):
    """Of which Pillow keeps 8, and colours in place of grey."""
    pixels = rng.integers(0, 65536, (1, 5, 7, 2), dtype=np.uint16)
    path = tmp_path / "x.png"
    write_png_16(path, pixels[0])
    np.testing.assert_array_equal(read_image(path), pixels[0])
    np.testing.assert_array_equal(read_frames(path).images, pixels)
    np.testing.assert_allclose(batch_of([path]), pixels.transpose(0, 3, 1, 2) / 65535)


@pytest.mark.parametrize("n_channels", [2, 3, 4])
def test_images_of_pillow_that_lost_their_low_bits_are_refused(n_channels, tmp_path):
    """Their files are read."""
    path = tmp_path / "x.png"
    write_png_16(path, np.zeros((5, 7, n_channels), np.uint16))
    with pytest.raises(ValueError, match=r"image 0 \('.*x.png'\): .* Give its path"):
        batch_of([Image.open(path)])


def test_images_of_pillow_that_cannot_be_read_are_named(tmp_path):
    """By their number and their file."""
    path = tmp_path / "x.png"
    Image.fromarray(np.kron(X[0], np.ones((9, 9), np.uint8))).save(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"Cannot read image 1 \('.*x.png'\): "):
        batch_of([Image.new("L", (72, 72)), Image.open(path)])


def write_ppm(path, maximum):
    """Write colours with numbers up to a maximum."""
    pixels = np.full((4, 5, 3), maximum, ">u2")
    path.write_bytes(b"P6\n5 4\n%d\n" % maximum + pixels.tobytes())


@pytest.mark.parametrize("maximum", [1023, 65535])
def test_colours_of_16_bits_in_a_ppm_are_not_cut(maximum, tmp_path):
    """They are refused, as those in a TIFF are."""
    write_ppm(tmp_path / "x.ppm", maximum)
    with pytest.raises(ValueError, match=r"x.ppm.*got 16 in it"):
        read_image(tmp_path / "x.ppm")


def write_tiff(path, pixels, white_is_0=False, is_signed=False):
    """Write grey numbers, which mean something else."""
    height, width = pixels.shape
    kind = {"u": 1, "i": 2, "f": 3}["i" if is_signed else pixels.dtype.kind]
    tags = {256: width, 257: height, 258: 8 * pixels.itemsize, 259: 1}
    tags |= {262: 1 - white_is_0, 273: 134, 277: 1, 278: height, 279: pixels.nbytes}
    entries = [
        struct.pack("<HHLL", tag, 4, 1, n) for tag, n in (tags | {339: kind}).items()
    ]
    head = struct.pack("<2sHLH", b"II", 42, 8, len(entries))
    path.write_bytes(head + b"".join(entries) + bytes(4) + pixels.tobytes())


@pytest.mark.parametrize(
    ("dtype", "change", "message"),
    [
        ("u2", "white_is_0", "its largest numbers are black"),
        ("f4", "white_is_0", "its largest numbers are black"),
        ("u1", "is_signed", "numbers of 8 bits with a sign"),
    ],
)
def test_numbers_that_pillow_takes_for_others_are_refused(
    dtype, change, message, tmp_path
):
    """Where white is 0, or a number may be negative."""
    path, pixels = tmp_path / "x.tif", X[0].astype(dtype)
    write_tiff(path, pixels)
    np.testing.assert_array_equal(read_image(path), pixels)
    write_tiff(path, pixels, **{change: True})
    for read in (read_image, read_frames):
        with pytest.raises(ValueError, match=f"x.tif.*{message}"):
            read(path)
    with pytest.raises(ValueError, match=message):
        batch_of([Image.open(path)])


def test_large_numbers_of_32_bits_stay_positive(tmp_path):
    """Pillow keeps them in integers with a sign."""
    counts = np.array([[1, 2**31 + 7]], np.uint32)
    write_tiff(tmp_path / "x.tif", counts)
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif"), counts)


# Orientation


def write_turned(path, orientation):
    """Write an image that viewers turn; return how they show it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.kron(X[0, :3, :6].reshape(3, 2, 3), np.ones((8, 8, 1), np.uint8))
    lossless = {"lossless": True} if path.suffix == ".webp" else {}
    Image.fromarray(pixels).save(path, exif=exif, **lossless)
    if path.suffix == ".jpg":
        pixels = np.asarray(Image.open(path))
    image = Image.fromarray(pixels)
    image.info["exif"] = exif.tobytes()
    return np.asarray(ImageOps.exif_transpose(image))


@pytest.mark.parametrize("orientation", range(1, 10))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_images_are_turned_as_viewers_do(suffix, orientation, tmp_path):
    """By path, in an archive, and in a list as they were opened."""
    path = tmp_path / f"x{suffix}"
    expected = write_turned(path, orientation)
    np.testing.assert_array_equal(read_image(path), expected)
    np.testing.assert_array_equal(read_list(Image.open(path)), expected)
    if suffix != ".webp":
        np.testing.assert_array_equal(read_frames(path).images[0], expected)


def test_colours_of_16_bits_are_turned(rng, tmp_path):
    """Which is done here, not by Pillow."""
    pixels = rng.integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6
    write_png_16(tmp_path / "x.png", pixels, (b"eXIf", exif.tobytes()[6:]))
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), np.rot90(pixels, -1))


def test_changed_images_that_are_still_to_be_turned_are_refused(tmp_path):
    """Whoever changed them may have turned them."""
    path = tmp_path / "x.jpg"
    write_turned(path, 6)
    image = Image.open(path)
    with pytest.raises(ValueError, match="image 0: .*ImageOps.exif_transpose"):
        batch_of([image.convert("L")])
    found = read_list(ImageOps.exif_transpose(image).convert("L"))
    np.testing.assert_array_equal(found, ImageOps.exif_transpose(image.convert("L")))


def test_damaged_exif_data_turn_nothing(tmp_path):
    """The image is as good as before."""
    path = tmp_path / "x.jpg"
    Image.fromarray(X[0]).save(path, exif=b"Exif\0\0MM\0*\0\0\xff\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's
        np.testing.assert_array_equal(read_image(path), np.asarray(Image.open(path)))


# Files


def test_photo_of_several_pictures_is_its_first(tmp_path):
    """MPO, which many cameras write, with a preview or a second view."""
    path = tmp_path / "x.jpg"
    first, other = [Image.fromarray(image).resize((64, 64)) for image in X[:2]]
    first.save(path, "MPO", save_all=True, append_images=[other])
    assert path.read_bytes().count(b"\xff\xd8\xff") == 2
    expected = np.asarray(Image.open(path))
    np.testing.assert_array_equal(read_image(path), expected)
    np.testing.assert_array_equal(read_frames(path).images, expected[np.newaxis])


SUFFIXES = [".png", ".jpg", ".tif", ".npy", ".cdf", ".pgm", ".pgm.gz"]


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".bmp", ".dat", ""])
def test_empty_files_are_empty(suffix, tmp_path):
    """Not of another format, not without a reader."""
    path = tmp_path / f"x{suffix}"
    path.touch()
    for read in (read_image, read_frames)[: 1 + (suffix in SUFFIXES)]:
        with pytest.raises(ValueError, match=f"'{path}': it is empty"):
            read(path)


def test_empty_file_that_is_compressed_is_empty(tmp_path):
    """It has a few bytes."""
    path = tmp_path / "x.pgm.gz"
    path.write_bytes(gzip.compress(b""))
    with pytest.raises(ValueError, match=f"'{path}': it is empty"):
        read_frames(path)


def write_png(path, *chunks, side=1):
    """Write a PNG of one black pixel, or one that claims to be larger."""
    size = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0\0")
    chunks = ((b"IHDR", size), *chunks, (b"IDAT", pixels), (b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*c) for c in chunks))


@pytest.mark.filterwarnings("ignore:Image size")
@pytest.mark.parametrize("side", [10_000, 20_000])
def test_bombs_are_named(side, tmp_path):
    """Those that Pillow warns of, and those that it refuses."""
    path = tmp_path / "x.png"
    write_png(path, side=side)
    for read in (read_image, read_frames):
        with pytest.raises(ValueError, match=f"'{path}': .*At most 67,108,864"):
            read(path)


@pytest.mark.parametrize("kind", ["zTXt", "iTXt", "iCCP"])
def test_texts_too_large_are_named(kind, tmp_path):
    """A small PNG with megabytes of zeros."""
    path, zeros = tmp_path / "x.png", zlib.compress(bytes(2 << 20))
    start = b"k\0\1\0\0\0" if kind == "iTXt" else b"k\0\0"
    write_png(path, (kind.encode(), start + zeros))
    for read in (read_image, read_frames):
        with pytest.raises(ValueError, match=f"'{path}': its text, .*, is too large"):
            read(path)


# Labels, groups, times, embeddings

LABELS = {
    "Int64": pd.Series(Y, dtype="Int64"),
    "int64[pyarrow]": pd.Series(Y, dtype="int64[pyarrow]"),
    "data frame": pd.DataFrame({"y": pd.Series(Y, dtype="Int64")}),
    "category": pd.Series(Y, dtype="category"),
    "polars": pl.Series(Y),
    "Arrow": pa.array(Y),
    "tensor": torch.from_numpy(Y),
    "Dask": da.from_array(Y),
    "mask of nothing": np.ma.array(Y),
}


@pytest.mark.parametrize("form", LABELS)
def test_labels_stay_integers(form):
    """Of which a classifier predicts some."""
    classes, codes = check_labels(tiny_fine_tuned(), LABELS[form], 6)
    assert classes.dtype.kind == "i" and classes.tolist() == [0, 1]
    np.testing.assert_array_equal(codes, Y)
    np.testing.assert_array_equal(check_sequences(LABELS[form], 6), Y)


@pytest.mark.parametrize("dtype", ["Int64", "int64[pyarrow]"])
def test_labels_stay_labels(dtype):
    """True and false, and numbers that floats do not tell apart."""
    for values in ([2**60, 2**60 + 1, 2**60], [True, False, True]):
        kind = dtype if values[0] is not True else dtype.replace("Int64", "boolean")
        kind = kind.replace("int64", "bool") if values[0] is True else kind
        y = pd.Series(values, dtype=kind)
        classes, codes = check_labels(tiny_fine_tuned(), y, 3)
        assert classes.tolist() == sorted(values[:2])
        assert len(np.unique(check_sequences(y, 3))) == 2
        model = NearestIndexClassifier().fit([[0], [1], [2]], y)
        assert model.predict([[1]]).tolist() == [values[1]]


T = np.array(["2011-01-06T17:01"] * 6, "M8[s]")
Z = np.random.default_rng(1).random((6, 3))
MASKED = np.ma.array(Y, mask=[0, 0, 1, 0, 0, 0])
MASKED_Z, MASKED_T = masked(Z), np.ma.array(T, mask=MASKED.mask)
NUMBERS = np.arange(6)[:, np.newaxis]
PAIRS = NUMBERS.repeat(2, axis=1)
NEAREST = NearestIndexClassifier()
KEOGRAM, EMBEDDING = KeogramDisplay, EmbeddingDisplay.from_predictions
SILHOUETTE = SilhouetteDisplay.from_predictions
MASKED_CALLS = [
    ("y", lambda: tiny_fine_tuned().fit(X, MASKED)),
    ("groups", lambda: tiny_fine_tuned(early_stopping=True).fit(X, Y, groups=MASKED)),
    ("sequences", lambda: tiny_simclr().fit(X, sequences=MASKED)),
    ("sequences", lambda: tiny_simclr().partial_fit(X, sequences=MASKED)),
    ("times", lambda: time_sequences(MASKED_T)),
    ("sites", lambda: time_sequences(T, MASKED)),
    ("X", lambda: NEAREST.fit(masked(PAIRS), Y)),
    ("y", lambda: NEAREST.fit(PAIRS, MASKED)),
    ("X", lambda: NEAREST.fit(PAIRS, Y).predict(masked(PAIRS))),
    ("alignment: second", lambda: alignment(Z, MASKED_Z)),
    ("uniformity: embeddings", lambda: uniformity(MASKED_Z)),
    ("effective_rank: embeddings", lambda: effective_rank(MASKED_Z)),
    ("suggest: embeddings", lambda: suggest(MASKED_Z, 1)),
    ("suggest: labelled", lambda: suggest(Z, 1, labelled=MASKED)),
    ("suggest: probabilities", lambda: suggest(Z, 1, probabilities=MASKED_Z)),
    ("embeddings", lambda: EMBEDDING(MASKED_Z)),
    ("y", lambda: EMBEDDING(Z, MASKED)),
    ("X", lambda: SILHOUETTE(MASKED_Z, [Y])),
    ("labels", lambda: SILHOUETTE(Z, [MASKED])),
    ("columns", lambda: KEOGRAM(MASKED_Z, T).plot()),
    ("times", lambda: KEOGRAM(Z, MASKED_T).plot()),
    ("labels", lambda: KEOGRAM(Z, T, MASKED).plot()),
    ("labels", lambda: KEOGRAM.from_frames(X, T, labels=MASKED)),
    ("X", lambda: KEOGRAM.from_frames(masked(X), T)),
]


@pytest.mark.parametrize(("name", "call"), MASKED_CALLS)
def test_masked_values_are_refused_by_name(name, call):
    """What lies under a mask is no value."""
    with pytest.raises(ValueError, match=f"^{name} has .*masked"):
        call()


@pytest.mark.parametrize(
    "sites",
    [
        ["gill", None, None, "gill"],
        np.array(["gill", np.nan, np.nan, "gill"], object),
        pd.Series(["gill", None, None, "gill"], dtype="string"),
        pd.Series(["gill", None, None, "gill"], dtype="category"),
        pl.Series(["gill", None, None, "gill"]),
        [1, np.nan, np.nan, 1.0],
    ],
)
def test_images_without_a_site_stand_alone(sites):
    """None is no station that they share."""
    sequences = time_sequences(T[:4], sites)
    assert sequences[0] == sequences[3] and len(np.unique(sequences)) == 3
