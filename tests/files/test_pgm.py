"""Frames of PGM files: what they hold, and what is made of damaged ones."""

import gzip
import zlib

import numpy as np
import pytest
from archive_files import START, frame_times, pgm_bytes, write_pgm
from mutants import count_noticed
from real_data import read_pgm_frames

from sksimclr._files import compressed, pgm
from sksimclr.archive import UnreadableFileError, read_frames

N_FRAMES = 3


@pytest.fixture(params=["zlib", "isal"])
def inflater(request, monkeypatch):
    """Decompress with zlib, and with what takes its place where it is there."""
    module = zlib
    if request.param == "isal":
        module = pytest.importorskip("isal.isal_zlib")
    monkeypatch.setattr(compressed, "zlib", module)


@pytest.fixture(params=[np.uint8, np.uint16])
def images(request, rng):
    """Return frames (3, 4, 5) of 8 or 16 bits."""
    return rng.integers(0, np.iinfo(request.param).max + 1, (3, 4, 5), request.param)


def write(path, data):
    """Write bytes, compressed if the name says so; return the path."""
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("suffix", [".pgm", ".pgm.gz"])
def test_frames_are_what_was_written(tmp_path, images, suffix, inflater):
    """Pixels, times, site and comments."""
    path = write_pgm(tmp_path / f"x{suffix}", images, frame_times(N_FRAMES), "fsmi")
    frames = read_frames(path)
    np.testing.assert_array_equal(frames.images, images)
    assert frames.images.dtype == images.dtype and frames.images.flags.c_contiguous
    np.testing.assert_array_equal(frames.times, frame_times(N_FRAMES))
    assert (frames.site, frames.damage) == ("fsmi", "")
    assert frames.metadata["Geodetic latitude"] == "56.3539"


def test_real_files_are_read(real_data):
    """Like by the reader that only knows these files; times are in their names."""
    paths = sorted((real_data / "themis").glob("*.pgm.gz"))
    frames = [read_frames(path) for path in paths]
    images = np.concatenate([f.images for f in frames])
    np.testing.assert_array_equal(images, read_pgm_frames(real_data))
    for path, one in zip(paths, frames, strict=True):
        minute = np.datetime64("2014-03-10T06:00") + int(path.name[11:13])
        seconds = (one.times - minute) / np.timedelta64(1, "s")
        np.testing.assert_allclose(seconds, 3 * np.arange(20), atol=0.1)
        assert (one.site, one.damage, len(one.metadata)) == ("gill", "", 28)


def test_plain_images_are_read(tmp_path, images):
    """The name may tell the site; no time is made up."""
    path = write(tmp_path / "20140310_0600_GILL_x.pgm", pgm_bytes(images))
    frames = read_frames(path)
    np.testing.assert_array_equal(frames.images, images)
    assert frames.site == "gill" and np.isnat(frames.times).all()
    assert read_frames(path.rename(tmp_path / "x.pgm")).site == ""


@pytest.mark.parametrize(
    "header",
    [
        b"P5 5 4 255\n",
        b"P5\n#\n5\t#c\n#P5 9 9 9\n4 # c\r\n255 ",
        b"P5\r\n5 4\r\n255\r\n",
        b"\nP5\n005 00004\n0255\t",
    ],
)
def test_headers_may_be_spaced_in_any_way(tmp_path, header):
    """White space and comments between their parts; one character at the end."""
    pixels = np.arange(20, dtype=np.uint8)
    path = write(tmp_path / "x.pgm", 2 * (header + pixels.tobytes()))
    images = read_frames(path).images
    np.testing.assert_array_equal(images, np.stack(2 * [pixels.reshape(4, 5)]))


def test_a_maximum_of_more_than_255_means_two_bytes(tmp_path):
    """High byte first; values stay as they are."""
    path = write(tmp_path / "x.pgm", b"P5 2 1 4095\n\x0f\xff\x00\x01")
    assert read_frames(path).images.tolist() == [[[4095, 1]]]


