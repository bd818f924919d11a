"""Which reader reads what, images in common formats, and damaged files of all kinds."""

import os
import pickle
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from archive_files import frame_name, write_png
from mutants import (
    HAS_CHECKSUM,
    KINDS,
    Reader,
    format_of,
    write_mutants,
    write_originals,
)
from PIL import Image

from sksimclr._files import readers
from sksimclr._files.file_names import instrument_of, not_of_the_sky, site_and_time
from sksimclr._files.finding import find_paths, search
from sksimclr._files.readers import reader_for
from sksimclr.archive import (
    Frames,
    UnreadableFileError,
    find_files,
    read_frames,
    register_reader,
)

KNOWN = dict(readers._READERS)


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """Give every test a registry of its own."""
    monkeypatch.setattr(readers, "_READERS", dict(KNOWN))


def fixed(frames):
    """Return a reader that gives the same frames of every file."""
    return lambda path: frames


def read_ones(path):
    """Read a file as one frame; at the level of a module, so that it can be pickled."""
    return Frames(np.ones((1, 2, 3), np.uint8), metadata={"path": str(path)})


# Readers


def test_longest_suffix_wins_whatever_the_case(tmp_path):
    """And the last one that was registered for it."""
    of_h5, of_rego = (Frames(np.zeros((n, 2, 2), np.uint8)) for n in (1, 2))
    register_reader([".h5", ".HDF"], fixed(of_h5))
    register_reader(".Rego.h5", fixed(of_rego))
    for name, n_frames in (("a.h5", 1), ("a.REGO.H5", 2), ("a.hdf", 1), ("rego.h5", 1)):
        (tmp_path / name).touch()
        assert len(read_frames(tmp_path / name)) == n_frames
    register_reader(".h5", fixed(of_rego))
    assert len(read_frames(str(tmp_path / "a.h5"))) == 2


def test_reader_travels(tmp_path):
    """To a process in which nothing was registered."""
    register_reader(".one", read_ones)
    (tmp_path / "x.one").touch()
    sent = pickle.dumps(reader_for(tmp_path / "x.one"))
    readers._READERS.clear()
    frames = pickle.loads(sent)(str(tmp_path / "x.one"))
    assert frames.metadata == {"path": str(tmp_path / "x.one")}


@pytest.mark.parametrize("suffix", ["h5", "", ".", 5, [".a", "b"]])
def test_suffixes_begin_with_a_dot(suffix):
    """None of several is registered when one is wrong."""
    with pytest.raises((ValueError, TypeError)):
        register_reader(suffix, read_ones)
    assert readers._READERS == KNOWN


def test_reader_is_a_function():
    """Not what it returns."""
    with pytest.raises(TypeError, match="function of a path, got Frames"):
        register_reader(".x", Frames(np.zeros((1, 2, 2))))


def test_unknown_suffix_is_refused_with_those_known(tmp_path):
    """And how to add another."""
    (tmp_path / "x.mp4").touch()
    with pytest.raises(UnreadableFileError, match=r"\.cdf, .*\.npy.*register_reader"):
        read_frames(tmp_path / "x.mp4")


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        (np.zeros((1, 2, 2), np.uint8), "should return Frames, got ndarray"),
        (Frames([[[1]]]), "array .*got list of shape"),
        (Frames(np.zeros((2, 2), np.uint8)), r"array \(n, H, W\)"),
        (Frames(np.zeros((0, 2, 2), np.uint8)), "at least one frame"),
        (Frames(np.zeros((1, 0, 2), np.uint8)), "at least one frame"),
        (Frames(np.zeros((1, 2, 2, 5), np.uint8)), "1 to 4 channels"),
        (Frames(np.zeros((1, 2, 2), complex)), "images of numbers, got complex128"),
        (Frames(np.zeros((1, 2, 2), bool)), "got bool"),
        (Frames(np.zeros((1, 2, 2), np.uint8), times=np.zeros(1)), "datetime64"),
        (
            Frames(np.zeros((2, 2, 2), np.uint8), times=np.zeros(3, "M8[ns]")),
            "2 times",
        ),
        (Frames(np.zeros((1, 2, 2), np.uint8), site=None), "site as text, got None"),
        (
            Frames(np.zeros((1, 2, 2), np.uint8), instrument=7),
            "instrument as text, got 7",
        ),
    ],
)
def test_what_a_reader_returns_is_checked(tmp_path, frames, said):
    """The error names the reader, the file and what is wrong."""

    def read_badly(path):
        return frames

    register_reader(".bad", read_badly)
    (tmp_path / "x.bad").touch()
    with pytest.raises(UnreadableFileError, match=said) as caught:
        read_frames(tmp_path / "x.bad")
    assert "x.bad" in str(caught.value) and "read_badly" in str(caught.value)


