"""Reading, unpacking and downloading OATH: small archives in its exact layout."""

import hashlib
import io
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import tracemalloc
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import numpy as np
import pooch
import pytest
import urllib3
from PIL import Image
from png import write_png_16
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import cross_val_score

from sksimclr._machine.download import data_home, download
from sksimclr.datasets import _oath_archive as files
from sksimclr.datasets import fetch_oath, load_oath
from sksimclr.model_selection import oath_folds, sequence_groups

NAMES = ["arc", "diffuse", "discrete", "cloudy", "moon", "noaurora"]
N = 12
LICENCE = "".join(f"line {k} of the licence, with a comma\n" for k in range(1, 19))
HEADER = "class2,class6,picNum,picType,rotAng\n"


def label_line(number):
    """Return the line of classifications.csv that labels image ``number``."""
    code = number % 6
    return f"{int(code > 2)},{code},{number:05d},{NAMES[code]},{number * 25:03d}\n"


def green_pixels(number):
    """Return the pixels of image ``number``, (8, 9) uint16, all 16 bits in use."""
    pixels = np.random.default_rng(number).integers(1, 65536, (8, 9))
    return pixels.astype(np.uint16)


def logits(n=N):
    """Return features of ``n`` images, (n, 1001) float32."""
    return np.random.default_rng(1).normal(size=(n, 1001)).astype(np.float32)


def write_features(root, features, name="Logits"):
    """Write the HDF5 file of features into the copy ``root``."""
    with h5py.File(root / "features" / "auroral_feat.h5", "w") as file:
        file.create_dataset(name, data=features)


def make_copy(root, n=N):
    """Write an unpacked copy of OATH with ``n`` images under ``root``."""
    (root / "classifications").mkdir(parents=True)
    (root / "images" / "cropped_scaled").mkdir(parents=True)
    (root / "features").mkdir()
    write_features(root, logits(n))
    (root / "00_README").write_text("OATH\n")
    text = LICENCE + HEADER + "".join(label_line(k) for k in range(1, n + 1))
    (root / "classifications" / "classifications.csv").write_text(text)
    orders = [np.concatenate(fold) for fold in oath_folds(n)]
    np.savetxt(root / "classifications" / "train_test_split.csv", orders, "%.18e", ",")
    for number in range(1, n + 1):
        rgb = np.zeros((8, 9, 3), np.uint16)
        rgb[..., 1] = green_pixels(number)
        write_png_16(root / "images" / "cropped_scaled" / f"{number:05d}.png", rgb)
    return root


@pytest.fixture
def copy(tmp_path):
    """Return the folder of a small unpacked copy."""
    return make_copy(tmp_path / "oath")


@pytest.fixture(scope="module")
def archive_bytes(tmp_path_factory):
    """Return a small archive; incompressible padding makes it 400 kB."""
    folder = tmp_path_factory.mktemp("made")
    root = make_copy(folder / "oath_v1.1")
    padding = np.random.default_rng(0).bytes(400_000)
    (root / "code").mkdir()
    (root / "code" / "padding").write_bytes(padding)
    with tarfile.open(folder / "oath.tgz", "w:gz") as tar:
        tar.add(root, arcname="oath_v1.1")
    return (folder / "oath.tgz").read_bytes()


@pytest.fixture
def archive(tmp_path, archive_bytes):
    """Return the path of a small archive."""
    path = tmp_path / files.ARCHIVE
    path.write_bytes(archive_bytes)
    return path


def edit_labels(copy, change):
    """Apply ``change`` to the text of classifications.csv."""
    path = copy / "classifications" / "classifications.csv"
    path.write_text(change(path.read_text()))


# Reading


def test_labels_are_those_of_the_csv(copy):
    """Codes, names, angles and paths of all images, in their documented types."""
    oath = load_oath(copy)
    codes = np.arange(1, N + 1) % 6
    np.testing.assert_array_equal(oath.target, codes)
    np.testing.assert_array_equal(oath.target_aurora, codes > 2)
    np.testing.assert_array_equal(oath.rotation, np.arange(1, N + 1) * 25.0)
    assert oath.target_names == NAMES
    assert oath.target.dtype == oath.target_aurora.dtype == np.int64
    assert oath.rotation.dtype == np.float64
    assert [Path(name).name for name in oath.images[:2]] == ["00001.png", "00002.png"]
    np.testing.assert_array_equal(oath.images, oath.filenames)
    for word in ("CC BY 4.0", "NASA", "10.1029/2018JA025274", "leak"):
        assert word in oath.DESCR


def test_images_are_sorted_by_number_whatever_the_order_of_the_csv(copy):
    """A shuffled csv gives the same data set."""
    expected = load_oath(copy)

    def reverse(text):
        top, rows = text.split(HEADER)
        return top + HEADER + "\n".join(reversed(rows.splitlines())) + "\n"

    edit_labels(copy, reverse)
    got = load_oath(copy)
    np.testing.assert_array_equal(got.target, expected.target)
    np.testing.assert_array_equal(got.images, expected.images)


def test_as_array_gives_all_sixteen_bits_of_the_green_channel(copy):
    """Pixels come back exactly, one channel, in the type of the files."""
    images = load_oath(copy, as_array=True).images
    assert images.dtype == np.uint16
    np.testing.assert_array_equal(images, [green_pixels(k) for k in range(1, N + 1)])


def test_as_array_takes_images_that_somebody_saved_as_grey(copy):
    """One channel in the file is the channel."""
    grey = [green_pixels(k) for k in range(1, N + 1)]
    for number, pixels in enumerate(grey, start=1):
        path = copy / "images" / "cropped_scaled" / f"{number:05d}.png"
        Image.fromarray(pixels).save(path)
    np.testing.assert_array_equal(load_oath(copy, as_array=True).images, grey)