@pytest.mark.parametrize("time", [b"2014-13-10 06:00", b"0014-03-10 06:00", b"never"])
def test_only_the_time_that_is_none_is_unknown(tmp_path, images, time):
    """Of a frame whose comment is damaged."""
    data = pgm_bytes(images, frame_times(N_FRAMES))
    begin = b"2014-03-10 06:00:03"
    assert data.count(begin) == 1
    path = write(tmp_path / "x.pgm", data.replace(begin, time + b":03"))
    times = read_frames(path).times
    assert np.isnat(times).tolist() == [False, True, False]
    assert times[0] == START


def test_site_is_a_code_or_none(tmp_path, images):
    """Nothing that would lead out of a folder."""
    data = pgm_bytes(images, frame_times(N_FRAMES), site="../Gill")
    assert read_frames(write(tmp_path / "x.pgm", data)).site == ""


@pytest.mark.parametrize("suffix", [".pgm", ".pgm.gz"])
def test_wherever_a_file_ends_its_whole_frames_are_read(tmp_path, images, suffix):
    """And it says so, unless it ends between two frames."""
    data = pgm_bytes(images, frame_times(N_FRAMES))
    ends = [len(pgm_bytes(images[:n], frame_times(N_FRAMES))) for n in range(4)]
    for length in sorted({*range(1, len(data), 7), *ends[1:3]}):
        path = write(tmp_path / f"x{suffix}", data[:length])
        n_whole = sum(end <= length for end in ends[1:])
        if n_whole == 0:
            with pytest.raises(UnreadableFileError, match="it ends in .*frame 0"):
                read_frames(path)
            continue
        frames = read_frames(path)
        np.testing.assert_array_equal(frames.images, images[:n_whole])
        assert (frames.damage == "") == (length in ends)
        assert not frames.damage or f"frame {n_whole} (from 0)" in frames.damage


def test_compressed_data_may_end_anywhere(tmp_path, images, inflater):
    """What is complete is read, and the damage is named."""
    data = gzip.compress(pgm_bytes(images, frame_times(N_FRAMES)))
    n_read = []
    for length in range(1, len(data), 3):
        path = tmp_path / "x.pgm.gz"
        path.write_bytes(data[:length])
        try:
            frames = read_frames(path)
        except UnreadableFileError:
            n_read.append(0)
            continue
        assert "compressed data end too early" in frames.damage
        np.testing.assert_array_equal(frames.images, images[: len(frames)])
        n_read.append(len(frames))
    assert n_read == sorted(n_read) and set(n_read) >= {0, N_FRAMES}


def test_no_flipped_bit_of_compressed_data_goes_unnoticed(tmp_path, inflater):
    """Each is refused, named, or in what is not part of the frames."""
    images = np.arange(20, dtype=np.uint8).reshape(1, 4, 5)
    data = gzip.compress(pgm_bytes(images))
    path = tmp_path / "x.pgm.gz"
    path.write_bytes(data)
    n_noticed = count_noticed(path, range(8 * len(data)), images)
    assert n_noticed >= 8 * (len(data) - 10)  # all but those in the header of gzip


def test_members_of_compressed_files_follow_each_other(tmp_path, images, inflater):
    """With zeros at the end, as tapes have them, and without."""
    parts = [gzip.compress(pgm_bytes(images[k : k + 1])) for k in range(N_FRAMES)]
    path = tmp_path / "x.pgm.gz"
    for end in (b"", bytes(1000)):
        path.write_bytes(b"".join(parts) + end)
        frames = read_frames(path)
        np.testing.assert_array_equal(frames.images, images)
        assert frames.damage == ""


@pytest.mark.parametrize(
    ("suffix", "what"), [(".pgm", "header"), (".pgm.gz", "follow")]
)
def test_what_follows_is_named(tmp_path, images, suffix, what):
    """Frames before it are read."""
    path = write_pgm(tmp_path / f"x{suffix}", images)
    path.write_bytes(path.read_bytes() + b"something else")
    frames = read_frames(path)
    np.testing.assert_array_equal(frames.images, images)
    assert what in frames.damage and "14 bytes" in frames.damage


