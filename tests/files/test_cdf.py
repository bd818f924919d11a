"""Frames of CDF files: both layouts, and what is made of damaged ones."""

import gzip
import re
import struct

import cdflib
import numpy as np
import pytest
from archive_files import frame_times, write_cdf
from cdflib.cdfwrite import CDF
from mutants import count_noticed
from real_data import read_cdf_frames

from sksimclr._files import compressed
from sksimclr._files.cdf_records import CDFFile
from sksimclr.archive import UnreadableFileError, read_frames

N_FRAMES = 5
EPOCH_STEP = np.timedelta64(8, "us")  # of times as milliseconds since the year 0


@pytest.fixture
def images(rng):
    """Return frames (5, 16, 17) of 16 bits that compress well."""
    return rng.integers(0, 10, (N_FRAMES, 16, 17), np.uint16)


def only_path(folder):
    """Return the path of the real file."""
    (path,) = (folder / "themis").glob("thg_*.cdf")
    return path


def test_real_file_is_read(real_data):
    """Like by cdflib; epochs tell milliseconds, times only seconds."""
    path = only_path(real_data)
    frames = read_frames(path)
    np.testing.assert_array_equal(frames.images, read_cdf_frames(real_data))
    file = cdflib.CDF(path)
    epochs = cdflib.cdfepoch.to_datetime(file.varget("thg_asf_gako_epoch"))
    np.testing.assert_array_equal(frames.times, epochs)
    seconds = file.varget("thg_asf_gako_time") * np.timedelta64(1, "s")
    late = frames.times - (np.datetime64(0, "s") + seconds.astype("timedelta64[s]"))
    assert (abs(late) < np.timedelta64(100, "ms")).all()
    assert (frames.site, frames.damage) == ("gako", "")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("layout", ["legacy", "2024"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"Majority": "Column_major"},
        {"Encoding": 6},
        {"Compressed": 6},
        {"Checksum": True},
        {"Compress": 0},
        {"Block_Factor": 2},
    ],
    ids=str,
)
def test_frames_are_what_was_written(tmp_path, images, dtype, layout, options):
    """In whatever form, and cdflib reads the same."""
    images, times = images.astype(dtype), frame_times(N_FRAMES)
    path = write_cdf(tmp_path / "x.cdf", images, times, layout=layout, **options)
    frames = read_frames(path)
    np.testing.assert_array_equal(frames.images, images)
    assert frames.images.dtype == dtype and frames.images.flags.c_contiguous
    assert (abs(frames.times - times) < EPOCH_STEP).all()
    assert (frames.site, frames.damage) == ("gill", "")
    theirs = cdflib.CDF(path).varget("thg_asf_gill")
    theirs = np.moveaxis(theirs[0], -1, 0) if layout == "2024" else theirs
    np.testing.assert_array_equal(frames.images, theirs)


@pytest.mark.parametrize("n_records", [1, 7, 100])
def test_all_variables_are_those_that_cdflib_reads(tmp_path, rng, n_records):
    """Of all types of numbers, with many blocks and levels of indices."""
    kinds = {"INT1": "i1", "INT2": "i2", "INT4": "i4", "INT8": "i8", "UINT4": "u4"}
    kinds |= {"REAL4": "f4", "DOUBLE": "f8"}
    file = CDF(tmp_path / "x.cdf")
    file.BLOCKING_BYTES = 1  # or it makes larger blocks
    for name, dtype in kinds.items():
        data = rng.integers(0, 100, (n_records, 50)).astype(dtype)
        spec = {"Variable": name, "Data_Type": file._datatype_token(f"CDF_{name}")}
        spec |= {"Num_Elements": 1, "Rec_Vary": True, "Dim_Sizes": [50]}
        file.write_var(spec | {"Block_Factor": 1, "Compress": 9}, var_data=data)
    file.close()
    ours, theirs = CDFFile(tmp_path / "x.cdf"), cdflib.CDF(tmp_path / "x.cdf")
    assert list(ours.variables) == list(kinds)
    for name in kinds:
        records, damage = ours.read(name)
        np.testing.assert_array_equal(records, np.atleast_2d(theirs.varget(name)))
        assert damage == ""


def write_variables(path, variables):
    """Write (name, type, records) to a CDF; return its path."""
    file = CDF(path)
    for name, kind, data in variables:
        spec = {"Variable": name, "Data_Type": file._datatype_token(kind)}
        spec |= {"Num_Elements": 1, "Rec_Vary": True, "Dim_Sizes": [*data.shape[1:]]}
        file.write_var(spec, var_data=data)
    file.close()
    return path