@pytest.mark.parametrize("broken", ["colour", "size"])
def test_as_array_names_the_image_that_does_not_fit(copy, broken):
    """An image with signal in red, or of another size, is an error by name."""
    rgb = np.zeros((8, 9 if broken == "colour" else 7, 3), np.uint16)
    rgb[..., 0 if broken == "colour" else 1] = 1000
    write_png_16(copy / "images" / "cropped_scaled" / "00007.png", rgb)
    with pytest.raises(ValueError, match=r"00007\.png"):
        load_oath(copy, as_array=True)


def test_folds_come_from_the_copy_or_else_from_the_seed(copy):
    """The file is used where it is; without it the folds are oath_folds."""
    path = copy / "classifications" / "train_test_split.csv"
    path.write_text((",".join(f"{k:.18e}" for k in reversed(range(N))) + "\n") * 5)
    folds = load_oath(copy).folds
    assert len(folds) == 5
    np.testing.assert_array_equal(folds[4][0], [11, 10, 9, 8, 7, 6, 5, 4])
    np.testing.assert_array_equal(folds[4][1], [3, 2, 1, 0])
    path.unlink()
    for got, expected in zip(load_oath(copy).folds, oath_folds(N), strict=True):
        np.testing.assert_array_equal(got[0], expected[0])
        np.testing.assert_array_equal(got[1], expected[1])


@pytest.mark.parametrize("row", ["0,1,2", "0," * (N - 1) + "0", "a,b"])
def test_folds_that_do_not_fit_the_labels_are_an_error(copy, row):
    """Too few rows, repeated rows, and no numbers at all."""
    (copy / "classifications" / "train_test_split.csv").write_text(row + "\n")
    with pytest.raises(ValueError, match=r"train_test_split\.csv"):
        load_oath(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("rotAng", "angle"), "line 19: .*without rotAng"),
        (lambda t: t.replace(HEADER, ""), "expected a line class2,class6"),
        (lambda t: t[: t.index(HEADER)] + HEADER, "at least 2 .* got 0"),
        (lambda t: t + label_line(3), "00003 more than once"),
        (lambda t: t + label_line(13), r"expected 13 images .* first 00013\.png"),
        (lambda t: t.replace("0,1,00001", "0,x,00001"), "line 20: .*0,x,00001"),
        (lambda t: t.replace("0,1,00001", "0,9,00001"), "line 20: .*0 to 5"),
        (lambda t: t.replace("diffuse,025", "moon,025"), "1 must be diffuse"),
        (lambda t: t.replace("diffuse,025", "diffuse"), "line 20"),
        (lambda t: t.replace("0,1,00001", "0,1," + 20 * "9"), "line 20: .*five digits"),
        (lambda t: t.replace("0,1,00001", "0,1,-0001"), "line 20: .*five digits"),
    ],
)
def test_a_csv_that_does_not_fit_says_what_is_wrong(copy, change, message):
    """Missing column or header, no rows, doubled, missing and damaged rows."""
    edit_labels(copy, change)
    with pytest.raises(ValueError, match=message):
        load_oath(copy)


@pytest.mark.parametrize("inside", ["oath", "oath_v1.1", "."])
@pytest.mark.parametrize("folder", ["classifications", "classification"])
def test_the_top_folder_is_found(tmp_path, inside, folder):
    """The folder itself, or the one around it, under any name."""
    root = make_copy(tmp_path / "here" / inside)
    (root / "classifications").rename(root / folder)
    assert len(load_oath(tmp_path / "here").target) == N


@pytest.mark.skipif(os.name != "posix", reason="pipes of Unix")
def test_pipes_are_not_waited_for(copy):
    """In the place of a table of the copy, or of all of it."""
    for path in (copy / "classifications" / "classifications.csv", copy.parent / "p"):
        path.unlink(missing_ok=True)
        os.mkfifo(path)
    for path in (copy, copy.parent / "p"):
        with pytest.raises(ValueError, match=r"found no classifications\.csv"):
            load_oath(path)


def test_a_wrong_path_says_what_was_expected(tmp_path):
    """Nothing there is a FileNotFoundError, something else a ValueError."""
    with pytest.raises(FileNotFoundError, match=r"cropped_scaled.*fetch_oath"):
        load_oath(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"found no classifications\.csv"):
        load_oath(tmp_path)


# Station-nights

NIGHTS = [
    ("gill", "2011-01-06 19:00:00"),  # one night from 19 UT ...
    ("gill", "2011-01-07 02:00:01"),
    ("gill", "2011-01-07 18:59:59"),  # ... to 19 UT
    ("gill", "2011-01-07 19:00:00"),
    ("INUV", "2011-01-07 02:00:00"),
    ("inuv", "2011-01-07 11:00:00"),
] * 2
NIGHT_GROUPS = [0, 0, 0, 1, 2, 2] * 2


def compact(when):
    """Write a date and time as 20110106_101703."""
    return re.sub("[-:]", "", when).replace(" ", "_")


@pytest.mark.parametrize(
    "line",
    [
        lambda k, s, t: f"{s},{t},/data/2010/12/31/thg_{s}_20101231.cdf",
        lambda k, s, t: f"{s},{compact(t)},{s}_path",
        lambda k, s, t: f'"{s}","{t[:10]}","{t[11:]}","path"',
        lambda k, s, t: f"{s};{t.replace('-', '/')}",
        lambda k, s, t: f"{s} {t.replace(' ', 'T')} images/cropped_scaled/{k:05d}.png",
        lambda k, s, t: f"{k:05d},{s},{t}",
    ],
)
@pytest.mark.parametrize("top", ["", "station,date,time,path\n", LICENCE])
def test_station_nights_are_read_from_any_usual_layout(copy, line, top):
    """Groups are station and night, and a night is not cut at midnight."""
    rows = [line(k, *night) + "\n" for k, night in enumerate(NIGHTS, start=1)]
    (copy / "images" / "files_origin.csv").write_text(top + "".join(rows))
    oath = load_oath(copy)
    groups = oath.groups
    assert groups.dtype == np.int64
    np.testing.assert_array_equal(groups, NIGHT_GROUPS)
    numbers, seen = [], {}
    for group in groups.tolist():  # five of a group in their order
        place = seen[group] = seen.get(group, -1) + 1
        numbers.append(f"{group} {place // 5}")
    assert oath.sequences.dtype == np.int64 and oath.sequences.shape == (N,)
    np.testing.assert_array_equal(
        np.equal.outer(oath.sequences, oath.sequences), np.equal.outer(numbers, numbers)
    )


