"""Files go in, a store of reduced frames comes out, whatever happens on the way."""

import gc
import json
import os
from pathlib import Path

import archives
import numpy as np
import pyarrow.parquet as pq
import pytest
from archive_files import frame_name, frame_times, write_cdf, write_pgm, write_png
from archives import N_FRAMES, contents, make_frames, pack, write_archive
from runs import STOPPED, exit_code

from sksimclr import AuroraPreprocessor
from sksimclr._files import readers
from sksimclr.archive import (
    Frames,
    label_archive,
    open_frames,
    pack_frames,
    read_catalogue,
    read_failures,
    read_frames,
    register_reader,
)
from sksimclr.archive._even_sample import EvenSample
from sksimclr.archive._grouping import by_night

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = AuroraPreprocessor(size=8, dtype="uint8")
START = np.datetime64("2014-03-10T06:00", "ns")


@pytest.fixture
def archive(tmp_path):
    """Return a folder with six files of five frames, of two stations."""
    write_archive(tmp_path / "archive")
    return tmp_path / "archive"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return an archive, and what a run that nobody stopped makes of it."""
    folder = tmp_path_factory.mktemp("whole")
    write_archive(folder / "archive", n_files=8)
    pack(folder / "archive", folder / "store")
    return folder / "archive", contents(folder / "store")


def rows_of(store):
    """Return (name of the file, number of the frame) for each row of a store."""
    rows = open_frames(store).index.to_pylist()
    return [(Path(row["file"]).name, row["frame"]) for row in rows]


def write_minutes(folder, site, start, n_minutes, n_frames=2):
    """Write files named by their minute."""
    folder.mkdir(exist_ok=True, parents=True)
    for minute in range(n_minutes):
        begin = np.datetime64(start, "ns") + np.timedelta64(minute, "m")
        times = frame_times(n_frames, begin)
        path = folder / frame_name(begin, site, ".pgm")
        write_pgm(path, make_frames(n_frames, seed=minute), times, site)


# What is in it


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_frames_are_those_of_the_preprocessor(archive, tmp_path, dtype):
    """Of every file, in the order of files and frames; the index says which."""
    preprocessor = AuroraPreprocessor(0.9, size=8, dtype=dtype)
    run = pack(archive, tmp_path / "store", preprocessor=preprocessor)
    assert (run.n_files, run.n_frames, run.n_failures) == (6, 6 * N_FRAMES, 0)
    paths = sorted(archive.iterdir())
    frames = [read_frames(path) for path in paths]
    expected = np.concatenate([preprocessor.transform(f.images) for f in frames])
    store = open_frames(tmp_path / "store")
    found = np.asarray(store)
    assert found.dtype == dtype and found.tobytes() == expected.tobytes()
    index = store.index
    assert index["file"].to_pylist() == np.repeat(list(map(str, paths)), 5).tolist()
    assert index["frame"].to_pylist() == [0, 1, 2, 3, 4] * 6
    assert (store.times == np.concatenate([f.times for f in frames])).all()
    assert store.sites.tolist() == np.repeat([f.site for f in frames], 5).tolist()
    assert set(index["quality"].to_pylist()) == {"good"}
    assert index.schema.field("time").type.tz == "UTC"
    assert str(store.preprocessor) == str(preprocessor)


@pytest.mark.parametrize("per_night", [None, 4])
def test_times_of_a_clock_that_is_ahead_become_utc(archive, tmp_path, per_night):
    """And with them the sequences; which frames are taken does not change."""
    plain, shifted = tmp_path / "plain", tmp_path / "shifted"
    pack(archive, plain, per_night=per_night)
    pack(archive, shifted, per_night=per_night, utc_offset=5.75)
    assert rows_of(shifted) == rows_of(plain)
    times, ahead = open_frames(shifted).times, np.timedelta64(345, "m")
    np.testing.assert_array_equal(times, open_frames(plain).times - ahead)
    windows = open_frames(shifted).index["sequence"].to_numpy()
    since = times - np.datetime64(0, "ns")
    np.testing.assert_array_equal(windows, since // np.timedelta64(10, "m"))
    assert json.loads((shifted / "_store.json").read_text())["utc_offset"] == 5.75
    with pytest.raises(ValueError, match=r"begun with utc_offset=5.75"):
        pack(archive, shifted, per_night=per_night)


def test_shards_are_plain_arrays(archive, tmp_path):
    """NumPy maps them, with nothing of ours; the index has their rows."""
    pack(archive, tmp_path / "store")
    shards = sorted((tmp_path / "store" / "frames").iterdir())
    assert len(shards) > 1
    for shard in shards:
        array = np.load(shard, mmap_mode="r")
        index = pq.read_table(tmp_path / "store" / "index" / f"{shard.stem}.parquet")
        assert array.shape == (len(index), 8, 8) and array.dtype == np.uint8


def test_files_of_all_forms_go_into_one_store(tmp_path):
    """PGM, CDF, PNG in colour and arrays, of several shapes."""
    folder = tmp_path / "in"
    folder.mkdir()
    times = frame_times(3)
    images = {
        "a.pgm": make_frames(3),
        "b.cdf": np.pad(make_frames(3, 1), ((0, 0), (4, 4), (2, 2))),
        "c.npy": make_frames(2, 2).astype(np.float32),
        "d.png": np.random.default_rng(0).integers(1, 99, (1, 20, 20, 3), np.uint8),
    }
    write_pgm(folder / "a.pgm", images["a.pgm"], times)
    write_cdf(folder / "b.cdf", images["b.cdf"], times)
    np.save(folder / "c.npy", images["c.npy"])
    write_png(folder / "d.png", images["d.png"])
    pack(folder, tmp_path / "store", part_bytes=1 << 20)
    expected = [SMALL.transform(array).reshape(-1, 8, 8) for array in images.values()]
    assert (
        np.asarray(open_frames(tmp_path / "store")) == np.concatenate(expected)
    ).all()
    assert len(open_frames(tmp_path / "store").shard_lengths) == 1


def test_frames_without_anything_to_see_are_left_out(tmp_path):
    """And of the others those that are asked for."""
    images = make_frames(6)
    images[1], images[2, :5] = 7, 65535
    np.save(tmp_path / "a.npy", images)
    floats = make_frames(2, seed=1).astype(np.float32)
    floats[1, 2, 3] = np.nan
    np.save(tmp_path / "b.npy", floats)
    short = write_pgm(tmp_path / "c.pgm", make_frames(3))
    short.write_bytes(short.read_bytes()[:-9])
    files = [tmp_path / name for name in ("a.npy", "b.npy", "c.pgm")]
    run = pack(files, tmp_path / "all", part_bytes=1 << 30)
    rows = open_frames(tmp_path / "all").index.to_pylist()
    expected = [("a.npy", k) for k in (0, 2, 3, 4, 5)] + [("b.npy", 0)]
    expected += [("c.pgm", 0), ("c.pgm", 1)]
    assert [(Path(r["file"]).name, r["frame"]) for r in rows] == expected
    quality = ["good", "saturated", "good", "good", "good", "good", "short", "short"]
    assert [row["quality"] for row in rows] == quality
    assert (run.n_frames, run.n_failures) == (8, 1)
    pack(files, tmp_path / "good", quality=["good"], part_bytes=1 << 30)
    assert rows_of(tmp_path / "good") == [expected[k] for k in (0, 2, 3, 4, 5)]
    counts = [row["n_frames"] for row in read_failures(tmp_path / "good").to_pylist()]
    assert counts == [0]


@pytest.mark.parametrize("every", [2, 3, 7, 40])
def test_every_counts_through_the_files_of_a_part(archive, tmp_path, every):
    """Whatever the number of frames in a file."""
    pack(archive, tmp_path / "store", every=every, part_bytes=1 << 30)
    pack(archive, tmp_path / "all", part_bytes=1 << 30)
    assert rows_of(tmp_path / "store") == rows_of(tmp_path / "all")[::every]
    images = open_frames(tmp_path / "all")[::every]
    assert (np.asarray(open_frames(tmp_path / "store")) == images).all()


def test_every_takes_one_of_many_files_of_a_frame(tmp_path):
    """Of an archive of pictures."""
    for k in range(10):
        write_png(tmp_path / f"{k}.png", make_frames(1, seed=k))
    run = pack(tmp_path, tmp_path / "out", every=4, part_bytes=1 << 30)
    assert (run.n_files, run.n_frames) == (10, 3)
    assert [name for name, _ in rows_of(tmp_path / "out")] == [
        "0.png",
        "4.png",
        "8.png",
    ]


def test_each_night_gives_the_same_number_of_frames(tmp_path):
    """Evenly spread over it, in the order of time; also where a night crosses days."""
    write_minutes(tmp_path / "a" / "10", "lyrn", "2014-12-10T23:50", 10)
    write_minutes(tmp_path / "a" / "11", "lyrn", "2014-12-11T00:00", 6)
    write_minutes(tmp_path / "a" / "11", "gill", "2014-12-11T05:00", 8)
    write_minutes(tmp_path / "a" / "11", "lyrn", "2014-12-11T20:00", 1)
    pack(tmp_path / "a", tmp_path / "store", per_night=4, part_bytes=1)
    store = open_frames(tmp_path / "store")
    minutes = store.times.astype("M8[m]").astype(str)
    found = sorted(zip(store.sites.tolist(), minutes, strict=True))
    assert [(site, time[8:]) for site, time in found] == [
        *[("gill", f"11T05:0{minute}") for minute in (0, 2, 4, 6)],
        *[("lyrn", f"{time}") for time in ("10T23:50", "10T23:54", "10T23:58")],
        *[("lyrn", f"11T{time}") for time in ("00:02", "20:00", "20:00")],
    ]
    for start, length in zip(
        np.cumsum([0, *store.shard_lengths]), store.shard_lengths, strict=False
    ):
        assert (np.diff(store.times[start : start + length]) > np.timedelta64(0)).all()
    assert len(store.shard_lengths) == 3
    images = [
        read_frames(row["file"]).images[row["frame"]] for row in store.index.to_pylist()
    ]
    assert (np.asarray(store) == SMALL.transform(np.stack(images))).all()


def test_nights_of_a_part_are_sampled_apart(tmp_path):
    """However many there are in one, the store has the same frames."""
    for day in range(10, 14):
        write_minutes(tmp_path / "a", "gill", f"2014-12-{day}T05:00", 5)
    pack(tmp_path / "a", tmp_path / "one", per_night=3, part_bytes=1 << 30)
    pack(tmp_path / "a", tmp_path / "four", per_night=3, part_bytes=1)
    one, four = (open_frames(tmp_path / name) for name in ("one", "four"))
    assert len(one.shard_lengths) == 1 and four.shard_lengths.tolist() == [3] * 4
    assert one.index.equals(four.index)
    assert (np.asarray(one) == np.asarray(four)).all()


def test_nights_end_at_a_pause_and_after_a_day():
    """Stations apart; files whose names say nothing are a night for each folder."""
    names = [
        f"/a/2014121{day}_{hour:02}00_{site}_x.pgm"
        for site in ("gill", "lyrn")
        for day, hour in [(0, 20), (1, 1), (1, 8), (1, 13), (1, 18), (2, 0), (2, 6)]
    ]
    names += ["/b/2.pgm", "/b/1.pgm", "/c/3.pgm"]
    found = by_night(sorted(names))
    stations = [[[n[7:14] for n in night] for night in units] for units in found[:2]]
    nights = [
        ["1210_20", "1211_01"],
        ["1211_08", "1211_13", "1211_18", "1212_00", "1212_06"],
    ]
    assert stations == [nights, nights]
    assert found[2:] == [[["/b/1.pgm", "/b/2.pgm"]], [["/c/3.pgm"]]]
    hours = [f"/a/201412{d:02}_{h:02}00_lyrn_x.pgm" for d in (1, 2) for h in range(24)]
    assert list(map(len, by_night(hours)[0])) == [24, 24]


@pytest.mark.parametrize("n_seen", [3, 8, 13, 100])
def test_sample_of_a_stream_is_even(n_seen):
    """No gap is longer than two others; all, if there is room."""
    sample = EvenSample(8, (1,), np.uint8)
    for number in range(n_seen):
        sample.add(np.array([number], np.uint8), (None, number))
    kept = np.sort(sample.images.ravel())
    assert len(kept) == min(n_seen, 8)
    assert sorted(note[1] for note in sample.notes) == kept.tolist()
    gaps = np.diff(kept)
    assert max(*gaps, n_seen - kept[-1]) <= 2 * gaps.min()


def test_files_that_cannot_be_read_are_failures(archive, tmp_path):
    """Each is named with its reason, and the others are packed all the same."""
    (archive / "20140310_0700_gill_themis19_full.pgm").write_bytes(b"no image at all")
    np.save(archive / "20140310_0701_gill.npy", np.full((40, 16, 16), 1e300))
    text = tmp_path / "notes.txt"
    text.write_text("clear sky")
    run = pack([archive, text], tmp_path / "store", part_bytes=1 << 30)
    assert (run.n_files, run.n_failures) == (9, 2)
    assert run.n_frames == len(open_frames(tmp_path / "store")) == 6 * N_FRAMES
    failures = read_failures(tmp_path / "store").to_pylist()
    names = [Path(row["file"]).name for row in failures]
    assert names == ["20140310_0700_gill_themis19_full.pgm", "notes.txt"]
    assert ".txt" in failures[1]["reason"] and {f["n_frames"] for f in failures} == {0}


@pytest.mark.parametrize("per_night", [None, 20_000])
def test_file_that_fails_midway_gives_no_frame(tmp_path, per_night):
    """What was written of it is taken back; files before and after it stay."""
    frames = make_frames(3, 1).astype(np.float64)
    bad = np.tile(frames[:1], (9000, 1, 1))  # more than are reduced together
    bad[-1, 3, 4] = 1e300
    for name, images in (("a", frames), ("b", bad), ("c", frames[::-1])):
        np.save(tmp_path / f"{name}.npy", images)
    run = pack(tmp_path, tmp_path / "out", part_bytes=1 << 40, per_night=per_night)
    assert (run.n_frames, run.n_failures) == (6, 1)
    (failure,) = read_failures(tmp_path / "out").to_pylist()
    assert failure["file"].endswith("b.npy") and "too large" in failure["reason"]
    expected = SMALL.transform(np.concatenate([frames, frames[::-1]]))
    assert (np.asarray(open_frames(tmp_path / "out")) == expected).all()
    names = [name for name, _ in rows_of(tmp_path / "out")]
    assert names == ["a.npy"] * 3 + ["c.npy"] * 3


def test_archive_without_a_frame_is_an_empty_store(tmp_path):
    """With its failures."""
    (tmp_path / "a.pgm").write_bytes(b"P5\n")
    run = pack(tmp_path, tmp_path / "store")
    assert (run.n_frames, run.n_failures) == (0, 1)
    store = open_frames(tmp_path / "store")
    assert store.shape == (0, 8, 8) and len(store.times) == len(store.sequences) == 0
    assert np.asarray(store).shape == (0, 8, 8)


# Going on, and the same bytes


@pytest.mark.parametrize("event", [1, 3, 4, 6, 9, 11, 13, 16, 22, 29])
def test_killed_run_goes_on_to_the_same_store(whole, tmp_path, event):
    """SIGKILL before any step of writing costs nothing but time."""
    archive, expected = whole
    killed = archives.start_packing(archive, tmp_path / "out", f"kill_at {event}")
    assert exit_code(killed) == -9
    assert contents(tmp_path / "out") != expected
    assert exit_code(archives.start_packing(archive, tmp_path / "out")) == 0
    assert contents(tmp_path / "out") == expected


def test_ctrl_c_leaves_whole_parts(whole, tmp_path):
    """And nothing of the others; the same call goes on."""
    archive, expected = whole
    stopped = archives.start_packing(archive, tmp_path / "out", "interrupt_at 8")
    assert exit_code(stopped) == STOPPED
    assert contents(tmp_path / "out").items() < expected.items()
    assert not list((tmp_path / "out").rglob("*.tmp"))
    pack(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == expected


@pytest.mark.parametrize("n_threads", [1, 3])
def test_threads_give_the_same_bytes(whole, tmp_path, n_threads):
    """As another process does."""
    archive, expected = whole
    pack(archive, tmp_path / "out", n_threads=n_threads)
    assert contents(tmp_path / "out") == expected


def test_two_runs_without_locks_make_one_store(whole, tmp_path):
    """Both do all the work, or share it; every frame is there once."""
    archive, expected = whole
    runs = [
        archives.start_packing(archive, tmp_path / "out", "without_locks")
        for _ in range(2)
    ]
    assert [exit_code(run) for run in runs] == [0, 0]
    found = contents(tmp_path / "out")
    assert {p: b for p, b in found.items() if "_aside" not in p} == expected


def cut(path):
    """Cut a file short."""
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize("damage", [Path.unlink, cut])
@pytest.mark.parametrize("place", ["frames", "index", "_files"])
def test_what_is_lost_or_damaged_is_packed_again(whole, tmp_path, place, damage):
    """The files of that part, and no others."""
    archive, expected = whole
    pack(archive, tmp_path / "out")
    damage(min((tmp_path / "out" / place).glob("part-*")))
    n_files = 8 // len(list(filter(lambda p: p.startswith("frames/"), expected)))
    assert pack(archive, tmp_path / "out").n_files in (n_files, n_files + 1)
    found = contents(tmp_path / "out")
    assert {p: b for p, b in found.items() if "_aside" not in p} == expected


def test_second_run_does_what_is_new(archive, tmp_path):
    """What was done is skipped; rows stay in the order of files."""
    pack(archive, tmp_path / "out")
    before = contents(tmp_path / "out")
    assert pack(archive, tmp_path / "out").n_skipped == 6
    assert contents(tmp_path / "out") == before
    write_minutes(archive, "atha", "2014-03-10T05:00", 1)
    run = pack(archive, tmp_path / "out")
    assert (run.n_files, run.n_skipped, run.n_frames) == (1, 6, 2)
    names = [name for name, _ in rows_of(tmp_path / "out")]
    assert names == sorted(names) and "atha" in names[0]


def test_store_in_the_archive_is_no_part_of_it(archive, tmp_path):
    """Neither of the next run, nor of a catalogue."""
    pack(archive, tmp_path / "elsewhere")
    for _ in range(2):
        run = pack(archive, archive / "store")
    assert (run.n_files, run.n_skipped) == (0, 6)
    assert contents(archive / "store") == contents(tmp_path / "elsewhere")
    label_archive(archives.fitted_pipeline(), archive, archive / "catalogue")
    files = read_catalogue(archive / "catalogue")["file"].to_pylist()
    assert {Path(file).parent for file in files} == {archive}


def test_failures_are_read_again_on_request(archive, tmp_path):
    """A file that was mended gets its frames."""
    path = min(archive.iterdir())
    content = path.read_bytes()
    path.write_bytes(b"")
    assert pack(archive, tmp_path / "out").n_failures == 1
    path.write_bytes(content)
    assert pack(archive, tmp_path / "out").n_files == 0
    assert pack(archive, tmp_path / "out", retry_failures=True).n_frames == N_FRAMES
    assert len(open_frames(tmp_path / "out")) == 6 * N_FRAMES


# Mistakes


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"preprocessor": AuroraPreprocessor()}, "must have a size"),
        ({"preprocessor": AuroraPreprocessor(size=0)}, "'size'"),
        ({"preprocessor": "resize"}, "must be an AuroraPreprocessor"),
        ({"quality": ["good", "constant"]}, "quality must be"),
        ({"quality": "good"}, "quality must be"),
        ({"quality": []}, "quality must be"),
        ({"every": 0}, "every"),
        ({"per_night": 0}, "per_night"),
        ({"n_threads": 0}, "n_threads"),
        ({"part_bytes": 0}, "part_bytes"),
    ],
)
def test_parameters_are_checked(archive, tmp_path, params, message):
    """Before anything is written."""
    with pytest.raises(ValueError, match=message):
        pack(archive, tmp_path / "out", **params)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"every": 2}, "every"),
        ({"per_night": 5}, "per_night"),
        ({"quality": ["good"]}, "quality"),
        ({"preprocessor": AuroraPreprocessor(size=8)}, "preprocessor"),
    ],
)
def test_other_settings_do_not_go_on(archive, tmp_path, params, name):
    """Frames of a store are all of one kind."""
    pack(archive, tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(ValueError, match=f"The store .* was begun with {name}="):
        pack(archive, tmp_path / "out", **params)
    assert contents(tmp_path / "out") == before


def test_catalogues_and_stores_are_kept_apart(tmp_path, archive):
    """Neither is written into the other, also not into one without a part."""
    pipeline = archives.fitted_pipeline()
    (tmp_path / "bad.pgm").touch()
    for files, name in ((archive, "full"), (tmp_path / "bad.pgm", "empty")):
        label_archive(pipeline, files, tmp_path / f"{name}-catalogue")
        pack(files, tmp_path / f"{name}-store")
        before = contents(tmp_path)
        with pytest.raises(FileExistsError, match="is no store, and not empty"):
            pack(files, tmp_path / f"{name}-catalogue")
        with pytest.raises(FileExistsError, match="is no catalogue, and not empty"):
            label_archive(pipeline, files, tmp_path / f"{name}-store")
        assert contents(tmp_path) == before
    with pytest.raises(FileNotFoundError, match=r"has no _catalogue.json"):
        read_catalogue(tmp_path / "full-store")
    with pytest.raises(FileNotFoundError, match=r"has no _store.json.*sksimclr pack"):
        open_frames(tmp_path / "full-catalogue")


def test_settings_of_numpy_types_go_on(archive, tmp_path):
    """As the numbers that they are."""
    preprocessor = AuroraPreprocessor(
        np.float64(0.9), size=np.int64(8), center=(np.float32(8), 8), dtype="uint8"
    )
    for _ in range(2):
        run = pack(
            archive, tmp_path / "out", preprocessor=preprocessor, every=np.int64(2)
        )
    assert run.n_skipped == 6
    found = open_frames(tmp_path / "out").preprocessor
    assert (found.radius, found.size, found.center) == (0.9, 8, (8, 8))
    assert json.loads((tmp_path / "out" / "_store.json").read_text())["every"] == 2


# Memory


def test_no_more_than_some_frames_wait(tmp_path, monkeypatch):
    """Of a file of large frames, what waits for others is no view of all of it."""
    monkeypatch.setattr(readers, "_READERS", dict(readers._READERS))
    alive, peaks = [0], []

    class Counted(np.ndarray):
        def __del__(self):
            alive[0] -= self.nbytes if self.base is None else 0

    def read_counted(path):
        gc.collect()
        peaks.append(alive[0])
        images = Counted((9, 1024, 1024), np.uint16)
        images[...] = np.arange(1024)
        alive[0] += images.nbytes
        return Frames(images)

    register_reader(".camera", read_counted)
    for k in range(2):
        (tmp_path / f"{k}.camera").touch()
    run = pack(tmp_path, tmp_path / "out", part_bytes=1 << 30, n_threads=1)
    assert run.n_frames == 18
    assert max(peaks) == 0  # of a file of 18 MB when the next is read


def test_freed_store_leaves_no_file_open(archive, tmp_path):
    """After a run, and after reading."""
    pack(archive, tmp_path / "out")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(5):
        open_frames(tmp_path / "out")[::2]
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


def test_pack_frames_has_a_default_size(archive, tmp_path):
    """Of 64 pixels, and whole numbers."""
    pack_frames(archive, tmp_path / "out", n_threads=1)
    store = open_frames(tmp_path / "out")
    assert store.shape == (30, 64, 64) and store.dtype == np.uint8
    assert len(store.shard_lengths) == 1 and START <= store.times.min()
