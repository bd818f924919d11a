"""Frames in FITS files, against what astropy reads and writes."""

import gzip
import multiprocessing
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from time import sleep

import numpy as np
import pytest
from astropy.io import fits
from real_data import FOLDER

from sksimclr._files import fits as module
from sksimclr._files.readers import known_readers
from sksimclr.archive import UnreadableFileError, read_frames

DASC = sorted((FOLDER / "dasc").glob("*.FITS"))


@pytest.fixture
def images(rng):
    """Return three images, uint16."""
    return rng.integers(0, 65536, (3, 6, 7), np.uint16)


def write(path, array, units=(), **header):
    """Write an array, after units without one."""
    unit = fits.ImageHDU(array) if units else fits.PrimaryHDU(array)
    unit.header.update({k.replace("_", "-"): v for k, v in header.items()})
    fits.HDUList([*units, unit]).writeto(path)
    return path


@pytest.mark.parametrize("suffix", [".fits", ".FIT", ".fts"])
def test_images_are_read_with_their_values(tmp_path, images, suffix):
    """Which FITS writes as int16 and BZERO; the name is that of a single frame."""
    path = tmp_path / f"20140310_060000_gill{suffix}"
    frames = read_frames(write(path, images[0]))
    np.testing.assert_array_equal(frames.images, images[:1])
    assert frames.images.dtype == np.uint16 and frames.site == "gill"
    assert frames.times[0] == np.datetime64("2014-03-10T06:00")
    assert frames.metadata["BZERO"] == "32768"


def test_several_frames_and_colours(tmp_path, images):
    """(n, H, W) are frames, (3, H, W) colours; also behind a unit without an image."""
    many = np.concatenate([images, images])
    np.testing.assert_array_equal(
        read_frames(write(tmp_path / "a.fits", many, [fits.PrimaryHDU()])).images, many
    )
    colour = read_frames(write(tmp_path / "b.fits", images)).images
    np.testing.assert_array_equal(colour[0], np.moveaxis(images, 0, -1))


def test_compressed_files(tmp_path, images):
    """With gzip, whatever the name says, and inside."""
    data = write(tmp_path / "a.fits", images[0]).read_bytes()
    for name in ("b.fits.gz", "c.fits"):
        (tmp_path / name).write_bytes(gzip.compress(data))
        found = read_frames(tmp_path / name).images
        np.testing.assert_array_equal(found[0], images[0])
    packed = fits.CompImageHDU(images[0], compression_type="RICE_1")
    packed.writeto(tmp_path / "d.fits.fz")
    np.testing.assert_array_equal(
        read_frames(tmp_path / "d.fits.fz").images[0], images[0]
    )


@pytest.mark.parametrize(
    ("header", "time"),
    [
        ({"DATE_OBS": "2015-10-07T08:23:51.743"}, "2015-10-07T08:23:51.743"),
        ({"DATE_OBS": "2015-10-07 08:23:51"}, "2015-10-07T08:23:51"),
        ({"DATE_OBS": "2015-10-07T08:23:51 UTC"}, "2015-10-07T08:23:51"),
        ({"DATE_OBS": "2015-10-07T08:23:51+00:00"}, "2015-10-07T08:23:51"),
        (
            {"DATE_OBS": "", "OBSDATE": "2015-10-07T08:23:51"},
            "2015-10-07T08:23:51",
        ),
        ({"DATE_OBS": "2015-10-07", "TIME_OBS": "08:23:51.5"}, "2015-10-07T08:23:51.5"),
        ({"OBSDATE": "2015-10-07", "OBSSTART": "08:23:51"}, "2015-10-07T08:23:51"),
        ({"DATE_OBS": "7/10/15"}, "2001-02-03T04:05"),
        ({}, "2001-02-03T04:05"),
    ],
)
def test_header_tells_the_time(tmp_path, images, header, time):
    """Else the name."""
    frames = read_frames(write(tmp_path / "20010203_0405.fits", images[0], **header))
    assert frames.times[0] == np.datetime64(time, "ns")


@pytest.mark.parametrize(
    ("site", "found"),
    [
        ("PKR", "pkr"),
        ("Poker Flat Research Range", "gill"),
        (7, "gill"),
        (fits.card.UNDEFINED, "gill"),
    ],
)
def test_header_tells_the_site(tmp_path, images, site, found):
    """If it is a code."""
    path = write(tmp_path / "20010203_0405_gill.fits", images[0], SITE=site)
    assert read_frames(path).site == found


@pytest.mark.parametrize(
    ("header", "instrument"),
    [
        ({"INSTRUME": "ASI", "FILTWAV": "0558"}, "ASI, 558 nm"),
        ({"INSTRUME": "ASI", "FILTWAV": 630.0}, "ASI, 630 nm"),
        ({"INSTRUME": "", "CAMERA": "Andor", "FILTWAV": 557.7}, "Andor, 557.7 nm"),
        ({"CAMERA": "Andor", "FILTER": "green", "FILTWAV": "none"}, "Andor, green"),
        ({"INSTRUME": fits.card.UNDEFINED, "FILTER": fits.card.UNDEFINED}, ""),
    ],
)
def test_header_tells_the_instrument(tmp_path, images, header, instrument):
    """By the entries that say something."""
    path = write(tmp_path / "a.fits", images[0], **header)
    assert read_frames(path).instrument == instrument


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8"])
def test_all_types_are_read(tmp_path, images, dtype):
    """Values as they are; NaN too, which makes a frame unreadable later."""
    array = (images[0] >> 8).astype(dtype)
    found = read_frames(write(tmp_path / "a.fits", array)).images
    np.testing.assert_array_equal(found[0], array)