def test_variable_of_images_is_found_by_its_name(tmp_path, images):
    """Not by that of the file; other imagers have it too."""
    path = write_variables(
        tmp_path / "thg_l1_asf_gill_2014031006_v01.cdf",
        [
            ("clg_rgf_luck_row", "CDF_UINT2", np.ones((2, 3), np.uint16)),
            ("clg_rgf_luck_dark", "CDF_UINT2", images),
            ("clg_rgf_luck", "CDF_UINT2", images[:3]),
        ],
    )
    frames = read_frames(path)
    assert (len(frames), frames.site) == (3, "luck")
    assert np.isnat(frames.times).all()


def test_file_without_images_is_refused(tmp_path):
    """The message lists what is there."""
    numbers = np.ones((2, 3), np.uint16)
    path = write_variables(tmp_path / "x.cdf", [("thg_mag_gill", "CDF_UINT2", numbers)])
    with pytest.raises(UnreadableFileError, match="these variables: thg_mag_gill"):
        read_frames(path)


@pytest.mark.parametrize("layout", ["legacy", "2024"])
@pytest.mark.parametrize("n_frames", [N_FRAMES - 1, N_FRAMES + 2])
def test_frames_and_times_are_as_many(tmp_path, images, layout, n_frames):
    """Or it is named as damage: the number of frames may be what is wrong."""
    times = frame_times(n_frames)
    path = write_cdf(tmp_path / "x.cdf", images, times, layout=layout)
    frames = read_frames(path)
    np.testing.assert_array_equal(frames.images, images)
    assert f"5 frames, but {n_frames} values of thg_asf_gill_" in frames.damage


def test_file_of_no_frames_is_refused(tmp_path, images):
    """Of an hour in which nothing was recorded."""
    times = frame_times(0)
    path = write_cdf(tmp_path / "x.cdf", images[:0], times)
    with pytest.raises(UnreadableFileError, match="x.cdf': it has no frames"):
        read_frames(path)


def test_texts_are_not_variables(tmp_path, images):
    """Those that stand between others are passed over."""
    file = CDF(tmp_path / "x.cdf")
    spec = {"Num_Elements": 4, "Rec_Vary": False, "Dim_Sizes": []}
    kind = file._datatype_token("CDF_CHAR")
    file.write_var(spec | {"Variable": "unit", "Data_Type": kind}, var_data="time")
    kind = file._datatype_token("CDF_UINT2")
    spec = {"Num_Elements": 1, "Rec_Vary": True, "Dim_Sizes": [16, 17]}
    name = "thg_asf_gill"
    file.write_var(spec | {"Variable": name, "Data_Type": kind}, var_data=images)
    file.close()
    np.testing.assert_array_equal(read_frames(tmp_path / "x.cdf").images, images)
    assert list(CDFFile(tmp_path / "x.cdf").variables) == [name]


def test_times_that_are_none_are_unknown(tmp_path, images):
    """Fill values, unless the other variable knows better."""
    seconds = np.array([1e9, 1e9 + 3, np.nan, -1e31, 1e9 + 12])
    epochs = np.array([6.3e13, -1e31, -1e31, 0.0, np.nan])
    path = write_variables(
        tmp_path / "x.cdf",
        [
            ("thg_asf_gill", "CDF_UINT2", images),
            ("thg_asf_gill_time", "CDF_REAL8", seconds),
            ("thg_asf_gill_epoch", "CDF_EPOCH", epochs),
        ],
    )
    times = read_frames(path).times
    assert np.isnat(times).tolist() == [False, False, True, True, False]
    assert times[0] == cdflib.cdfepoch.to_datetime(epochs[0])
    assert times[1] == np.datetime64("2001-09-09T01:46:43")


def test_wherever_a_file_ends_its_whole_blocks_are_read(tmp_path, images):
    """And it says so; time is known to the second at least, or unknown."""
    times = frame_times(N_FRAMES)
    path = write_cdf(tmp_path / "x.cdf", images, times, Block_Factor=2)
    data, n_read = path.read_bytes(), []
    for length in range(0, len(data), 23):
        path.write_bytes(data[:length])
        try:
            frames = read_frames(path)
        except UnreadableFileError:
            n_read.append(0)
            continue
        assert f"it ends after {length:,} of {len(data):,} bytes" in frames.damage
        np.testing.assert_array_equal(frames.images, images[: len(frames)])
        late = abs(frames.times - times[: len(frames)])
        assert (np.isnat(late) | (late < np.timedelta64(1, "s"))).all()
        n_read.append(len(frames))
    assert n_read == sorted(n_read) and max(n_read) == N_FRAMES


