"""Frames in tar files of PNG images."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image
from real_data import FOLDER

from sksimclr.archive import UnreadableFileError, read_frames

NAMES = [f"20200508_0605{k:02}_122643_gill_rgb-04_320ms_full.png" for k in (0, 3, 6)]
TREX = sorted((FOLDER / "trex").glob("*.png"))


def png(image):
    """Return an image as the bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def write(path, members):
    """Write a tar file of {name: bytes}; bytes None stand for a link out of it."""
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            if data is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/hostname"
                tar.addfile(member)
                continue
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def images(rng):
    """Return three colour images."""
    return rng.integers(0, 256, (3, 6, 7, 3), np.uint8)


@pytest.fixture
def path(tmp_path, images):
    """Return a minute of frames, the last one first."""
    members = dict(zip(NAMES, map(png, images), strict=True))
    members = {name: members[name] for name in reversed(members)}
    return write(tmp_path / "20200508_0605_gill_rgb-04.png.tar", members)


def test_frames_come_in_order_with_their_times(path, images):
    """Which are those of the members' names, to a fraction of a second."""
    frames = read_frames(path)
    np.testing.assert_array_equal(frames.images, images)
    assert (frames.site, frames.damage) == ("gill", "")
    assert frames.instrument == "rgb-04"
    expected = [f"2020-05-08T06:05:0{k}.122643" for k in (0, 3, 6)]
    np.testing.assert_array_equal(frames.times, np.array(expected, "datetime64[ns]"))


def test_what_is_no_image_is_passed_over(tmp_path, images):
    """Links above all, and what systems hide; and nothing is written."""
    members = {"x/": b"", "readme.txt": b"hello", "link.png": None}
    members |= {f"x/._{NAMES[0]}": b"\0\5\x16\7", ".a.png": png(images[1])}
    path = write(tmp_path / "a.png.tar", members | {f"x/{NAMES[0]}": png(images[0])})
    np.testing.assert_array_equal(read_frames(path).images, images[:1])
    with pytest.raises(UnreadableFileError, match=r"b.png.tar.*no PNG image"):
        read_frames(write(tmp_path / "b.png.tar", members))


def test_truncated_files_give_their_whole_frames(path, images):
    """And say so."""
    data = path.read_bytes()
    for length in range(100, len(data), 97):
        path.write_bytes(data[:length])
        try:
            frames = read_frames(path)
        except UnreadableFileError as error:
            assert "png.tar" in str(error)
            continue
        n = len(frames)
        np.testing.assert_array_equal(frames.images, images[::-1][:n][::-1])
        assert frames.damage or n == 3


def test_members_that_are_unlike_or_damaged_are_named(tmp_path, images):
    """They may be of another camera."""
    good, other = png(images[0]), png(images[1, ..., 0])
    for bad, said in ((other, "must be alike"), (good[:60], "damaged")):
        path = write(tmp_path / "a.png.tar", {NAMES[0]: good, NAMES[1]: bad})
        with pytest.raises(UnreadableFileError, match=f"{NAMES[1]}.*{said}"):
            read_frames(path)


def test_sizes_that_are_not_there_take_no_memory(path):
    """The header of a member may say anything."""
    data = bytearray(path.read_bytes())
    data[124:135] = b"77777777777"  # 8 GB, in octal
    data[148:156] = b" " * 8
    data[148:156] = f"{sum(data[:512]):06o}\0 ".encode()
    path.write_bytes(data)
    with pytest.raises(UnreadableFileError, match=r"png.tar"):
        read_frames(path)


@pytest.mark.skipif(not TREX, reason="real data are absent")
def test_real_images_of_trex(tmp_path):
    """As they are when they lie in files of their own."""
    path = write(tmp_path / "a.png.tar", {TREX[0].name: TREX[0].read_bytes()})
    frames, alone = read_frames(path), read_frames(TREX[0])
    np.testing.assert_array_equal(frames.images, alone.images)
    assert frames.times[0] == alone.times[0] and frames.site == alone.site == "gill"
