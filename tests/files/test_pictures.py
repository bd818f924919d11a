"""Frames in PNG, JPEG and TIFF images and in NumPy's files."""

import struct
import subprocess
import sys

import numpy as np
import pytest
from archive_files import write_png
from PIL import EpsImagePlugin, Image
from real_data import oath_paths
from tiff import colour_tiff

from sksimclr._files import compressed, pictures
from sksimclr._files.readers import read_image
from sksimclr.archive import UnreadableFileError, read_frames

# Images


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF"])
def test_grey_images_keep_their_values(tmp_path, rng, dtype, suffix):
    """Of 8 and 16 bits; the name tells site and time."""
    images = rng.integers(0, np.iinfo(dtype).max + 1, (1, 6, 7), dtype)
    path = write_png(tmp_path / f"20140310_0600_gill{suffix}", images)
    frames = read_frames(path)
    np.testing.assert_array_equal(frames.images, images)
    assert frames.images.dtype == dtype
    assert (frames.site, frames.damage) == ("gill", "")
    assert frames.times.tolist() == [np.datetime64("2014-03-10T06:00", "ns").item()]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("n_channels", [3, 4])
def test_colour_stays_unless_only_green_has_signal(tmp_path, rng, dtype, n_channels):
    """Which is how OATH has grey frames; alpha does not matter."""
    images = rng.integers(1, np.iinfo(dtype).max, (1, 6, 7, n_channels), dtype)
    path = write_png(tmp_path / "x.png", images)
    np.testing.assert_array_equal(read_frames(path).images, images)
    images[..., (0, 2)] = 0
    frames = read_frames(write_png(path, images))
    np.testing.assert_array_equal(frames.images, images[..., 1])
    assert frames.images.dtype == dtype and frames.images.flags.c_contiguous


def test_real_oath_images_are_grey(real_data):
    """Of 16 bits, of which Pillow alone keeps the high ones."""
    for path in oath_paths(real_data):
        images = read_frames(path).images
        assert images.dtype == np.uint16 and (images & 255).any()
        with Image.open(path) as image:
            np.testing.assert_array_equal(images[0] >> 8, np.asarray(image)[..., 1])


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "F"])
def test_modes_of_images_are_arrays_of_ours(tmp_path, mode):
    """Whatever Pillow calls them."""
    image = Image.radial_gradient("L").resize((7, 6)).convert(mode)
    path = tmp_path / "x.tif"
    image.save(path)
    images = read_frames(path).images
    assert images.shape[:3] == (1, 6, 7) and images.dtype.name in ("uint8", "float32")
    expected = image.convert("RGB") if mode in ("P", "CMYK") else image
    scale = 255 if mode == "1" else 1
    np.testing.assert_array_equal(images[0], scale * np.asarray(expected, images.dtype))


def test_jpeg_is_read(tmp_path):
    """As Pillow decodes it."""
    images = np.full((1, 16, 16), 77, np.uint8)
    assert (
        abs(read_frames(write_png(tmp_path / "x.JPG", images)).images - 77.0).max() < 2
    )


def write_pages(path, *pages):
    """Write a TIFF of several pages."""
    first, *others = [Image.fromarray(page) for page in pages]
    first.save(path, save_all=True, append_images=others)
    return path


def test_pages_of_a_tiff_are_frames(tmp_path, rng):
    """In order; the name's time is that of none of them for certain."""
    images = rng.integers(0, 65536, (3, 6, 7), np.uint16)
    frames = read_frames(write_pages(tmp_path / "20140310_0600_gill_x.tif", *images))
    np.testing.assert_array_equal(frames.images, images)
    assert frames.site == "gill" and np.isnat(frames.times).all()


@pytest.mark.parametrize("other", [np.zeros((6, 8), np.uint16), np.zeros((6, 7), "u1")])
def test_pages_of_a_tiff_are_alike(tmp_path, other):
    """Or the error says which is not."""
    path = write_pages(tmp_path / "x.tif", np.zeros((6, 7), np.uint16), other)
    with pytest.raises(UnreadableFileError, match="in frame 1"):
        read_frames(path)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("strips", [1, 3])
@pytest.mark.parametrize("n_channels", [3, 4])
def test_colours_of_16_bits_are_not_cut_to_8(
    tmp_path, rng, order, packed, strips, n_channels
):
    """Pillow keeps half of them; the fourth channel of such a file is none."""
    pixels = rng.integers(0, 65536, (6, 7, n_channels), np.uint16)
    path = tmp_path / "x.tif"
    path.write_bytes(colour_tiff(pixels, order=order, packed=packed, strips=strips))
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels[..., :3] >> 8)
    found = read_frames(path).images
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found[0], pixels[..., :3])