def test_files_of_another_form_are_not_blamed_on_their_reader(tmp_path):
    """Who has an array of five channels has written no reader."""
    np.save(tmp_path / "x.npy", np.zeros((2, 4, 4, 5), np.uint16))
    with pytest.raises(UnreadableFileError) as caught:
        read_frames(tmp_path / "x.npy")
    assert "x.npy': expected at least one frame of 1 to 4" in str(caught.value)
    assert "reader" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "dtype", "found"),
    [
        ([0, 127], "i1", "u1"),
        ([0, 32767], "<i2", "u2"),
        ([0, 32767], ">i2", "u2"),
        ([-1, 32767], ">i2", "f4"),
        ([0, 1 << 24], "u4", "f4"),
        ([0, 1 << 24], "i8", "f4"),
        ([0, (1 << 24) + 1], "u4", "f8"),
        ([-5, 70_000], "i4", "f4"),
    ],
)
def test_numbers_with_a_sign_go_wherever_others_go(tmp_path, values, dtype, found):
    """With their values."""
    array = np.array([[values]], dtype)
    np.save(tmp_path / "x.npy", array)
    images = read_frames(tmp_path / "x.npy").images
    assert images.dtype == found
    np.testing.assert_array_equal(images, array)


def test_types_become_ours(tmp_path):
    """Byte order and the unit of times."""
    frames = Frames(
        np.array([[[1, 2]]], ">u2"), times=np.array(["2014-03-10T06:00"], "M8[s]")
    )
    register_reader(".x", fixed(frames))
    (tmp_path / "a.x").touch()
    ours = read_frames(tmp_path / "a.x")
    assert ours.images.dtype == np.uint16 and ours.images.dtype.isnative
    assert ours.images.tolist() == [[[1, 2]]]
    assert ours.times.dtype == "M8[ns]" and ours.times[0] == frames.times[0]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("it is odd."), r"x\.bad': it is odd\.$"),
        (KeyError("frames"), r"x\.bad': KeyError\('frames'\)\.$"),
        (OSError(), r"OSError\(\)"),
        (RecursionError("deep"), "deep"),
        (UnreadableFileError("as it is"), "^as it is$"),
    ],
)
def test_whatever_a_reader_raises_names_the_file(tmp_path, error, said):
    """And keeps what it says."""

    def read_badly(path):
        raise error

    register_reader(".bad", read_badly)
    (tmp_path / "x.bad").touch()
    with pytest.raises(UnreadableFileError, match=said):
        read_frames(tmp_path / "x.bad")


def test_file_that_needs_too_much_memory_is_a_failure(tmp_path, monkeypatch):
    """Unless there is none for any file."""

    def exhausted(*_, **__):
        raise MemoryError

    path = write_png(tmp_path / "x.png", np.zeros((1, 6, 7), np.uint8))
    monkeypatch.setattr(Image, "open", exhausted)
    with pytest.raises(UnreadableFileError, match="x.png.*more memory"):
        read_frames(path)
    with pytest.raises(UnreadableFileError, match="x.png.*more memory"):
        readers.read_image(path)
    monkeypatch.setattr(readers, "_ROOM", 1 << 60)
    with pytest.raises(MemoryError):
        read_frames(path)