def test_station_nights_follow_the_picture_numbers_where_rows_have_them(copy):
    """Rows in another order give the same groups."""
    rows = [f"{s},{t},{k:05d}.png\n" for k, (s, t) in enumerate(NIGHTS, start=1)]
    (copy / "images" / "files_origin.csv").write_text("".join(reversed(rows)))
    np.testing.assert_array_equal(load_oath(copy).groups, NIGHT_GROUPS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gill,2011-01-06 10:17\n" * (N - 1), "expected 12 lines .* got 11"),
        ("gill,2011-01-06 10:17\nfoo\n" * 6, "line 2: .* got 'foo'"),
        ("gill,2011-13-06 10:17\n" * N, "expected 12 lines .* got 0"),
        ("00001,gill,2011-01-06 10:17\n" * N, "picture numbers"),
        ("", "got 0"),
    ],
)
def test_origins_that_cannot_be_understood_warn_and_fall_back(copy, text, message):
    """Blocks of 200 instead, never silently."""
    (copy / "images" / "files_origin.csv").write_text(text)
    with pytest.warns(UserWarning, match=f"{message}(.|\n)*blocks of 200") as caught:
        groups = load_oath(copy).groups
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(groups, sequence_groups(N))


# Features


def load_features(copy):
    """Return the features of a copy."""
    return load_oath(copy, features=True).features


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8", "<f2"])
def test_features_are_those_of_the_file(copy, dtype):
    """Same numbers, same precision, in the byte order of this machine."""
    expected = logits().astype(dtype)
    write_features(copy, expected)
    features = load_features(copy)
    np.testing.assert_array_equal(features, expected)
    assert features.dtype == np.dtype(dtype).newbyteorder("=")
    assert features.dtype.isnative and features.flags.writeable


def test_features_come_with_the_archive_and_the_download(archive, serve, home):
    """Both functions pass them on; everything else is as without them."""
    serve("range")
    fetched = fetch(home, features=True, as_array=True)
    loaded = load_oath(archive, features=True)
    for oath in (loaded, fetched):
        np.testing.assert_array_equal(oath.features, logits())
    assert set(loaded) - set(load_oath(archive)) == {"features"}
    np.testing.assert_array_equal(loaded.filenames, load_oath(archive).filenames)


def test_ridge_on_features_knows_the_classes_it_was_trained_on(copy):
    """One-hot features: right exactly where the class is in the training part."""
    codes = np.arange(1, N + 1) % 6
    write_features(copy, np.eye(6)[codes])
    oath = load_oath(copy, features=True)
    accuracy = cross_val_score(
        RidgeClassifier(alpha=0.03), oath.features, oath.target, cv=oath.folds
    )
    known = [np.isin(codes[test], codes[train]).mean() for train, test in oath.folds]
    assert 0 < min(known) < max(known)
    np.testing.assert_array_equal(accuracy, known)


def test_features_of_another_network_may_have_other_columns(copy):
    """Only the rows are tied to the images."""
    write_features(copy, logits()[:, :3])
    np.testing.assert_array_equal(load_features(copy), logits()[:, :3])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_finite_name_their_row(copy, bad):
    """NaN and infinity, with the number of rows and the first of them."""
    features = logits()
    features[[4, 9], 1000] = bad
    write_features(copy, features)
    with pytest.raises(ValueError, match=r"auroral_feat\.h5.* in 2 rows.* row 4\. Unp"):
        load_features(copy)


@pytest.mark.parametrize(
    ("features", "got"),
    [
        (logits()[:, 0], r"float32 of shape \(12,\)"),
        (logits()[:-1], r"float32 of shape \(11, 1001\)"),
        (logits()[:, :0], r"float32 of shape \(12, 0\)"),
        (logits()[None], r"float32 of shape \(1, 12, 1001\)"),
        (logits().astype(np.int16), r"int16 of shape \(12, 1001\)"),
        (np.float32(1), r"float32 of shape \(\)"),
        (h5py.Empty("f4"), r"object of shape \(\)"),
        ("text", r"\|S4 of shape \(\)"),
    ],
)
def test_features_of_another_shape_say_what_was_expected(copy, features, got):
    """1-D, wrong rows, no columns, 3-D, integers and what is no array at all."""
    write_features(copy, features)
    with pytest.raises(ValueError, match=rf"auroral_feat\.h5.* 12 rows.*got {got}\. "):
        load_features(copy)


@pytest.mark.parametrize("name", ["logits", "Logits/inside"])
def test_a_missing_data_set_lists_what_is_there(copy, name):
    """Another name, or a group of that name."""
    write_features(copy, logits(), name)
    there = name.split("/")[0]
    with pytest.raises(ValueError, match=rf"'Logits' in .*\.h5', got \['{there}'\]"):
        load_features(copy)


def test_a_missing_features_file_says_what_to_do(copy):
    """The message names the file and the way to do without it."""
    (copy / "features" / "auroral_feat.h5").unlink()
    with pytest.raises(ValueError, match=r"auroral_feat\.h5.*use features=False"):
        load_features(copy)


@pytest.mark.parametrize("keep", [0, 0.001, 0.5])
def test_a_truncated_features_file_says_to_unpack_it_again(copy, keep):
    """Empty, cut in the header, and cut in the numbers."""
    path = copy / "features" / "auroral_feat.h5"
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"auroral_feat\.h5.*cannot be read.*Unpack"):
        load_features(copy)