def test_colours_of_16_bits_in_planes_are_refused(tmp_path, rng):
    """Of which Pillow would make others without a word."""
    pixels = rng.integers(0, 65536, (6, 7, 3), np.uint16)
    path = tmp_path / "x.tif"
    path.write_bytes(colour_tiff(pixels, strips=3, planes=True))
    with pytest.raises(
        UnreadableFileError, match="got 16 in it, of which Pillow keeps 8"
    ):
        read_frames(path)


def test_foreign_formats_are_not_tried(tmp_path):
    """Pillow would run other programs for some of them."""
    path = tmp_path / "x.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(UnreadableFileError, match="expected a PNG, JPEG or TIFF"):
        read_frames(path)


@pytest.mark.parametrize("name", ["x.png", "x.pgm", "x.npy", "x.eps", "x"])
def test_ghostscript_is_never_started(tmp_path, monkeypatch, name):
    """Whatever the name of an EPS, wherever its path is given."""

    def started(*_, **__):
        pytest.fail("Ghostscript was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", started)
    Image.new("L", (9, 9)).save(tmp_path / name, "EPS")
    for read in (read_frames, read_image):
        with pytest.raises(UnreadableFileError):
            read(tmp_path / name)


def test_large_images_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    """By what their headers say."""
    monkeypatch.setattr(pictures, "_MAX_PIXELS", 99)
    path = write_png(tmp_path / "x.png", np.zeros((1, 10, 10), np.uint8))
    with pytest.raises(UnreadableFileError, match="10 x 10 pixels. At most 99"):
        read_frames(path)


def test_many_pages_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    """All of them would have to be in memory."""
    path = write_pages(tmp_path / "x.tif", *np.zeros((20, 10, 10), np.uint8))
    monkeypatch.setattr(compressed, "MAX_BYTES", 10_000)
    with pytest.raises(UnreadableFileError, match="16,000 bytes .* At most 10,000"):
        read_frames(path)


def test_colours_of_16_bits_are_refused_at_half_the_size(tmp_path, monkeypatch):
    """To decode them takes twice the memory, and so do JPEGs in many scans."""
    monkeypatch.setattr(pictures, "_MAX_PIXELS", 99)
    for path, pixels, params in (
        ("x.png", np.zeros((9, 10, 3), np.uint16), {}),
        ("x.jpg", np.zeros((9, 10, 3), np.uint8), {"progressive": True}),
    ):
        path = tmp_path / path
        if params:
            Image.fromarray(pixels).save(path, **params)
        else:
            write_png(path, pixels[np.newaxis])
        for read in (read_frames, read_image):
            with pytest.raises(UnreadableFileError, match="At most 49"):
                read(path)
    write_png(tmp_path / "y.png", np.zeros((1, 9, 10, 3), np.uint8))
    assert read_image(tmp_path / "y.png").shape == (9, 10, 3)


def test_jpeg_of_endless_scans_is_refused(tmp_path):
    """Each may be as much work as the whole image."""
    path = tmp_path / "x.jpg"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path, progressive=True)
    data = path.read_bytes()
    scan = data[data.rindex(b"\xff\xda") : -2]
    path.write_bytes(data[:-2] + 200 * scan + data[-2:])
    with pytest.raises(UnreadableFileError, match="more than 100 scans"):
        read_frames(path)


def tiff(n_pages, *more, order="<", large=False):
    """Return a TIFF of pages of one pixel, which share it; `more` entries are 12 bytes.

    With places of 64 bits if it is `large`.
    """
    place, count, n_start = ("Q", "Q", 16) if large else ("L", "H", 8)
    tags = [(256, 3, 1), (257, 3, 1), (258, 3, 8), (259, 3, 1), (262, 3, 1)]
    tags += [(273, 4, 0), (277, 3, 1), (278, 3, 1), (279, 4, 1)]
    inline = {3: f"H{(8 if large else 4) - 2}x", 4: f"L{4 if large else 0}x"}
    entries = b"".join(
        struct.pack(f"{order}HH{place}{inline[kind]}", tag, kind, 1, value)
        for tag, kind, value in tags
    )
    entries += b"".join(struct.pack(f"{order}HH{place}{place}", *one) for one in more)
    head = struct.pack(f"{order}{count}", len(tags) + len(more))
    size = len(head) + len(entries) + struct.calcsize(f"={place}")
    data = {"<": b"II", ">": b"MM"}[order]
    data += struct.pack(f"{order}HHH", 43, 8, 0) if large else b""
    data += b"" if large else struct.pack(f"{order}H", 42)
    data += struct.pack(f"{order}{place}", n_start)
    for number in range(1, n_pages + 1):
        following = n_start + number * size if number < n_pages else 0
        data += head + entries + struct.pack(f"{order}{place}", following)
    return data