@pytest.mark.parametrize("error", [ImportError, MemoryError, KeyboardInterrupt])
def test_what_is_no_fault_of_the_file_is_raised_as_it_is(tmp_path, error):
    """It would be the same for all of them."""

    def read_badly(path):
        raise error

    register_reader(".bad", read_badly)
    (tmp_path / "x.bad").touch()
    with pytest.raises(error):
        read_frames(tmp_path / "x.bad")


@pytest.mark.parametrize("suffix", sorted(KNOWN))
def test_what_is_no_file_is_refused(tmp_path, suffix):
    """Files that are absent, folders, and pipes, which would never end."""
    path = tmp_path / f"x{suffix}"
    with pytest.raises(FileNotFoundError, match="x"):
        read_frames(path)
    path.mkdir()
    with pytest.raises(UnreadableFileError, match="not a regular file"):
        read_frames(path)
    path.rmdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(path)
        with pytest.raises(UnreadableFileError, match="not a regular file"):
            read_frames(path)


# Names


@pytest.mark.parametrize(
    ("name", "site", "time"),
    [
        ("20140310_0600_gill_themis19_full.pgm.gz", "gill", "2014-03-10T06:00"),
        ("20140310_060005_GILL.png", "gill", "2014-03-10T06:00:05"),
        ("cam_20140310T0600_x.png", "", "2014-03-10T06:00"),
        ("cam2-20140310-0600.png", "", "2014-03-10T06:00"),
        ("201403100600.png", "", "2014-03-10T06:00"),
        ("20140310_0600_full.png", "", "2014-03-10T06:00"),
        ("20140310_0600_camera.png", "", "2014-03-10T06:00"),
        ("20141310_0600_gill.png", "gill", "NaT"),
        ("20140310_0670_gill.png", "gill", "NaT"),
        ("20161231_235960_gill.png", "gill", "2016-12-31T23:59:59.999999999"),
        ("20161231_235961_gill.png", "gill", "NaT"),
        ("20161231_236060_gill.png", "gill", "NaT"),
        ("20140310.png", "", "NaT"),
        ("120140310_0600_gill.png", "", "NaT"),
        ("00001.png", "", "NaT"),
        (
            "20200508_060500_122643_gill_rgb-04_320ms_full.png",
            "gill",
            "2020-05-08T06:05:00.122643",
        ),
        ("20140310_060005_557_gill.png", "", "2014-03-10T06:00:05"),  # a wavelength
        ("PKR_DASC_0558_20151007_082351.743.FITS", "", "2015-10-07T08:23:51.743"),
        ("2024-09-06_16-19-25.jpg", "", "2024-09-06T16:19:25"),
        ("2024-09-06T16:19:25Z.fits", "", "2024-09-06T16:19:25"),
        ("2024-09-06T161925.5_kiru.png", "kiru", "2024-09-06T16:19:25.5"),
        ("image-20240906161925.jpg", "", "2024-09-06T16:19:25"),
        ("MUO150101_000005.jpg", "muo", "2015-01-01T00:00:05"),
        ("thg_l1_asf_gako_2011010617_v01.cdf", "gako", "2011-01-06T17:00"),
        ("20140310_0600_dark.png", "", "2014-03-10T06:00"),
        ("20140310_0600_mask.png", "", "2014-03-10T06:00"),
        ("2024-0906_1619.png", "", "NaT"),
        ("thg_l1_asf_gako_2011010617_v01.cdf", "gako", "2011-01-06T17:00"),
        ("thg_l1_asf_gako_20110106_v01.cdf", "", "NaT"),
        ("thg_l2_asc_19991231_v01.cdf", "", "NaT"),
    ],
)
def test_names_tell_site_and_time(name, site, time):
    """If they have the form that all-sky archives use."""
    found = site_and_time(Path("20010101_0101_fsim") / name)
    assert found[0] == site
    np.testing.assert_equal(found[1], np.datetime64(time, "ns"))