def test_features_in_other_files_are_not_followed(copy):
    """By links, or as what HDF5 calls external and virtual."""
    path, other = copy / "features" / "auroral_feat.h5", copy / "other.h5"
    with h5py.File(other, "w") as file:
        file["Logits"] = logits()
    layout = h5py.VirtualLayout((12, 1001), "f4")
    layout[:] = h5py.VirtualSource(str(other), "Logits", (12, 1001))
    for write, said in (
        (lambda f: f.update(Logits=h5py.ExternalLink(str(other), "Logits")), "a link"),
        (lambda f: f.update(Logits=h5py.SoftLink("/elsewhere")), "a link"),
        (lambda f: f.create_virtual_dataset("Logits", layout), "in other files"),
        (
            lambda f: f.create_dataset(
                "Logits", (12, 1001), "f4", external=[(str(other), 0, 48_048)]
            ),
            "in other files",
        ),
    ):
        with h5py.File(path, "w") as file:
            write(file)
        with pytest.raises(ValueError, match=rf"auroral_feat\.h5.*{said}"):
            load_features(copy)


@pytest.mark.parametrize(
    ("shape", "chunks"), [((12, 10**9), (1, 1000)), ((12, 1001), (12, 10**8))]
)
def test_features_too_large_are_refused_unread(copy, shape, chunks):
    """As a whole, or in chunks that are decompressed whole."""
    with h5py.File(copy / "features" / "auroral_feat.h5", "w") as file:
        options = {"maxshape": (12, None), "compression": "gzip"}
        file.create_dataset("Logits", shape, "f4", chunks=chunks, **options)
    with pytest.raises(ValueError, match=r"auroral_feat\.h5.*at most 268,435,456"):
        load_features(copy)


@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
def test_crash_of_the_library_is_an_error(copy, tmp_path, monkeypatch):
    """As some damaged files cause it."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "h5py.py").write_text("import os\nos.kill(os.getpid(), 11)\n")
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(ValueError, match=r"auroral_feat\.h5.* ended with -11"):
        load_features(copy)


def test_features_that_nobody_asks_for_need_neither_file_nor_h5py(copy, monkeypatch):
    """A damaged file and a missing h5py do not matter by default."""
    (copy / "features" / "auroral_feat.h5").write_bytes(b"damaged")
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert "features" not in load_oath(copy)


def test_without_h5py_the_error_names_the_extra(archive, home, serve, monkeypatch):
    """It comes before anything is unpacked or downloaded."""
    server = serve("range")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r'pip install "sksimclr\[oath\]"'):
        load_oath(archive, features=True)
    with pytest.raises(ImportError, match=r'pip install "sksimclr\[oath\]"'):
        fetch(home, features=True)
    assert list(archive.parent.iterdir()) == [archive]
    assert server.asked == []


# Archives


def test_an_archive_is_unpacked_once_and_used_again(archive):
    """The second call needs the unpacked folder only."""
    first = load_oath(archive)
    archive.write_bytes(b"no archive any more")
    np.testing.assert_array_equal(load_oath(archive).images, first.images)


def test_an_interrupted_unpack_leaves_nothing_half_made(archive, monkeypatch):
    """After Ctrl-C in the middle there is only the archive, and it still loads."""

    def interrupted(archive, folder):
        (folder / "oath_v1.1").mkdir()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files, "_extract", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load_oath(archive)
    assert list(archive.parent.iterdir()) == [archive]
    assert len(load_oath(archive).target) == N


def test_two_unpackings_at_once_do_not_disturb_each_other(archive, monkeypatch):
    """Who comes second finds the folder there and uses it."""
    extract = files._extract

    def overtaken(archive, folder):
        extract(archive, folder)
        extract(archive, files.unpacked(archive))

    monkeypatch.setattr(files, "_extract", overtaken)
    assert len(load_oath(archive).target) == N


def test_an_unpacking_that_cannot_be_put_in_place_is_an_error(archive, monkeypatch):
    """The system's own error passes through and nothing is left behind."""

    def refuse(self, target):
        raise PermissionError("no renaming here")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        with pytest.raises(PermissionError):
            load_oath(archive)
    assert list(archive.parent.iterdir()) == [archive]


@pytest.mark.parametrize("keep", [0.5, 0.001, 0])
def test_a_truncated_archive_says_to_get_it_again(archive, archive_bytes, keep):
    """Cut in the middle, in the header, and empty."""
    archive.write_bytes(archive_bytes[: int(keep * len(archive_bytes))])
    with pytest.raises(ValueError, match=r"damaged or cut short.*download"):
        load_oath(archive)
    assert list(archive.parent.iterdir()) == [archive]


@pytest.mark.parametrize("where", [0.2, 0.5, 0.8, 1])
def test_a_flipped_bit_in_the_archive_is_noticed(archive, archive_bytes, where):
    """The checksum inside the archive stands in for the one nobody published."""
    damaged = bytearray(archive_bytes)
    damaged[int(where * (len(damaged) - 1))] ^= 1
    archive.write_bytes(damaged)
    with pytest.raises(ValueError, match="damaged"):
        load_oath(archive)


@pytest.mark.parametrize("name", ["../evil", "oath/../../evil", "link"])
def test_members_that_would_land_outside_are_refused(archive, name):
    """Path traversal by name or by link raises and writes nothing."""
    member = tarfile.TarInfo(name)
    with tarfile.open(archive, "w:gz") as tar:
        if name == "link":
            member.type, member.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(member, io.BytesIO())
    with pytest.raises(ValueError, match="refused to unpack"):
        load_oath(archive)
    assert list(archive.parent.iterdir()) == [archive]