@pytest.mark.parametrize(("order", "large"), [("<", False), (">", False), ("<", True)])
def test_pages_are_counted(tmp_path, order, large):
    """In either byte order, with places of 32 or 64 bits."""
    path = tmp_path / "x.tif"
    path.write_bytes(tiff(7, order=order, large=large))
    assert read_frames(path).images.shape == (7, 1, 1)


def test_no_end_of_pages_is_refused(tmp_path):
    """Pillow compares each with all before it."""
    path = tmp_path / "x.tif"
    path.write_bytes(tiff(10_001))
    with pytest.raises(UnreadableFileError, match="more than 10,000 pages"):
        read_frames(path)


def test_pages_that_share_what_describes_them_are_refused(tmp_path):
    """A small file would be any amount of work."""
    path = tmp_path / "x.tif"
    path.write_bytes(tiff(5, (65_000, 1, 500, 0)))
    with pytest.raises(UnreadableFileError, match="its pages overlap"):
        read_frames(path)


def test_pages_that_lead_back_are_read_once(tmp_path):
    """As Pillow does."""
    path, data = tmp_path / "x.tif", tiff(3)
    path.write_bytes(data[:-4] + struct.pack("<L", 8))
    assert len(read_frames(path)) == 3


def test_image_in_endless_strips_is_refused(tmp_path, monkeypatch):
    """Each takes Pillow as long as thousands of pixels."""
    monkeypatch.setattr(pictures, "_MAX_STRIPS", 9)
    path = tmp_path / "x.tif"
    path.write_bytes(tiff(9))
    assert len(read_frames(path)) == 9
    path.write_bytes(tiff(10))
    with pytest.raises(UnreadableFileError, match="more than 9 strips"):
        read_frames(path)