@pytest.mark.parametrize(
    ("name", "instrument"),
    [
        ("20140310_0600_gill_themis19_full.pgm.gz", "THEMIS ASI"),
        ("20200508_060500_122643_gill_rgb-04_320ms_full.png", "rgb-04"),
        ("20211030_060500_149606_gill_rgb-04_320ms_burst.png", "rgb-04, burst"),
        ("20220307_0600_gill_nir-216_8446.pgm.gz", "nir-216, 844.6 nm"),
        ("20240101_0300_luck_REGO-649.pgm", "rego-649"),
        ("20140310_0600_gill.png", ""),
        ("20140310_0600.png", ""),
    ],
)
def test_names_tell_the_instrument(name, instrument):
    """Imager and mode, not the exposure."""
    assert instrument_of(name) == instrument


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("20230503_0600_luck_spect-02_full.pgm.gz", "a spectrum"),
        ("keogram-20240906.jpg", "a keogram"),
        ("20140310_0600_gill_DARK.pgm", "a dark frame"),
        ("20140310_0600_gill_themis19_full.pgm.gz", ""),
        ("darkness.png", ""),
        ("rgb_bias.fits", "a bias frame"),
    ],
)
def test_names_tell_what_is_no_sky(name, kind):
    """By whole words."""
    assert not_of_the_sky(name) == kind


# Finding files


def touch(folder, *names):
    """Make empty files; return their paths."""
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


def test_folders_are_searched_to_the_bottom(tmp_path):
    """Sorted, absolute, and only what there is a reader for."""
    wanted = touch(tmp_path, "b/c/1.PGM.GZ", "b/2.cdf", "a.png", "z/y/x/w/3.npy")
    touch(tmp_path, "readme.txt", "b/index.html", "b/pgm", "x.gz", "a.rego")
    assert find_files(tmp_path) == sorted(wanted, key=str)
    assert find_paths(tmp_path) == [str(path) for path in find_files(tmp_path)]
    register_reader(".rego", read_ones)
    assert tmp_path / "a.rego" in find_files([tmp_path])


def test_relative_paths_become_absolute(tmp_path, monkeypatch):
    """The catalogue must mean the same tomorrow."""
    (path,) = touch(tmp_path, "a/1.pgm")
    monkeypatch.chdir(tmp_path)
    assert find_files("a") == find_files(Path("a") / ".." / "a") == [path]
    assert find_files("a/1.pgm") == [path]


def test_each_frame_counts_once(tmp_path):
    """Of versions the newest, of copies the one that they are of; by folder."""
    kept = touch(
        tmp_path,
        "thg_l1_asf_gako_2011010617_v02.cdf",
        "thg_l1_asf_gako_2011010618_v01.cdf",
        "older/thg_l1_asf_gako_2011010617_v01.cdf",
        "a.png",
        "b (1).png",
        "c_v9.png",
        "c_v10.PNG",
    )
    touch(
        tmp_path,
        "thg_l1_asf_gako_2011010617_v01.cdf",
        "a (1).png",
        "a(2).PNG",
        "a - Copy.png",
        "20140310_0600_gill_mask.png",
        "keogram.png",
        "index.html",
        "README",
    )
    assert find_files(tmp_path) == sorted(set(kept) - {tmp_path / "c_v9.png"}, key=str)
    _, found = search(tmp_path)
    assert found == {
        "a copy": 3,
        "a keogram": 1,
        "a mask": 1,
        "an older version": 2,
        "no ending of the name": 1,
        "no reader for .html": 1,
    }
    listed, found = search([tmp_path, tmp_path, tmp_path / "keogram.png"])
    assert str(tmp_path / "keogram.png") in listed  # and so it is not left out
    assert "a keogram" not in found and found["a copy"] == 3