def write_archive(path, *members):
    """Write an archive of (name, content), or of headers with that in ``linkname``."""
    with tarfile.open(path, "w:gz") as tar:
        for member, content in members:
            if isinstance(member, str):
                member = tarfile.TarInfo(member)
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def special(name, kind, linkname=""):
    """Return the header of a link, a device or another kind, and no content."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, linkname
    return member, b""


LABELS = "oath/classifications/classifications.csv"


@pytest.mark.parametrize(
    "member",
    [
        special(LABELS, tarfile.SYMTYPE, "../../README"),
        special(LABELS, tarfile.LNKTYPE, "oath/00_README"),
        special(LABELS, tarfile.FIFOTYPE),
        special(LABELS, tarfile.CHRTYPE),
        special("oath/code", tarfile.SYMTYPE, "images"),
        special("oath/features/auroral_feat.h5", tarfile.GNUTYPE_SPARSE),
        ("/oath/00_README", b""),
        ("oath\\..\\..\\00_README", b""),
    ],
    ids=["symbolic", "hard", "fifo", "device", "inside", "sparse", "root", "windows"],
)
def test_what_is_no_plain_file_or_folder_is_refused(archive, member):
    """Also where it leads nowhere else; what came before is not left behind."""
    write_archive(archive, ("oath/00_README", b"OATH"), member)
    with pytest.raises(ValueError, match="refused to unpack"):
        load_oath(archive)
    assert list(archive.parent.iterdir()) == [archive]


def test_long_chains_of_links_overwrite_nothing(archive):
    """CVE-2025-4517: Python's own filter let them lead out of the folder."""
    victim = archive.with_name("victim")
    victim.write_bytes(b"precious")
    members, inside, chain = [], "", ""
    for letter in "abcdefghijklmnop":
        members.append(special(f"{inside}{247 * 'd'}", tarfile.DIRTYPE))
        members.append(special(f"{inside}{letter}", tarfile.SYMTYPE, 247 * "d"))
        inside, chain = f"{inside}{247 * 'd'}/", f"{chain}{letter}/"
    chain += 254 * "l"
    members.append(special(chain, tarfile.SYMTYPE, 16 * "../"))
    members.append(special("escape", tarfile.SYMTYPE, f"{chain}/../../victim"))
    members.append(special("flag", tarfile.LNKTYPE, "escape"))
    write_archive(archive, *members, ("flag", b"changed"))
    with pytest.raises(ValueError, match="refused to unpack"):
        load_oath(archive)
    assert victim.read_bytes() == b"precious"
    assert sorted(archive.parent.iterdir()) == [archive, victim]


def test_only_what_oath_has_is_unpacked(archive, archive_bytes):
    """Other files are passed over, and modes and owners are ours."""
    with tarfile.open(fileobj=io.BytesIO(archive_bytes)) as tar:
        members = [(m, tar.extractfile(m).read()) for m in tar if m.isfile()]
    for member, _ in members:
        member.mode = 0o6777
    folder = "oath_v1.1/images/cropped_scaled"
    for name in ("._00001.png", "06000.png", "1.png", "00001.png.exe", "sub/00001.png"):
        members.append((f"{folder}/{name}", b"other"))
    members += [("oath_v1.1/.git/hooks/post-checkout", b""), ("x/" + 200 * "y", b"")]
    write_archive(archive, *members)
    load_oath(archive, as_array=True, features=True)
    folder = files.unpacked(archive)
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*.*")}
    assert set(found) == {
        "classifications/classifications.csv",
        "classifications/train_test_split.csv",
        "features/auroral_feat.h5",
        *(f"images/cropped_scaled/{k:05d}.png" for k in range(1, N + 1)),
    }
    assert (folder / "00_README").read_text() == "OATH\n"
    assert not any(path.stat().st_mode & 0o6111 for path in found.values())


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("top", ["", "./", "oath/", "./oath-1.1/"])
def test_archives_of_any_tar_are_read(copy, archive, form, top):
    """With any folder on top, or none."""
    with tarfile.open(archive, "w:gz", format=form) as tar:
        tar.add(copy, arcname=top or ".")
    assert len(load_oath(archive, as_array=True).target) == N


@pytest.mark.parametrize(
    ("name", "limit", "message"),
    [
        ("oath/code/large", "MAX_BYTES", "unpacks to more than"),
        ("oath/images/cropped_scaled/00001.png", "_MOST_OF_A_FILE", "has 5,000,000 b"),
    ],
)
def test_bombs_are_refused(archive, monkeypatch, name, limit, message):
    """Small archives of much, in what is passed over too; nothing of it stays."""
    monkeypatch.setattr(files, limit, 10**6)
    write_archive(archive, (name, bytes(5 * 10**6)))
    assert archive.stat().st_size < 10_000
    with pytest.raises(ValueError, match=f"refused to unpack .*{message}"):
        load_oath(archive)
    assert list(archive.parent.iterdir()) == [archive]


def test_archives_of_many_files_are_refused(archive, monkeypatch):
    """Also where none of them is written."""
    monkeypatch.setattr(files, "_MOST_MEMBERS", 100)
    write_archive(archive, *((f"oath/code/{k}", b"") for k in range(101)))
    with pytest.raises(ValueError, match="refused .* more than 100 members"):
        load_oath(archive)


def test_no_file_is_written_twice(archive):
    """Not even under another folder on top."""
    write_archive(archive, (LABELS, b"1"), ("other" + LABELS[4:], b"2"))
    with pytest.raises(ValueError, match=r"refused .*classifications\.csv' twice"):
        load_oath(archive)
    assert list(archive.parent.iterdir()) == [archive]


def test_long_headers_are_not_read_into_memory(archive):
    """As tarfile would, of whatever size they say they have."""
    member = tarfile.TarInfo("name")
    member.type, member.size = tarfile.XHDTYPE, 50 * 10**6
    write_archive(archive, (member, bytes(member.size)), (LABELS, b"too short"))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="expected a line class2"):
            load_oath(archive)
        assert tracemalloc.get_traced_memory()[1] < 10 * 10**6
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_is_full_names_the_file(archive, monkeypatch):
    """And nothing is left of what was unpacked."""

    def full(path, mode="r", *args, **params):
        return open("/dev/full" if "x" in mode else path, mode.replace("x", "w"))

    monkeypatch.setattr(files, "open", full, raising=False)
    with pytest.raises(OSError, match=r"No space left on device: .*00_README'"):
        load_oath(archive)
    assert list(archive.parent.iterdir()) == [archive]


def forget(archive):
    """Remove what was unpacked."""
    shutil.rmtree(files.unpacked(archive))