def test_file_that_shrinks_while_it_is_read_kills_nothing(tmp_path):
    """Files opened by name would be mapped, and reading on be a bus error."""
    paths = [tmp_path / name for name in ("x.tif", "x.bmp", "x.ppm")]
    for path in paths:
        Image.fromarray(np.full((300, 300), 7, np.uint8)).save(path)
    code = (
        "import os, sys\nfrom PIL import Image, ImageFile\n"
        "from sksimclr._files.readers import read_image\n"
        "load = ImageFile.ImageFile.load\n"
        "def shrink(image):\n"
        "    os.truncate(path, 0)\n"
        "    return load(image)\n"
        "ImageFile.ImageFile.load = shrink\n"
        "for path in sys.argv[1:]:\n"
        "    assert (read_image(path) == 7).all() and not os.path.getsize(path)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, *map(str, paths)])
    assert run.returncode == 0


def test_flipped_bits_are_the_same_to_every_reader(tmp_path, rng):
    """A PNG with colours of 16 bits is refused by both, or decoded alike."""
    path = write_png(tmp_path / "x.png", rng.integers(0, 65536, (1, 4, 4, 3), "u2"))
    data, original = path.read_bytes(), read_image(path)
    for bit in range(0, 8 * len(data), 3):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        found = []
        for read in (lambda path: read_frames(path).images[0], read_image):
            try:
                found.append(read(path))
            except UnreadableFileError:
                found.append(None)
        assert (found[0] is None) == (found[1] is None)
        if found[0] is not None:  # of what follows the pixels
            np.testing.assert_array_equal(found, [original, original])


# Arrays


@pytest.mark.parametrize("shape", [(6, 7), (3, 6, 7), (3, 6, 7, 3)])
@pytest.mark.parametrize("dtype", ["u1", ">u2", "<u2", "f2", "f4", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_what_was_saved(tmp_path, rng, shape, dtype, order):
    """In either order and byte order."""
    array = np.asarray(rng.integers(0, 200, shape), dtype, order=order)
    np.save(tmp_path / "20140310_0600_gill.npy", array)
    frames = read_frames(tmp_path / "20140310_0600_gill.npy")
    np.testing.assert_array_equal(
        frames.images, array.reshape(-1, *shape[-2:]) if len(shape) == 2 else array
    )
    assert frames.images.dtype == np.dtype(dtype).newbyteorder("=")
    assert frames.site == "gill" and np.isnat(frames.times).any() == (len(shape) > 2)


def test_short_arrays_give_their_whole_frames(tmp_path, rng):
    """And say how many they should have."""
    images = rng.integers(0, 200, (4, 6, 7), np.uint16)
    path = tmp_path / "x.npy"
    np.save(path, images)
    data = path.read_bytes()
    path.write_bytes(data[: -2 * 84 + 1])
    frames = read_frames(path)
    np.testing.assert_array_equal(frames.images, images[:2])
    assert frames.damage == "it ends after 2 of 4 frames"
    path.write_bytes(data + b"abc")
    frames = read_frames(path)
    np.testing.assert_array_equal(frames.images, images)
    assert frames.damage == "3 bytes follow its array"


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_all_versions_of_array_files_are_read(tmp_path, version):
    """As numpy writes them."""
    images = np.arange(12, dtype=np.uint16).reshape(1, 3, 4)
    with open(tmp_path / "x.npy", "wb") as file:
        np.lib.format.write_array(file, images, version)
    np.testing.assert_array_equal(read_frames(tmp_path / "x.npy").images, images)


def test_arrays_without_one_whole_frame_are_refused(tmp_path):
    """And those that are stored by columns, in which no frame is whole."""
    for order, length in (("C", 150), ("F", 300)):
        np.save(tmp_path / "x.npy", np.zeros((4, 6, 7), np.uint16, order=order))
        data = (tmp_path / "x.npy").read_bytes()
        (tmp_path / "x.npy").write_bytes(data[:length])
        with pytest.raises(UnreadableFileError, match="336 bytes, there are"):
            read_frames(tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.array([[{}]]), "got object"),
        (np.zeros((2, 3), "u2,u2"), "got"),
        (np.zeros(3), r"of shape \(3,\)"),
        (np.zeros((1, 1, 1, 1, 1)), "of shape"),
        (np.zeros((2, 0, 3)), "there are no pixels"),
        (np.zeros((2, 3, 3), complex), "got complex"),
    ],
)
def test_other_arrays_are_refused(tmp_path, array, said):
    """Nothing is unpickled."""
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    with pytest.raises(UnreadableFileError, match=said):
        read_frames(tmp_path / "x.npy")


@pytest.mark.parametrize("word", ["-" * 9_000, "-" * 300, "(" * 190, "[" * 900])
def test_array_whose_header_cannot_be_parsed_is_refused(tmp_path, word):
    """Python's parser runs out of memory, or of depth, for some of them."""
    header = f"{{'descr': '<u2', 'fortran_order': False, 'shape': {word}1}}\n".encode()
    size = len(header).to_bytes(2, "little")
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\1\0" + size + header + bytes(99))
    with pytest.raises(UnreadableFileError, match="x.npy"):
        read_frames(tmp_path / "x.npy")


_READ_IN_THREADS = """
import concurrent.futures, gc, sys
from sksimclr.archive import read_frames

def read(depth):
    return read(depth - 1) if depth else read_frames("x.npy").images.shape

sys.setswitchinterval(1e-6)  # threads take turns as often as they can
gc.set_threshold(1)
gc.callbacks.append(lambda *_: None)
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    assert set(pool.map(read, [0, 10, 20, 30] * 100)) == {(1, 6, 7)}
"""


def test_arrays_are_read_in_threads(tmp_path):
    """Python's own parser fails in some of these turns, of which it keeps one count."""
    np.save(tmp_path / "x.npy", np.zeros((6, 7), "u2"))
    subprocess.run([sys.executable, "-c", _READ_IN_THREADS], cwd=tmp_path, check=True)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<u2', 'fortran_order': False, 'shape': (2, 3), }",
        '{"shape":(2,3),"fortran_order":False,"descr":"<u2"}',
        "{'descr':'<u2','fortran_order':False,'shape':( 2 ,3)}" + 30 * " " + "\n",
    ],
)
def test_headers_of_other_writers_are_read(tmp_path, header):
    """Whatever their spaces, quotes and order, which the format does not say."""
    size = len(header).to_bytes(2, "little")
    data = b"\x93NUMPY\1\0" + size + header.encode() + bytes(range(12))
    (tmp_path / "x.npy").write_bytes(data)
    expected = np.load(tmp_path / "x.npy")
    np.testing.assert_array_equal(read_frames(tmp_path / "x.npy").images[0], expected)