def test_frames_before_a_damaged_block_are_read(tmp_path, images):
    """Its checksum tells; the frames after it are not to be trusted in their place."""
    path = write_cdf(tmp_path / "x.cdf", images, frame_times(N_FRAMES), Block_Factor=2)
    data = bytearray(path.read_bytes())
    blocks = [k for k in range(len(data)) if data[k : k + 3] == b"\x1f\x8b\x08"]
    data[blocks[1] + 20] ^= 1  # of frames 2 and 3
    path.write_bytes(data)
    frames = read_frames(path)
    np.testing.assert_array_equal(frames.images, images[:2])
    assert "2 of 5 records are read" in frames.damage
    data[blocks[0] + 20] ^= 1
    path.write_bytes(data)
    with pytest.raises(UnreadableFileError, match="0 of 5 records"):
        read_frames(path)


@pytest.mark.parametrize("compressed", [0, 6])
def test_no_flipped_bit_goes_unnoticed_with_a_checksum(tmp_path, images, compressed):
    """Which is that of the whole file."""
    path = write_cdf(
        tmp_path / "x.cdf",
        images,
        frame_times(N_FRAMES),
        Checksum=True,
        Compressed=compressed,
    )
    flips = range(3, 8 * path.stat().st_size, 211)
    n_noticed = count_noticed(path, flips, images)
    assert n_noticed > 0.98 * len(flips)  # one of them may turn the checksum off


def replaced(data, position, form, *numbers):
    """Return bytes with others in their place."""
    new = struct.pack(form, *numbers)
    return data[:position] + new + data[position + len(new) :]


def place_of(data, kind, start=8):
    """Return where the first record of a kind begins, following one another."""
    while struct.unpack_from(">i", data, start + 8)[0] != kind:
        start += struct.unpack_from(">q", data, start)[0]
    return start


def test_indices_that_lead_back_end(tmp_path, images):
    """Chains of variables and of indices, which never end otherwise."""
    path = write_cdf(tmp_path / "x.cdf", images, frame_times(N_FRAMES))
    data = path.read_bytes()
    vdr, vxr = place_of(data, 8), place_of(data, 6)
    looping = replaced(data, vdr + 12, ">q", vdr)
    looping = replaced(looping, vxr + 12, ">q", vxr)
    path.write_bytes(looping)
    frames = read_frames(path)
    np.testing.assert_array_equal(frames.images, images)
    assert np.isnat(frames.times).all()
    n_entries = struct.unpack_from(">i", data, vxr + 20)[0]
    to_itself = replaced(data, vxr + 28 + 8 * n_entries, ">q", vxr)
    path.write_bytes(to_itself)
    with pytest.raises(UnreadableFileError, match="0 of 5 records"):
        read_frames(path)


@pytest.mark.parametrize(
    ("kind", "offset", "number", "said"),
    [
        (8, 24, 2**31 - 2, "At most 1,073,741,824"),  # number of records
        (8, 344, 2**31 - 1, "At most 1,073,741,824"),  # height
        (8, 344, 400_000, "a record of thg_asf_gill should have"),
        (8, 340, 2**31 - 1, "descriptor of 'thg_asf_gill' is damaged"),  # dimensions
        (6, 24, 2**31 - 1, "index of records .* is damaged"),  # entries used
        (6, 20, 2**31 - 1, "index of records .* is damaged"),  # entries
    ],
)
def test_huge_numbers_are_refused(tmp_path, images, kind, offset, number, said):
    """Before any memory is asked for."""
    path = write_cdf(tmp_path / "x.cdf", images, frame_times(N_FRAMES))
    data = path.read_bytes()
    path.write_bytes(replaced(data, place_of(data, kind) + offset, ">i", number))
    with pytest.raises(UnreadableFileError, match=said):
        read_frames(path)


