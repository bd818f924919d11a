"""What is missing of nights, by the cadence of the camera, and hours of clocks."""

import json
import time
import tracemalloc

import numpy as np
import pytest

pytest.importorskip("pyarrow")

from sksimclr.archive import coverage, read_catalogue  # noqa: E402
from sksimclr.archive._cadence import (  # noqa: E402
    frames_lost,
    hour_missing,
    hour_twice,
    usual_steps,
)
from sksimclr.archive._commit import commit  # noqa: E402
from sksimclr.archive._folder import CATALOGUE, start  # noqa: E402
from sksimclr.archive._labelled_part import catalogue_file  # noqa: E402
from sksimclr.archive._rows import rows_table  # noqa: E402

SECOND = np.timedelta64(1, "s")
HOUR = np.timedelta64(1, "h")
DAY = np.timedelta64(1, "D")
EVENING = np.datetime64("2014-10-25T17:00", "ns")
HEADER = {"model": "a", "classes": None, "probabilities": False, "n_features": None}


def night(cadence=10, hours=10, *, begin=EVENING, jitter=0.02, seed=0):
    """Return times of a night whose frames are as regular as those of real cameras."""
    n_frames = round(3600 * hours / cadence)
    seconds = cadence * (np.arange(n_frames) + 0.3)
    seconds += np.random.default_rng(seed).normal(0, jitter * cadence, n_frames)
    return begin + np.rint(1e9 * seconds).astype("timedelta64[ns]")


def minute_files(times, folder="/data"):
    """Return a name for each frame, of the file of its minute."""
    texts = np.char.replace(times.astype("datetime64[m]").astype(str), ":", "")
    return np.char.add(np.char.add(f"{folder}/", texts), "_gill.pgm.gz")


def write_catalogue(folder, *cameras, utc_offset=0.0):
    """Write times as label_archive does; a camera is (site, instrument, times, files).

    Each camera becomes a part, of one chunk for each file.
    """
    header = HEADER | {"utc_offset": utc_offset}
    start(folder, header, CATALOGUE)
    for number, (site, instrument, times, *files) in enumerate(cameras):
        names = files[0] if files else minute_files(times)
        order = np.argsort(names, kind="stable")
        ends = np.flatnonzero(names[order][1:] != names[order][:-1]) + 1
        chunks = [
            {
                "file": names[rows[0]],
                "site": site,
                "instrument": instrument,
                "frame": np.arange(len(rows), dtype=np.int32),
                "time": times[rows],
                "quality": np.full(len(rows), "good"),
                "labelled": np.ones(len(rows), bool),
            }
            for rows in np.split(order, ends)
        ]
        name = f"{number:016x}"
        tables = rows_table(chunks, header)
        commit(folder, name, [catalogue_file(name, *table) for table in tables], [])
    return folder


def nights_of(folder):
    """Return the rows of coverage as dicts."""
    return coverage(folder).to_pylist()


def one_night(folder, times, **options):
    """Return the coverage of a night of one camera."""
    (found,) = nights_of(
        write_catalogue(folder, ("gill", "THEMIS ASI", times), **options)
    )
    return found


def moment(value):
    """Return a time of a table as datetime64."""
    return np.datetime64(value.value, "ns")


def clock_back(times, at):
    """Return what a clock shows that is set back by an hour at a time."""
    return np.where(times < at, times, times - HOUR)


def clock_forward(times, at):
    """Return what a clock shows that is set forward by an hour at a time."""
    return np.where(times < at, times, times + HOUR)


# Cadence


@pytest.mark.parametrize("n_steps", [1, 2, 4, 5, 6, 30, 200])
def test_usual_steps_are_medians_on_the_longer_side(rng, n_steps):
    """Those of all stretches of as many steps that a step is in, one by one."""
    steps = rng.integers(1, 1000, n_steps)
    around = 5
    size = min(around, n_steps)
    stretches = [range(k, k + size) for k in range(n_steps - size + 1)]
    medians = [np.median(steps[list(stretch)]) for stretch in stretches]
    expected = [
        max(m for m, s in zip(medians, stretches, strict=True) if step in s)
        for step in range(n_steps)
    ]
    np.testing.assert_array_equal(usual_steps(steps, around), expected)