def test_doubtful_files_are_left_out_of_folders(tmp_path):
    """Wide variants, plain beside compressed, hidden ones; not when they are listed."""
    kept = touch(
        tmp_path,
        frame_name("2014-03-10T06:00", "gill", ".pgm.gz"),
        frame_name("2014-03-10T06:01", "gill", ".pgm"),
        "other/" + frame_name("2014-03-10T06:00", "gill", ".pgm"),
        "1.cdf",
    )
    doubtful = touch(
        tmp_path,
        frame_name("2014-03-10T06:00", "gill", ".pgm"),
        "20140310_0600_gill_themis19_wide_x.pgm.gz",
        "._1.cdf",
        ".cache/2.cdf",
    )
    touch(tmp_path, "1.cdf.gz")  # which has no reader and does not stand for 1.cdf
    assert find_files(tmp_path) == sorted(kept, key=str)
    assert find_files([tmp_path, *doubtful]) == sorted(kept + doubtful, key=str)


def test_listed_files_are_kept_once(tmp_path):
    """Also those that there is no reader for."""
    paths = touch(tmp_path, "a.pgm", "b.unknown")
    assert find_files([*paths, *paths, str(tmp_path), str(paths[0])]) == paths


def test_what_is_not_there_is_named(tmp_path):
    """Rather than left out."""
    touch(tmp_path, "a.pgm")
    with pytest.raises(FileNotFoundError, match="b.pgm"):
        find_files([tmp_path, tmp_path / "b.pgm"])


@pytest.mark.parametrize("where", [[], "folder"])
def test_no_file_is_an_error(tmp_path, where):
    """That says what was looked for."""
    touch(tmp_path, "x.txt")
    with pytest.raises(ValueError, match=r"No file to read .*\.cdf, .*\.pgm\.gz"):
        find_files(where and tmp_path)


def test_links_are_followed_and_may_lead_back(tmp_path):
    """Archives are often put together of links; each folder is searched once."""
    (path,) = touch(tmp_path, "disk/year/1.pgm")
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "year").symlink_to(tmp_path / "disk" / "year")
    (tmp_path / "disk" / "year" / "up").symlink_to(tmp_path / "all")
    assert find_files(tmp_path / "all") == [tmp_path / "all" / "year" / path.name]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may")
def test_folders_that_cannot_be_searched_are_an_error(tmp_path):
    """Their files would be missed without a word."""
    touch(tmp_path, "a/1.pgm", "b/2.pgm")
    (tmp_path / "b").chmod(0)
    with pytest.raises(PermissionError):
        find_files(tmp_path)
    (tmp_path / "b").chmod(0o700)


# Damaged files


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited Linux's way")
@pytest.mark.parametrize("name", ["zlib", "isal"])
def test_damaged_files_never_do_worse_than_fail(tmp_path, name):
    """No crash, no wait, no large allocation; checksums leave nothing unnoticed."""
    module = zlib if name == "zlib" else pytest.importorskip("isal.isal_zlib")
    sources = write_originals(tmp_path / "originals")
    sources = {form: sources[form] for form in sources if not form.startswith("real")}
    kinds = {}
    n_files = len(sources) * len(KINDS)
    seed = 0 if name == "zlib" else 1
    with Reader(sources, inflater=module.__name__) as reader:
        for path, kind, is_whole in write_mutants(tmp_path, n_files, seed, sources):
            outcome, detail = reader.outcome(path)
            form = format_of(path, sources)
            kinds.setdefault(outcome, []).append((form, kind))
            assert outcome not in ("defect", "hang", "crash"), (form, kind, detail)
            assert not is_whole or outcome == "equal"
            assert outcome != "differ" or form not in HAS_CHECKSUM, (form, kind)
            assert outcome in ("equal", "differ") or detail
    assert len(kinds["failure"]) > n_files / 3
    assert len(kinds["damage"]) > n_files / 20