@pytest.mark.parametrize(
    ("kind", "offset", "number", "said"),
    [
        (1, 28, 3, "encoding 3"),  # of a VAX
        (1, 32, 1, "flags 1"),  # several files
        (11, 12, 1, "these variables: "),  # lengths of runs
        (13, 16, 0, "the block at byte .* is damaged"),  # size, its upper half
        (13, 16, 1, "the block at byte .* is damaged"),
    ],
)
def test_what_is_not_supported_is_refused(tmp_path, images, kind, offset, number, said):
    """Other encodings and compressions, and sizes that cannot be."""
    path = write_cdf(tmp_path / "x.cdf", images, frame_times(N_FRAMES))
    data = path.read_bytes()
    form = ">q" if kind == 13 and number == 0 else ">i"
    path.write_bytes(replaced(data, place_of(data, kind) + offset, form, number))
    with pytest.raises(UnreadableFileError, match=said):
        read_frames(path)


def test_no_more_is_decompressed_than_is_expected(tmp_path, images):
    """Neither of a block nor of a compressed file."""
    times, bomb = frame_times(N_FRAMES), gzip.compress(bytes(20 << 20))
    path = write_cdf(tmp_path / "x.cdf", images, times)
    data = path.read_bytes()
    record = struct.pack(">qiiq", 24 + len(bomb), 13, 0, len(bomb)) + bomb
    vxr = place_of(data, 6)
    n_entries = struct.unpack_from(">i", data, vxr + 20)[0]
    path.write_bytes(replaced(data, vxr + 28 + 8 * n_entries, ">q", len(data)) + record)
    with pytest.raises(UnreadableFileError, match="more than the 544 bytes"):
        read_frames(path)
    packed = write_cdf(path, images, times, Compressed=6).read_bytes()
    path.write_bytes(replaced(packed, 28, ">q", 1 << 40))
    with pytest.raises(UnreadableFileError, match="1,099,511,627,776 bytes cannot"):
        read_frames(path)


def test_larger_files_are_refused(tmp_path, images, monkeypatch):
    """By the size that they say they have when decompressed."""
    path = write_cdf(tmp_path / "x.cdf", images, frame_times(N_FRAMES), Compressed=6)
    monkeypatch.setattr(compressed, "MAX_BYTES", path.stat().st_size)
    with pytest.raises(UnreadableFileError, match="it holds .* At most"):
        read_frames(path)


def test_small_file_may_not_become_a_large_one(tmp_path, monkeypatch):
    """As a whole, or a variable of it."""
    monkeypatch.setattr(compressed, "_FREE_BYTES", 30_000)
    images = np.zeros((30, 200, 200), np.uint16)
    for options in ({"Compressed": 9}, {"Compress": 9}):
        path = write_cdf(tmp_path / "x.cdf", images, frame_times(30), **options)
        with pytest.raises(UnreadableFileError, match="At most .* a file of"):
            read_frames(path)


def test_indices_that_overlap_are_refused(tmp_path, images, monkeypatch):
    """They would name more blocks than the file has room for."""
    path = write_cdf(tmp_path / "x.cdf", images, frame_times(N_FRAMES))
    data, n_indices, n_entries = path.read_bytes(), 100, 10_000
    start = len(data)
    end = start + 28 * n_indices + 16 * n_entries
    chain = b"".join(
        struct.pack(">qiqii", end - at, 6, at + 28, *2 * [(end - at - 28) // 16])
        for at in range(start, start + 28 * n_indices, 28)
    )
    lasts = b"\xff\xff\xff\xff" * n_entries  # no record: none is a block
    chain += bytes(4 * n_entries) + lasts + bytes(8 * n_entries)
    index = CDFFile(path).variables["thg_asf_gill"].index_at
    path.write_bytes(data.replace(struct.pack(">q", index), struct.pack(">q", start)))
    with open(path, "ab") as file:
        file.write(chain)
    counts, count = [], CDFFile._index

    def counted(self, position):
        found = count(self, position)
        counts.append(len(found[1]))
        return found

    monkeypatch.setattr(CDFFile, "_index", counted)
    with pytest.raises(UnreadableFileError, match="indices overlap"):
        read_frames(path)
    assert 0 < sum(counts) < path.stat().st_size / 16 + n_entries


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"\x00\x00\xff\xff\x00\x00\xff\xff", "version 3.*cdfconvert"),
        (b"\xcd\xf2\x60\x02\x00\x00\xff\xff", "version 3.*cdfconvert"),
        (b"\xcd\xf3\x00\x01\x00\x00\x00\x00", "got b'.x00"),
    ],
)
def test_other_versions_are_named(tmp_path, start, said):
    """With the program that converts them."""
    path = tmp_path / "x.cdf"
    path.write_bytes(start + bytes(100))
    with pytest.raises(UnreadableFileError, match=said):
        read_frames(path)