def test_nothing_is_missing_when_a_camera_changes_its_cadence(tmp_path):
    """From 10 to 60 seconds and back."""
    seconds = np.cumsum([10] * 540 + [60] * 359 + [10] * 100)
    found = one_night(tmp_path / "c", EVENING + seconds * SECOND)
    assert (found["n_gaps"], found["n_expected"]) == (0, found["n_frames"])


# Counts


@pytest.mark.parametrize("cadence", [3, 10, 60])
def test_frames_that_were_taken_out_are_missing(tmp_path, cadence):
    """All of them, at random and whole minutes; the numbers are those of who did it."""
    times, rng = night(cadence, hours=8), np.random.default_rng(1)
    lost = rng.random(len(times)) < 0.05
    for minute in rng.integers(10, 400, 5):
        begin = EVENING + minute * 60 * SECOND
        lost |= (times >= begin) & (times < begin + 600 * SECOND)
    lost[[0, -1]] = False
    found = one_night(tmp_path / "c", times[~lost])
    gaps = np.diff(np.flatnonzero(~lost)) - 1
    assert found["n_expected"] == len(times)
    assert found["n_frames"] == (~lost).sum()
    assert found["n_gaps"] == (gaps > 0).sum()
    assert found["missing"] == pytest.approx(cadence * lost.sum(), rel=0.01)
    assert found["longest_gap"] == pytest.approx(cadence * gaps.max(), rel=0.05)
    assert found["cadence"] == pytest.approx(cadence, rel=0.01)
    assert moment(found["start"]) == times[0]
    assert moment(found["end"]) == times[-1]
    assert found["hour_twice"] is found["hour_missing"] is None