def test_content_decides_and_not_the_name(tmp_path, images):
    """Whether a file is compressed."""
    data = pgm_bytes(images)
    for name, content in (("x.pgm", gzip.compress(data)), ("x.pgm.gz", data)):
        (tmp_path / name).write_bytes(content)
        np.testing.assert_array_equal(read_frames(tmp_path / name).images, images)


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (np.zeros((1, 4, 6), np.uint16), "5 x 4 pixels of 16 bits.* 6 x 4 pixels"),
        (np.zeros((1, 4, 5), np.uint8), "of 8 bits in frame 1"),
    ],
)
def test_frames_of_a_file_are_alike(tmp_path, second, said):
    """Or the error says which is not."""
    first = pgm_bytes(np.zeros((1, 4, 5), np.uint16))
    path = write(tmp_path / "x.pgm", first + pgm_bytes(second))
    with pytest.raises(UnreadableFileError, match=said):
        read_frames(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"P6 2 1 255\nabcdef", "expected .* binary PGM image at byte 0, got b'P6 2 1"),
        (b"P5 0 4 255\n", "expected .* binary PGM"),
        (b"P5 2 1 70000\n1234", "expected .* binary PGM"),
        (b"P5 123456 1 255\n1234", "expected .* binary PGM"),
        (b"P5 99999 99999 255\n1234", "after 4 of 9,999,800,001 bytes"),
        (b"P5\n" + b"#" * 100_000, "expected .* binary PGM"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, content, said):
    """With what was expected and what was found."""
    path = write(tmp_path / "x.pgm", content)
    with pytest.raises(UnreadableFileError, match=said) as caught:
        read_frames(path)
    assert str(path) in str(caught.value)


def count_inflated(monkeypatch):
    """Return a list that grows by the number of bytes of each decompressed piece."""
    sizes, decompress = [], compressed._decompress

    def counting(member, chunk, *limit):
        data = decompress(member, chunk, *limit)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(compressed, "_decompress", counting)
    return sizes


@pytest.mark.parametrize("start", [b"", b"P5\n", b"P5 2 1 255\nab"])
def test_no_more_than_the_limit_is_decompressed(tmp_path, start, monkeypatch):
    """And only the beginning of what begins with no image."""
    sizes, limit = count_inflated(monkeypatch), 100 << 20
    monkeypatch.setattr(compressed, "MAX_BYTES", limit)
    member = gzip.compress(b"#" * (8 << 20))
    path = tmp_path / "x.pgm.gz"
    path.write_bytes(gzip.compress(start) + 20 * member)
    has_image = len(start) > 3
    said = "At most 104,857,600" if has_image else "expected the header"
    with pytest.raises(UnreadableFileError, match=said):
        read_frames(path)
    assert sum(sizes) <= (limit + (8 << 20) if has_image else 10 << 20)


def test_small_file_may_not_become_a_large_one(tmp_path, monkeypatch):
    """Beyond what frames of the sky can be compressed, unless that is little."""
    monkeypatch.setattr(compressed, "_FREE_BYTES", 100_000)
    path = tmp_path / "x.pgm.gz"
    for n_bytes in (90_000, 200_000):
        header = b"P5 10 %d 255\n" % (n_bytes // 10)
        path.write_bytes(gzip.compress(header + bytes(n_bytes)))
        if n_bytes > 100_000:
            with pytest.raises(UnreadableFileError, match="At most 100,000 are read"):
                read_frames(path)
        else:
            assert read_frames(path).images.size == n_bytes
    noise = np.random.default_rng(0).bytes(200_000)
    path.write_bytes(gzip.compress(b"P5 20 10000 255\n" + noise))
    assert read_frames(path).images.size == 200_000


def test_larger_files_are_not_even_read(tmp_path, monkeypatch):
    """The limit holds for those that are not compressed, too."""
    monkeypatch.setattr(compressed, "MAX_BYTES", 1000)
    path = write(tmp_path / "x.pgm", pgm_bytes(np.zeros((1, 40, 40), np.uint8)))
    with pytest.raises(UnreadableFileError, match="1,613 bytes .* At most 1,000"):
        read_frames(path)


def test_number_of_frames_is_limited(tmp_path, monkeypatch):
    """Small ones in a large file would take for ever."""
    monkeypatch.setattr(pgm, "_MAX_FRAMES", 10)
    path = write(tmp_path / "x.pgm", 11 * b"P5 1 1 255\n.")
    with pytest.raises(UnreadableFileError, match="more than 10 frames"):
        read_frames(path)