TT2000_TIMES = [
    *("1999-01-01T00:00:00.000000", "2005-12-31T23:59:59.900000"),
    *("2006-01-01T00:00:00.000000", "2014-03-10T06:00:00.063119"),
    *("2012-06-30T23:59:59.000001", "2012-07-01T00:00:00.000000"),
    *("2015-06-30T23:59:59.999000", "2015-07-01T00:00:00.001000"),
    *("2016-12-31T23:59:59.500000", "2017-01-01T00:00:00.000000"),
    *("2024-12-31T12:34:56.789012", "1998-12-31T23:59:59.000000"),
]


def times_of_tt2000(path, texts):
    """Write frames at these times, by cdflib, and read them."""
    from cdflib import cdfepoch

    fields = [[int(n) for n in re.split("[-T:.]", text)] for text in texts]
    fields = [[*f[:6], f[6] // 1000, f[6] % 1000, 0] for f in fields]
    tt2000 = np.array(cdfepoch.compute_tt2000(fields))
    images = np.ones((len(texts), 4, 4), "u2")
    write_cdf(path, images, frame_times(len(texts)), tt2000=tt2000)
    return read_frames(path).times


def test_times_of_tt2000_are_utc(tmp_path):
    """With leap seconds, as cdflib writes them; unknown before 1999."""
    times = times_of_tt2000(tmp_path / "x.cdf", TT2000_TIMES)
    np.testing.assert_array_equal(
        times[:-1], np.array(TT2000_TIMES[:-1], "datetime64[ns]")
    )
    assert np.isnat(times[-1])


@pytest.mark.parametrize(
    "day", ["2005-12-31", "2008-12-31", "2012-06-30", "2015-06-30", "2016-12-31"]
)
def test_time_stands_still_in_a_leap_second(tmp_path, day):
    """Of which datetime64 has none: it never goes back, and the day stays."""
    clocks = ("59.000000", "59.900000", "60.000000", "60.999999")
    texts = [f"{day}T23:59:{clock}" for clock in clocks]
    after = f"{np.datetime64(day) + 1}T00:00:00.000000"
    held = f"{day}T23:59:59.999999999"
    expected = [f"{day}T23:59:59", f"{day}T23:59:59.9", held, held, after]
    times = times_of_tt2000(tmp_path / "x.cdf", [*texts, after])
    np.testing.assert_array_equal(times, np.array(expected, "datetime64[ns]"))


def test_fill_values_of_tt2000_are_unknown(tmp_path):
    """Those of the standard, and what is later than any camera."""
    path, low, high = tmp_path / "x.cdf", *(np.iinfo(np.int64).min, 2**63 - 1)
    tt2000 = np.array([low, low + 1, low + 3, 0, high])
    write_cdf(path, np.ones((5, 4, 4), "u2"), frame_times(5), tt2000=tt2000)
    times = read_frames(path).times
    assert np.isnat(times).tolist() == [True, True, True, False, True]
    assert times[3] == np.datetime64("2000-01-01T11:58:55.816", "ns")


@pytest.mark.parametrize("dtype", ["i1", "i2"])
def test_signed_images_become_unsigned(tmp_path, rng, dtype):
    """All that is not negative stays; of what is, the frames say how many there are."""
    images = rng.integers(0, np.iinfo(dtype).max, (3, 4, 5), dtype, endpoint=True)
    path = tmp_path / "x.cdf"
    frames = read_frames(write_cdf(path, images, frame_times(3)))
    np.testing.assert_array_equal(frames.images, images)
    assert frames.images.dtype == dtype.replace("i", "u") and not frames.damage
    images[1, 2, 3:] = -7
    frames = read_frames(write_cdf(path, images, frame_times(3)))
    np.testing.assert_array_equal(frames.images, np.maximum(images, 0))
    assert frames.damage == "2 of its values are below zero and read as 0"


def test_images_of_more_bits_become_floats(tmp_path, rng):
    """With their values."""
    images = rng.integers(0, 1 << 24, (2, 4, 4)).astype("i4")
    write_cdf(tmp_path / "x.cdf", images, frame_times(2))
    found = read_frames(tmp_path / "x.cdf").images
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, images)