def test_missing_files_are_missing_frames(tmp_path):
    """Of THEMIS, twenty for each minute."""
    times = EVENING + 3 * SECOND * np.arange(20 * 60)
    whole = np.isin(np.arange(20 * 60) // 20, (7, 8, 30), invert=True)
    found = one_night(tmp_path / "c", times[whole])
    assert (found["n_expected"], found["n_frames"]) == (1200, 1140)
    assert (found["n_gaps"], found["missing"], found["longest_gap"]) == (2, 180, 120)


def test_nights_go_over_midnight_and_end_with_a_pause(tmp_path):
    """Of each camera its own: they begin in the evening, here of two days."""
    one = np.concatenate([night(60), night(60, begin=EVENING + DAY)])
    other = night(300, hours=2, begin=EVENING + 2 * HOUR)
    folder = write_catalogue(
        tmp_path / "c",
        ("gill", "nir-216, 844.6 nm", one),
        ("gill", None, other),
        ("fsmi", None, one[:1]),
    )
    found = nights_of(folder)
    keys = [(n["site"], n["instrument"], n["n_frames"]) for n in found]
    line = ("gill", "nir-216, 844.6 nm", 600)
    assert keys == [("fsmi", None, 1), ("gill", None, 24), line, line]
    assert [moment(n["start"]) for n in found] == [one[0], other[0], one[0], one[600]]
    assert found[0]["cadence"] is None and found[0]["n_expected"] == 1
    assert sum(n["n_frames"] for n in found) == read_catalogue(folder).num_rows


def test_days_of_the_polar_night_are_nights(tmp_path):
    """And no gap is lost between them."""
    times = night(60, hours=80, jitter=0)
    since = times - times[0]
    kept = np.abs(since - DAY) > HOUR / 2
    folder = write_catalogue(tmp_path / "c", ("gill", None, times[kept]))
    found = nights_of(folder)
    assert len(found) == 4
    assert sum(n["n_expected"] for n in found) == len(times)
    assert [n["n_gaps"] for n in found] == [1, 0, 0, 0]


def test_frames_without_a_time_do_not_count(tmp_path):
    """Nor do they disturb the others."""
    times = night(60, hours=1)
    unknown = np.full(3, np.datetime64("NaT", "ns")), np.full(3, "/a.npy")
    folder = write_catalogue(
        tmp_path / "c", ("gill", None, times), ("unknown", None, *unknown)
    )
    (found,) = nights_of(folder)
    assert found["n_frames"] == 60
    empty = write_catalogue(tmp_path / "d", ("unknown", None, *unknown))
    assert coverage(empty).num_rows == 0


def test_catalogues_without_instruments_are_counted(tmp_path):
    """As of one at each site."""
    folder = write_catalogue(tmp_path / "c", ("gill", "a", night(60, hours=1)))
    header = folder / "_catalogue.json"
    header.write_text(json.dumps(json.loads(header.read_text()) | {"format": 1}))
    (found,) = nights_of(folder)
    assert (found["instrument"], found["n_frames"]) == (None, 60)


def test_damage_is_named(tmp_path):
    """As where rows are read."""
    folder = write_catalogue(tmp_path / "c", ("gill", None, night(60, hours=1)))
    (path,) = folder.glob("site=*/date=*/*.parquet")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(OSError, match=f"{path.name}' is damaged"):
        coverage(folder)


def test_a_year_of_two_cameras_is_counted_day_by_day(tmp_path):
    """As many frames as were written and taken out; memory does not grow with nights.

    A small year here: sixty nights, at 30 and 60 seconds.
    """
    rng, n_nights, cameras, n_lost = np.random.default_rng(0), 60, [], {}
    for instrument, cadence in (("THEMIS ASI", 30), ("nir-216, 844.6 nm", 60)):
        for number in range(n_nights):
            times = night(cadence, begin=EVENING + number * DAY, seed=number)
            kept = rng.random(len(times)) > 0.02
            kept[[0, -1]] = True
            n_lost[instrument, number] = (~kept).sum()
            cameras.append(("gill", instrument, times[kept], np.full(kept.sum(), "/a")))
    few = write_catalogue(tmp_path / "few", *cameras[:15])
    year = write_catalogue(tmp_path / "year", *cameras)
    began, peaks = time.monotonic(), []
    for folder in (few, few, year):
        tracemalloc.start()
        found = coverage(folder)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert time.monotonic() - began < 30
    assert peaks[2] < 2 * peaks[1] + 1e6
    rows = found.sort_by([("instrument", "ascending"), ("start", "ascending")])
    for row, key in zip(rows.to_pylist(), sorted(n_lost), strict=True):
        assert row["n_expected"] - row["n_frames"] == n_lost[key]
        assert row["hour_twice"] is row["hour_missing"] is None


# Hours that a clock repeats, or leaves out


@pytest.mark.parametrize("cadence", [3, 10, 60, 300])
@pytest.mark.parametrize("shift", [0.1, 0.4, 0.75])
def test_an_hour_that_a_clock_repeats_is_seen(tmp_path, cadence, shift):
    """Whatever the seconds between the frames of both series."""
    at = EVENING + 6 * HOUR
    times = night(cadence)
    times[times >= at] += np.timedelta64(round(1e9 * shift * cadence), "ns")
    found = one_night(tmp_path / "c", clock_back(times, at))
    assert abs(moment(found["hour_twice"]) - (at - HOUR)) <= 2 * cadence * SECOND
    assert found["hour_missing"] is None
    assert found["n_expected"] == len(times)


def test_an_hour_that_a_clock_repeats_to_the_second_is_seen(tmp_path):
    """Of a camera that begins with the minute, so that times are there twice."""
    times = EVENING + 60 * SECOND * np.arange(600)
    files = np.char.add("/night/", np.char.mod("IMG_%05d.jpg", np.arange(600)))
    back = clock_back(times, EVENING + 6 * HOUR)
    folder = write_catalogue(tmp_path / "c", ("gill", None, back, files))
    (found,) = nights_of(folder)
    assert found["hour_twice"] is not None and found["n_repeated"] == 60


@pytest.mark.parametrize("utc_offset", [0.0, 1.0, 5.5])
@pytest.mark.parametrize("cadence", [3, 60])
def test_an_hour_that_a_clock_leaves_out_is_seen(tmp_path, cadence, utc_offset):
    """It begins with a full hour of the clock, which is not always one of UTC."""
    ahead = np.timedelta64(round(60 * utc_offset), "m")
    at = EVENING + 6 * HOUR - ahead
    times = clock_forward(night(cadence, begin=EVENING - ahead), at)
    found = one_night(tmp_path / "c", times, utc_offset=utc_offset)
    assert abs(moment(found["hour_missing"]) - at) <= 2 * cadence * SECOND
    assert found["hour_twice"] is None
    times = times + 900 * SECOND  # the gap begins at a quarter past
    found = one_night(tmp_path / "d", times, utc_offset=utc_offset)
    assert found["hour_missing"] is None and found["n_gaps"] == 1


@pytest.mark.parametrize(
    "other", [0.25, 1 / 3, 0.45, 0.5, 0.52, 0.55, 2 / 3, 0.75, 1.5, 2]
)
@pytest.mark.parametrize("cadence", [10, 60])
def test_another_cadence_for_an_hour_is_no_clock(tmp_path, other, cadence):
    """Not even the double one: those frames are of one series."""
    times, begin = night(cadence), EVENING + 5 * HOUR
    between = night(other * cadence, hours=1, begin=begin, seed=1)
    outside = times[(times < begin) | (times >= begin + HOUR)]
    found = one_night(tmp_path / "c", np.sort(np.concatenate([outside, between])))
    assert found["hour_twice"] is found["hour_missing"] is None


@pytest.mark.parametrize("minutes", [5, 30, 50, 58, 59, 61, 62, 75, 120])
def test_clouds_and_overlaps_of_another_length_are_no_clock(minutes):
    """Gaps from a full hour on, and frames that are there twice."""
    times, begin = night(60, jitter=0), EVENING + 5 * HOUR
    is_in = (times >= begin) & (times < begin + 60 * minutes * SECOND)
    cloudy = times[~is_in].astype(np.int64)
    steps = np.diff(cloudy)
    assert hour_missing(cloudy, steps, *frames_lost(steps), 0) is None
    if 55 < minutes < 65:  # some frames of an hour may be missing
        return
    overlap = np.sort(np.concatenate([times, times[is_in] + 20 * SECOND]))
    assert hour_twice(overlap.astype(np.int64)) is None


def test_copies_are_no_clock(tmp_path):
    """Of an hour of files, in another folder or version: they are counted."""
    times = night(10)
    begin = EVENING + 5 * HOUR
    copied = times[(times >= begin) & (times < begin + HOUR)]
    names, copies = minute_files(times), minute_files(copied, "/copies")
    copies = np.char.replace(copies, "_gill", "_gill_v02")
    folder = write_catalogue(
        tmp_path / "c", ("gill", None, times, names), ("gill", None, copied, copies)
    )
    (found,) = nights_of(folder)
    assert (found["n_frames"], found["n_repeated"]) == (len(times), len(copied))
    assert found["hour_twice"] is None
    assert found["n_expected"] == found["n_frames"]
    others = np.char.replace(copies, "_gill", "_other")
    folder = write_catalogue(
        tmp_path / "d", ("gill", None, times, names), ("gill", None, copied, others)
    )
    assert nights_of(folder)[0]["hour_twice"] is not None


def test_what_a_camera_does_again_and_again_is_no_clock(tmp_path):
    """Two hours of a kind in half a year may be a clock's, more are its schedule."""
    at, found = EVENING + 6 * HOUR, {}
    for n_nights in (2, 3):
        times = [
            change(night(60, begin=EVENING + number * DAY), at + number * DAY)
            for number, change in enumerate([clock_forward] * n_nights)
        ]
        folder = write_catalogue(
            tmp_path / f"{n_nights}", ("gill", None, np.concatenate(times))
        )
        found[n_nights] = [n["hour_missing"] is not None for n in nights_of(folder)]
    assert found == {2: [True, True], 3: [False, False, False]}