def test_what_is_no_image_is_refused(tmp_path, images):
    """With the file's name, and what is wrong."""
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1, 2])])
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "table.fits")
    (tmp_path / "text.fits").write_text("no fits")
    (tmp_path / "empty.fits").touch()
    for name, said in (
        ("table.fits", "no image"),
        ("text.fits", "expected a FITS file"),
        ("empty.fits", "empty"),
    ):
        with pytest.raises(UnreadableFileError, match=f"{name}.*{said}"):
            read_frames(tmp_path / name)


def test_truncated_files_are_failures(tmp_path, images):
    """At any length."""
    data = write(tmp_path / "a.fits", images[0]).read_bytes()
    for length in (10, 80, 2000, 2880, 2900, 2880 + 83):
        (tmp_path / "a.fits").write_bytes(data[:length])
        with pytest.raises(UnreadableFileError, match=r"a\.fits"):
            read_frames(tmp_path / "a.fits")


def test_checksums_are_looked_at(tmp_path, images):
    """If there are any; the pixels may be wrong."""
    fits.PrimaryHDU(images).writeto(tmp_path / "a.fits", checksum=True)
    assert read_frames(tmp_path / "a.fits").damage == ""
    data = bytearray((tmp_path / "a.fits").read_bytes())
    data[2880 + 7] ^= 1
    (tmp_path / "a.fits").write_bytes(data)
    assert "verification failed" in read_frames(tmp_path / "a.fits").damage


def test_threads_do_not_mix_up_what_is_damaged(tmp_path, images):
    """And leave Python's warnings as they were."""
    for number in range(8):
        path = tmp_path / f"{number}.fits"
        fits.PrimaryHDU(images).writeto(path, checksum=True)
        data = bytearray(path.read_bytes())
        data[2880 + 7] ^= number % 2
        path.write_bytes(data)
    before = list(warnings.filters), warnings._showwarnmsg_impl

    def is_damaged(number):
        return read_frames(tmp_path / f"{number}.fits").damage != ""

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(is_damaged, 50 * [*range(8)]))
    assert found == 50 * [False, True, False, True, False, True, False, True]
    assert (list(warnings.filters), warnings._showwarnmsg_impl) == before


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_forks_can_read_whatever_threads_do(tmp_path, images):
    """While one is reading, too."""
    path, is_reading = write(tmp_path / "a.fits", images), threading.Event()

    def read_slowly():
        with module._catching:
            is_reading.set()
            sleep(0.2)

    thread = threading.Thread(target=read_slowly)
    thread.start()
    is_reading.wait()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert len(pool.apply_async(read_frames, [path]).get(30)) == 1
    thread.join()


@pytest.mark.parametrize("width", ["90000000000", "9000000000000000000"])
def test_huge_numbers_in_a_header_take_no_memory(tmp_path, images, width):
    """They are refused before any pixel is read."""
    path = write(tmp_path / "a.fits", images[0])
    before = f"NAXIS1  = {7:20}".encode()
    data = path.read_bytes()
    assert before in data
    path.write_bytes(data.replace(before, f"NAXIS1  = {width:>20}".encode()))
    with pytest.raises(UnreadableFileError, match=r"a\.fits"):
        read_frames(path)


def test_without_astropy_it_says_what_to_install(tmp_path, images, monkeypatch):
    """As an ImportError, which ends a run: every other file would fail as well."""
    path = write(tmp_path / "a.fits", images[0])
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'a.fits.*pip install "sksimclr\[cameras\]"'):
        read_frames(path)


@pytest.mark.skipif(not DASC, reason="real data are absent")
def test_real_files_of_poker_flat(tmp_path):
    """558 and 630 nm, of a camera that writes big-endian numbers with a sign."""
    for path, time in zip(DASC, ("08:23:51.743", "08:23:59.586"), strict=True):
        frames = read_frames(path)
        np.testing.assert_array_equal(frames.images[0], fits.getdata(path))
        assert frames.images.shape == (1, 512, 512)
        assert frames.images.dtype == np.uint16
        assert (frames.site, frames.damage) == ("pkr", "")
        wavelength = int(path.name.split("_")[2])
        assert frames.instrument == f"DASC, {wavelength} nm"
        other = (tmp_path / "other.fits").write_bytes(path.read_bytes())
        instrument = read_frames(tmp_path / "other.fits").instrument
        assert other and instrument == f"DU8201_BV, {wavelength} nm"
        assert frames.times[0] == np.datetime64(f"2015-10-07T{time}", "ns")


def test_suffixes_are_known():
    """In find_files, whatever their case."""
    assert {".fits", ".fit", ".fts", ".fits.gz", ".fits.fz"} <= set(known_readers())
