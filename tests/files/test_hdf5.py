"""Frames in HDF5 files of TREx, also damaged ones, with which the library crashes."""

import multiprocessing
import sys
import threading

import h5py
import numpy as np
import pytest

from sksimclr._files import hdf5 as module
from sksimclr.archive import UnreadableFileError, read_frames

TIMES = "data/timestamp"


@pytest.fixture
def images(rng):
    """Return four colour frames."""
    return rng.integers(0, 256, (4, 6, 7, 3), np.uint8)


def write(path, images, times=None, **attributes):
    """Write frames as TREx does; return the path."""
    if times is None:
        times = [f"2021-11-04 06:00:0{k}.500000 UTC" for k in range(len(images))]
    with h5py.File(path, "w") as file:
        file["data/images"] = np.moveaxis(images, 0, -1)
        file["data/timestamp"] = np.array([text.encode() for text in times])
        file.create_group("metadata/file").attrs.update(attributes)
    return path


def test_frames_are_read_with_times_and_site(tmp_path, images):
    """Row, column, channel, frame in the file; the name tells the site if it must."""
    path = write(tmp_path / "20211104_0600_gill_rgb-04_full.h5", images, imager="r")
    frames = read_frames(path)
    np.testing.assert_array_equal(frames.images, images)
    assert frames.times[1] == np.datetime64("2021-11-04T06:00:01.5")
    assert (frames.site, frames.metadata) == ("gill", {"imager": "r"})
    assert frames.instrument == "rgb-04"
    ids = {"site_unique_id": "LUCK", "imager_unique_id": "rgb-03"}
    frames = read_frames(write(tmp_path / "x.h5", images[..., 0], **ids))
    assert frames.instrument == "rgb-03"
    np.testing.assert_array_equal(frames.images, images[..., 0])
    assert frames.site == "luck"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.pop("data"), "expected a data set 'data/images'"),
        (lambda f: f["data"].pop("timestamp"), "expected a data set 'data/timestamp'"),
        (
            lambda f: f["data"].update(timestamp_=f["data"].pop("images")),
            "data set 'data/images'",
        ),
        (
            lambda f: (
                f["data"].pop("timestamp"),
                f.update({"data/timestamp": [b"x"]}),
            ),
            "expected 4 times",
        ),
        (
            lambda f: (
                f["data"].pop("images"),
                f["data"].update(images=h5py.ExternalLink("/etc/other.h5", "x")),
            ),
            "a link to somewhere else",
        ),
        (
            lambda f: (
                f["data"].pop("images"),
                f["data"].create_dataset("images", (9, 9, 3, 1 << 40), "u1"),
            ),
            "bytes or more",
        ),
    ],
)
def test_other_contents_are_refused(tmp_path, images, change, said):
    """With the file's name; nothing outside the file is opened."""
    path = write(tmp_path / "x.h5", images)
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(UnreadableFileError, match=said) as caught:
        read_frames(path)
    assert "x.h5" in str(caught.value)


def test_damaged_files_are_failures(tmp_path, images):
    """Truncated or changed; the files after them are read."""
    path = write(tmp_path / "x.h5", images)
    data, rng = path.read_bytes(), np.random.default_rng(0)
    for k in range(40):
        changed = bytearray(data[: rng.integers(1, len(data))] if k % 2 else data)
        for place in rng.integers(0, min(len(changed), 2048), 8):
            changed[place] = rng.integers(256)
        (tmp_path / "bad.h5").write_bytes(changed)
        try:
            read_frames(tmp_path / "bad.h5")
        except UnreadableFileError as error:
            assert "bad.h5" in str(error)
    np.testing.assert_array_equal(read_frames(path).images, images)


def test_crash_of_the_library_is_a_failure(tmp_path, images, monkeypatch):
    """And the process is started again."""
    path = write(tmp_path / "x.h5", images)
    read_frames(path)
    module._local.process._running.kill()
    with pytest.raises(UnreadableFileError, match=r"x\.h5.*ended with -9"):
        read_frames(path)
    np.testing.assert_array_equal(read_frames(path).images, images)


def test_file_with_which_the_library_hangs_is_a_failure(tmp_path, images, monkeypatch):
    """After some time."""
    path = write(tmp_path / "x.h5", images)
    monkeypatch.setattr(module, "_SECONDS", 0.5)
    process = module._Process()
    monkeypatch.setattr(module._local, "process", process, raising=False)
    process._start()
    monkeypatch.setattr(process._running, "stdin", open(tmp_path / "lost", "wb"))
    with pytest.raises(UnreadableFileError, match=r"x\.h5.*ended with -9"):
        read_frames(path)


def test_processes_end_with_their_threads(tmp_path, images):
    """One for each thread that reads."""
    path, found = write(tmp_path / "x.h5", images), []

    def read():
        read_frames(path)
        found.append(module._local.process._running)

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert found[0].wait(timeout=10) is not None


def test_without_h5py_it_says_what_to_install(tmp_path, images, monkeypatch):
    """As an ImportError, which ends a run: every other file would fail as well."""
    path = write(tmp_path / "x.h5", images)
    monkeypatch.setitem(sys.modules, "h5py", None)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="x.h5.*h5py"):
        read_frames(path)


def first_value(path):
    """Return a pixel of a file."""
    return int(read_frames(path).images[0, 0, 0, 0])


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_forks_get_answers_of_their_own(tmp_path):
    """Not those to the process that had read a file before them, nor do they end it."""
    paths = [tmp_path / f"{k}.h5" for k in range(8)]
    for k, path in enumerate(paths):
        write(path, np.full((2, 6, 7, 3), k + 1, np.uint8))
    assert first_value(paths[3]) == 4
    before = module._local.process._running
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map_async(first_value, 4 * paths, chunksize=1).get(30)
    assert found == 4 * list(range(1, 9))
    assert first_value(paths[5]) == 6 and module._local.process._running is before