def test_the_first_archive_is_the_one_that_is_trusted(archive, archive_bytes):
    """Its SHA-256 is noted; another one is refused, until the note is deleted."""
    load_oath(archive)
    note = archive.with_name(f"{archive.name}.sha256")
    assert note.read_text() == f"{sha256(archive_bytes)}  {archive.name}\n"
    forget(archive)
    write_archive(archive, (LABELS, b"other"))
    other = sha256(archive.read_bytes())
    with pytest.raises(ValueError, match=f"{sha256(archive_bytes)}, noted .*{other}"):
        load_oath(archive)
    assert sorted(archive.parent.iterdir()) == [archive, note]
    note.write_text("nonsense")
    with pytest.raises(ValueError, match="something else. Delete it if you trust"):
        load_oath(archive)
    note.unlink()
    archive.write_bytes(archive_bytes)
    assert len(load_oath(archive).target) == N


# Download


class Server(ThreadingHTTPServer):
    """Serve one file on 127.0.0.1, well or badly, and note what was asked for.

    ``plan`` has one word per request: "whole", "range" (honours Range), "half"
    (breaks off after half of what is due), "stall" (sends half, then nothing),
    "gzip" (declares the file a compressed transfer) or a status code. The last word
    goes on for ever.
    """

    daemon_threads = True

    def __init__(self, data, *plan):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.plan, self.asked = data, list(plan), []
        self.release = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/{files.ARCHIVE}"

    def handle_error(self, request, client_address):
        """Say nothing when the client was killed."""


class Handler(BaseHTTPRequestHandler):
    """Answer one request according to the server's plan."""

    def do_HEAD(self):
        """Say that there is a file."""
        self.send_response(200)
        self.end_headers()

    def do_GET(self):
        """Send the file."""
        server = self.server
        word = server.plan.pop(0) if len(server.plan) > 1 else server.plan[0]
        wanted = self.headers.get("Range", "")
        server.asked.append(wanted)
        if word.isdigit():
            return self.send_error(int(word))
        start = int(re.sub(r"\D", "", wanted) or 0) if word != "whole" else 0
        total = len(server.data)
        if start >= total:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(total - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        if word == "gzip":
            self.send_header("Content-Encoding", "x-gzip")
        self.end_headers()
        body = server.data[start:]
        halved = word in ("half", "stall")
        self.wfile.write(body[: len(body) // 2] if halved else body)
        if word == "stall":
            self.wfile.flush()
            server.release.wait(30)

    def log_message(self, *args):
        """Keep the test output clean."""


@pytest.fixture
def serve(archive_bytes, monkeypatch):
    """Return a function that starts a server with a plan and points the URL to it."""
    servers = []

    def start(*plan):
        server = Server(archive_bytes, *plan)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(files, "URL", server.url)
        monkeypatch.setattr(files, "HTTPS_URL", server.url)
        return server

    yield start
    for server in servers:
        server.release.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def home(tmp_path):
    """Return a data home that does not exist yet."""
    return tmp_path / "data" / "home"


def fetch(home, **params):
    """Call fetch_oath without pauses."""
    return fetch_oath(data_home=home, **({"delay": 0, "n_retries": 0} | params))


def sha256(data):
    """Return the SHA-256 of bytes in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def test_fetch_downloads_once_and_leaves_no_partial_file(serve, home, archive_bytes):
    """One request, the same bytes, and the second call needs no network."""
    server = serve("range")
    first = fetch(home, as_array=True)
    assert first.images.shape == (N, 8, 9)
    assert sha256((home / files.ARCHIVE).read_bytes()) == sha256(archive_bytes)
    assert {path.name for path in home.iterdir()} == {
        files.ARCHIVE,
        f"{files.ARCHIVE}.sha256",
        f"{files.ARCHIVE}.untar",
    }
    assert len(fetch(home, download_if_missing=False).target) == N
    assert server.asked == [""]


def test_fetch_logs_the_checksum_that_nobody_published(
    serve, home, archive_bytes, caplog
):
    """The SHA-256 of what came is in pooch's log."""
    serve("range")
    logger = pooch.get_logger()
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO, logger=logger.name):
            fetch(home)
    finally:
        logger.removeHandler(caplog.handler)
    assert sha256(archive_bytes) in caplog.text


def test_another_archive_than_the_first_is_not_downloaded(serve, home, archive_bytes):
    """Once the archive and what was unpacked are deleted, but not the note."""
    server = serve("range")
    fetch(home)
    (home / files.ARCHIVE).unlink()
    forget(home / files.ARCHIVE)
    server.data = archive_bytes + b"more"
    expected = f"{sha256(archive_bytes)}.*{sha256(server.data)}.*To get it by hand"
    with pytest.raises(OSError, match=expected):
        fetch(home)
    assert [path.name for path in home.iterdir()] == [f"{files.ARCHIVE}.sha256"]
    server.data = archive_bytes
    assert len(fetch(home).target) == N


def test_the_sha256_may_be_given(serve, home, archive_bytes):
    """It is compared at the download and later; only an archive can be compared."""
    serve("range")
    right, wrong = sha256(archive_bytes), sha256(b"other")
    with pytest.raises(OSError, match=f"{wrong}.*{right}"):
        fetch(home, sha256=wrong)
    assert list(home.iterdir()) == []
    for _ in range(2):
        assert len(fetch(home, sha256=right).target) == N
    with pytest.raises(ValueError, match=f"{wrong}, as given, .*{right}"):
        fetch(home, sha256=wrong)
    (home / files.ARCHIVE).unlink()
    with pytest.raises(ValueError, match="an unpacked copy with"):
        fetch(home, sha256=right)
    with pytest.raises(ValueError, match="expected 64 hexadecimal digits.*'abc'"):
        fetch(home, sha256="abc")


def test_https_comes_first(serve, home):
    """Then http is not asked for anything, and there is nothing to warn of."""
    server = serve("range")
    files.URL = "http://127.0.0.1:1/oath.tgz"  # restored by the fixture
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fetch(home)
    assert server.asked == [""]


@pytest.mark.parametrize("known", ["nothing", "given", "noted"])
def test_plain_http_is_warned_of_unless_the_hash_is_known(
    serve, home, archive_bytes, monkeypatch, known
):
    """The warning has the SHA-256, to compare."""
    serve("range")
    monkeypatch.setattr(files, "HTTPS_URL", "https://127.0.0.1:1/oath.tgz")
    found = sha256(archive_bytes)
    if known == "noted":
        home.mkdir(parents=True)
        (home / f"{files.ARCHIVE}.sha256").write_text(f"{found}  {files.ARCHIVE}\n")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        fetch(home, sha256=found if known == "given" else None)
    assert len(caught) == (known == "nothing")
    for warning in caught:
        assert "plain http" in str(warning.message) and found in str(warning.message)


def test_an_archive_beyond_the_limit_is_not_downloaded(serve, home, monkeypatch):
    """Nothing of it is kept."""
    serve("range")
    monkeypatch.setattr(files, "MAX_BYTES", 100_000)
    with pytest.raises(OSError, match=r"at most 100,000.*To get it by hand"):
        fetch(home)
    assert list(home.iterdir()) == []


def test_a_broken_download_goes_on_at_the_next_call(serve, home, archive_bytes):
    """The half that came is kept, and only the other half is asked for."""
    server = serve("half", "range")
    with pytest.raises(OSError, match="To get it by hand"):
        fetch(home)
    half = len(archive_bytes) // 2
    assert [path.name for path in home.iterdir()] == [f"{files.ARCHIVE}.part"]
    fetch(home)
    assert server.asked == ["", f"bytes={half}-"]
    assert sha256((home / files.ARCHIVE).read_bytes()) == sha256(archive_bytes)


def test_a_killed_process_resumes(serve, home, archive_bytes):
    """SIGKILL in the middle: the next process asks only for the rest."""
    server = serve("stall", "range")
    code = (
        "import pathlib; from sksimclr._machine.download import download; "
        f"home = pathlib.Path({str(home)!r}); "
        f"download({server.url!r}, home / {files.ARCHIVE!r}, n_retries=0, delay=0, "
        "max_bytes=10**6)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    part = home / f"{files.ARCHIVE}.part"
    for _ in range(1000):
        if part.exists() and part.stat().st_size >= 100_000:
            break
        assert process.poll() is None
        server.release.wait(0.02)
    process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    process.wait()
    size = part.stat().st_size
    assert 100_000 <= size <= len(archive_bytes) // 2
    fetch(home)
    assert server.asked == ["", f"bytes={size}-"]
    assert sha256((home / files.ARCHIVE).read_bytes()) == sha256(archive_bytes)


def test_retries_go_on_within_one_call(serve, home, archive_bytes):
    """Two breaks and one server error are survived with three retries."""
    server = serve("half", "503", "half", "range")
    with pytest.warns(UserWarning, match="broke off") as caught:
        fetch(home, n_retries=3)
    assert len(caught) == 3
    assert len(server.asked) == 4
    assert sha256((home / files.ARCHIVE).read_bytes()) == sha256(archive_bytes)


def test_a_server_that_ignores_range_makes_it_start_over(serve, home, archive_bytes):
    """The whole file is written once, not appended to the half."""
    serve("half", "whole")
    with pytest.warns(UserWarning, match="broke off"):
        fetch(home, n_retries=1)
    assert sha256((home / files.ARCHIVE).read_bytes()) == sha256(archive_bytes)


def test_a_short_answer_is_noticed_without_the_help_of_urllib3(
    serve, home, monkeypatch
):
    """Versions of urllib3 before 2 end a truncated body without an error."""
    serve("range")
    monkeypatch.setattr(
        urllib3.HTTPResponse, "stream", lambda *args, **kwargs: iter([b"short"])
    )
    with pytest.raises(OSError, match="got 5 of"):
        fetch(home)
    assert not (home / files.ARCHIVE).exists()


def test_a_partial_file_that_is_complete_needs_no_more_bytes(
    serve, home, archive_bytes
):
    """Killed between the last byte and the renaming: nothing is sent again."""
    server = serve("range")
    home.mkdir(parents=True)
    (home / f"{files.ARCHIVE}.part").write_bytes(archive_bytes)
    assert len(fetch(home).target) == N
    assert server.asked == [f"bytes={len(archive_bytes)}-"]


def test_a_partial_file_that_is_too_long_is_thrown_away(serve, home, archive_bytes):
    """It belongs to another file, so the download starts over."""
    server = serve("range")
    home.mkdir(parents=True)
    (home / f"{files.ARCHIVE}.part").write_bytes(archive_bytes + b"more")
    with pytest.warns(UserWarning, match="deleted"):
        fetch(home, n_retries=1)
    assert server.asked == [f"bytes={len(archive_bytes) + 4}-", ""]
    assert sha256((home / files.ARCHIVE).read_bytes()) == sha256(archive_bytes)


def test_a_file_declared_as_compressed_transfer_is_kept_as_it_is(
    serve, home, archive_bytes
):
    """Some servers send a .tgz with Content-Encoding x-gzip."""
    serve("gzip")
    fetch(home)
    assert sha256((home / files.ARCHIVE).read_bytes()) == sha256(archive_bytes)


def test_a_missing_file_is_not_tried_again(serve, home):
    """404 fails at once, and the message says how to get the data by hand."""
    server = serve("404")
    with pytest.raises(OSError, match=r"404.*To get it by hand, download") as raised:
        fetch(home, n_retries=3)
    assert str(home) in str(raised.value)
    assert len(server.asked) == 1
    assert not (home / files.ARCHIVE).exists()


def test_no_server_at_all_is_an_os_error(home, monkeypatch):
    """A refused connection names the file to get by hand."""
    monkeypatch.setattr(files, "URL", "http://127.0.0.1:1/oath.tgz")
    monkeypatch.setattr(files, "HTTPS_URL", "https://127.0.0.1:1/oath.tgz")
    with pytest.raises(OSError, match="To get it by hand"):
        fetch(home)


def test_download_if_missing_false_never_touches_network_or_disk(home, monkeypatch):
    """FileNotFoundError with the address and the folder, which is not made."""
    with pytest.raises(FileNotFoundError, match=r"http://tid\.uio\.no/.*put it into"):
        fetch(home, download_if_missing=False)
    assert not home.exists()


@pytest.mark.parametrize("name", ["oath", "oath_v1.1", f"{files.ARCHIVE}.untar/oath"])
def test_fetch_uses_an_unpacked_copy_without_network(home, name, monkeypatch):
    """A folder that the user put there is enough."""
    monkeypatch.setattr(files, "URL", "http://127.0.0.1:1/oath.tgz")
    make_copy(home / name)
    assert len(fetch(home).target) == N


def test_a_half_unpacked_hidden_folder_is_not_taken_for_a_copy(home):
    """What a killed unpacking may leave behind is ignored."""
    make_copy(home / ".untar-abc")
    with pytest.raises(FileNotFoundError):
        fetch(home, download_if_missing=False)


def test_the_environment_names_the_data_home(home, monkeypatch):
    """SKSIMCLR_DATA is used where data_home is not given."""
    make_copy(home / "oath")
    monkeypatch.setenv("SKSIMCLR_DATA", str(home))
    assert len(fetch_oath(download_if_missing=False).target) == N


def test_data_home_is_the_folder_else_the_environment_else_the_cache(monkeypatch):
    """In this order, with ~ expanded."""
    monkeypatch.delenv("SKSIMCLR_DATA", raising=False)
    assert data_home() == pooch.os_cache("sksimclr")
    monkeypatch.setenv("SKSIMCLR_DATA", "~/env")
    assert data_home() == Path.home() / "env"
    assert data_home("~/own") == Path.home() / "own"


@pytest.mark.parametrize("left", ["nothing", "part", "file"])
def test_a_known_hash_accepts_the_right_file(serve, home, archive_bytes, left):
    """Downloaded once, resumed, or put in the place of a wrong one."""
    server = serve("range")
    path, right = home / "file.bin", f"sha256:{sha256(archive_bytes)}"
    home.mkdir(parents=True)
    if left == "part":
        (home / "file.bin.part").write_bytes(archive_bytes[:1000])
    elif left == "file":
        path.write_bytes(b"wrong")
    for _ in range(2):
        download(
            server.url, path, n_retries=0, delay=0, max_bytes=10**6, known_hash=right
        )
    assert server.asked == ["bytes=1000-" if left == "part" else ""]
    assert path.read_bytes() == archive_bytes
    assert list(home.iterdir()) == [path]


def test_a_known_hash_refuses_a_damaged_file(serve, home, archive_bytes):
    """Both hashes are in the message, and nothing stays, not even for a resume."""
    server = serve("range")
    params = {"n_retries": 3, "delay": 0, "max_bytes": 10**6}
    params["known_hash"] = f"sha256:{sha256(b'other')}"
    both = f"{sha256(b'other')} .*{sha256(archive_bytes)}"
    for _ in range(2):
        with pytest.raises(ValueError, match=both):
            download(server.url, home / "file.bin", **params)
        assert list(home.iterdir()) == []
    assert server.asked == ["", ""]


@pytest.mark.parametrize("params", [{"n_retries": -1}, {"delay": -0.1}])
def test_negative_retries_and_delays_are_refused(home, params):
    """The message names the argument."""
    with pytest.raises(ValueError, match=next(iter(params))):
        fetch(home, **params)


# The real files


def test_real_labels_have_the_published_counts_and_folds(real_data, tmp_path):
    """All 5,824 labels and the five given splits, with empty files as images."""
    (tmp_path / "classifications").mkdir()
    for name in ("classifications.csv", "train_test_split.csv"):
        text = (real_data / "oath" / name).read_text()
        (tmp_path / "classifications" / name).write_text(text)
    images = tmp_path / "images" / "cropped_scaled"
    images.mkdir(parents=True)
    for number in range(1, 5825):
        (images / f"{number:05d}.png").touch()
    oath = load_oath(tmp_path)
    assert np.bincount(oath.target).tolist() == [774, 1102, 1400, 852, 614, 1082]
    assert np.bincount(oath.target_aurora).tolist() == [3276, 2548]
    assert 0 <= oath.rotation.min() < oath.rotation.max() < 360
    for got, expected in zip(oath.folds, oath_folds(), strict=True):
        assert (len(got[0]), len(got[1])) == (4077, 1747)
        np.testing.assert_array_equal(np.concatenate(got), np.concatenate(expected))
    np.testing.assert_array_equal(oath.groups, sequence_groups(5824))


def test_real_images_keep_their_sixteen_bits(real_data, tmp_path):
    """Five real images: full range inside the field of view, 0 outside it."""
    paths = sorted((real_data / "oath" / "images").glob("*.png"))
    (tmp_path / "classifications").mkdir()
    lines = (real_data / "oath" / "classifications.csv").read_text().splitlines()
    kept = lines[:19] + [lines[18 + int(path.stem)] for path in paths]
    (tmp_path / "classifications" / "classifications.csv").write_text("\n".join(kept))
    images = tmp_path / "images" / "cropped_scaled"
    images.mkdir(parents=True)
    for path in paths:
        (images / path.name).write_bytes(path.read_bytes())
    oath = load_oath(tmp_path, as_array=True)
    assert [oath.target_names[k] for k in oath.target] == [
        "discrete",
        "arc",
        "diffuse",
        "diffuse",
        "arc",
    ]
    assert oath.images.shape == (5, 256, 256)
    assert oath.images.dtype == np.uint16
    rows, columns = np.mgrid[:256, :256]
    outside = np.hypot(rows - 127, columns - 128) > 108.8
    assert not oath.images[:, outside].any()
    assert np.all(oath.images.max(axis=(1, 2)) == 65535)
