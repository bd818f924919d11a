"""Files go in, a catalogue comes out, whatever happens on the way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import archives
import numpy as np
import pyarrow.dataset as ds
import pytest
from archive_files import frame_name, frame_times, write_pgm
from archives import N_FRAMES, PART_BYTES, contents, fitted_pipeline, write_archive
from runs import STOPPED, exit_code
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from tiny import tiny_simclr

from sksimclr import AuroraPreprocessor
from sksimclr._files import readers
from sksimclr._files.file_names import as_path, as_text
from sksimclr.archive import (
    Frames,
    label_archive,
    read_catalogue,
    read_failures,
    read_frames,
    register_reader,
)

START = np.datetime64("2014-03-10T06:00", "ns")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def pipeline():
    """Return a fitted pipeline."""
    return fitted_pipeline()


@pytest.fixture
def archive(tmp_path):
    """Return a folder with six files of five frames, of two stations."""
    write_archive(tmp_path / "archive")
    return tmp_path / "archive"


def label(pipeline, archive, catalogue, **params):
    """Label with small parts, on two threads."""
    params = {"part_bytes": PART_BYTES, "n_threads": 2} | params
    return label_archive(pipeline, archive, catalogue, **params)


def write_minute(archive, images, start=START, site="gill"):
    """Write frames of a minute, and return their path."""
    times = frame_times(len(images), start)
    return write_pgm(archive / frame_name(start, site, ".pgm"), images, times, site)


def test_site_that_is_not_utf_8_is_escaped(pipeline, tmp_path, monkeypatch):
    """A reader may have it from the name of a folder."""
    frames = Frames(archives.make_frames(), site="g\udcff")
    monkeypatch.setattr(readers, "_READERS", readers._READERS.copy())
    register_reader(".odd", lambda path: frames)
    (tmp_path / "a.odd").touch()
    run = label(pipeline, tmp_path / "a.odd", tmp_path / "catalogue")
    assert run.n_failures == 0
    sites = read_catalogue(tmp_path / "catalogue")["site"].to_pylist()
    assert sites == [r"g\udcff"] * len(frames)


@pytest.mark.skipif(sys.platform != "linux", reason="names are UTF-8 there")
def test_names_that_are_not_utf_8_are_labelled(pipeline, tmp_path):
    """Their text in the catalogue names them, and no other file."""
    images = archives.make_frames()
    folder = tmp_path / "odd"
    folder.mkdir()
    good, bad = (
        os.fsdecode(os.fsencode(folder) + name)
        for name in (b"/20140310_0600_gill_\xff.pgm", b"/20140310_0700_gill_\xff.pgm")
    )
    write_pgm(Path(good), images, frame_times(len(images)), "gill")
    Path(bad).touch()
    run = label(pipeline, folder, tmp_path / "catalogue")
    assert (run.n_files, run.n_frames, run.n_failures) == (2, len(images), 1)
    files = read_catalogue(tmp_path / "catalogue")["file"].to_pylist()
    assert {as_path(file) for file in files} == {good}
    (failed,) = read_failures(tmp_path / "catalogue")["file"].to_pylist()
    assert as_path(failed) == bad
    assert label(pipeline, folder, tmp_path / "catalogue").n_skipped == 2


@pytest.mark.parametrize(
    "name", ["a.pgm", "\u00e5.pgm", "\udcff.pgm", "\\udcff.pgm", "\\u005cudcff", "\\ua"]
)
def test_text_of_a_name_leads_back_to_it(name):
    """Also when the name looks like one that was not UTF-8."""
    assert as_text(name).encode() and as_path(as_text(name)) == name


def test_labels_probabilities_and_embeddings_are_those_of_the_pipeline(
    pipeline, archive, tmp_path
):
    """What the catalogue holds is what predict, predict_proba and transform say."""
    run = label(pipeline, archive, tmp_path / "out", embeddings=True)
    assert (run.n_files, run.n_frames, run.n_failures) == (6, 6 * N_FRAMES, 0)
    table = read_catalogue(tmp_path / "out")
    frames = {str(path): read_frames(path).images for path in archive.iterdir()}
    images = np.stack(
        [
            frames[file][frame]
            for file, frame in zip(
                table["file"].to_pylist(), table["frame"].to_pylist(), strict=True
            )
        ]
    )
    assert table["label"].to_pylist() == pipeline.predict(images).tolist()
    found = [table[f"probability_{name}"].to_numpy() for name in pipeline.classes_]
    expected = pipeline.predict_proba(images)
    np.testing.assert_allclose(np.transpose(found), expected, rtol=1e-5, atol=1e-7)
    embeddings = np.array(table["embedding"].to_pylist())
    expected = pipeline[:-1].transform(images)
    np.testing.assert_allclose(embeddings, expected, rtol=2**-10, atol=1e-6)
    assert set(table["quality"].to_pylist()) == {"good"}


def test_rows_say_where_and_when_a_frame_was_taken(pipeline, tmp_path):
    """A night that crosses midnight lies in two dates; the order is that of time."""
    night = tmp_path / "night"
    night.mkdir()
    before = np.datetime64("2014-03-09T23:59:54", "ns")
    path = write_minute(night, archives.make_frames(), before)
    label(pipeline, night, tmp_path / "out")
    table = read_catalogue(tmp_path / "out")
    assert table["file"].to_pylist() == [str(path)] * N_FRAMES
    assert table["frame"].to_pylist() == [0, 1, 2, 3, 4]
    assert (table["time"].to_numpy() == frame_times(N_FRAMES, before)).all()
    assert table.schema.field("time").type.tz == "UTC"
    assert table["site"].to_pylist() == ["gill"] * N_FRAMES
    assert table["date"].to_pylist() == ["2014-03-09"] * 2 + ["2014-03-10"] * 3


@pytest.mark.parametrize("hours", [1, -3, 5.5, 5.75])
def test_times_of_a_clock_that_is_ahead_become_utc(pipeline, tmp_path, hours):
    """Before anything uses them: a frame lies in the date of UTC."""
    shown = np.datetime64("2014-03-10T00:59:54", "ns")
    images, archive = archives.make_frames(), tmp_path / "night"
    archive.mkdir()
    write_minute(archive, images, shown)
    np.save(archive / "some.npy", images)
    label(pipeline, archive, tmp_path / "out", utc_offset=hours)
    table = read_catalogue(tmp_path / "out")
    known = table.filter(table["time"].is_valid())
    ahead = np.timedelta64(round(3600 * hours), "s")
    expected = frame_times(N_FRAMES, shown) - ahead
    np.testing.assert_array_equal(known["time"].to_numpy(), expected)
    days = expected.astype("datetime64[D]").astype(str)
    assert known["date"].to_pylist() == days.tolist()
    assert table.num_rows == 2 * N_FRAMES  # those without a time have none still


@pytest.mark.parametrize("hours", [14.5, -15, np.nan, "1", True, None])
def test_offsets_that_no_clock_has_are_refused(pipeline, archive, tmp_path, hours):
    """Before anything is written."""
    with pytest.raises((TypeError, ValueError), match="utc_offset must be"):
        label(pipeline, archive, tmp_path / "out", utc_offset=hours)
    assert not (tmp_path / "out").exists()


def test_a_catalogue_has_one_offset(pipeline, archive, tmp_path):
    """One of before counts as 0."""
    label(pipeline, sorted(archive.iterdir())[:2], tmp_path / "out")
    path = tmp_path / "out" / "_catalogue.json"
    header = json.loads(path.read_text())
    assert header.pop("utc_offset") == 0
    path.write_text(json.dumps(header))
    with pytest.raises(ValueError, match=r"begun with utc_offset=0.0, .*=1.0"):
        label(pipeline, archive, tmp_path / "out", utc_offset=1)
    assert label(pipeline, archive, tmp_path / "out").n_files == 4
    for damaged in ("x", None, 99):
        path.write_text(json.dumps(header | {"utc_offset": damaged}))
        with pytest.raises(ValueError, match="is damaged"):
            read_catalogue(tmp_path / "out")


def test_frames_without_time_and_site_are_kept(pipeline, tmp_path):
    """They lie under "unknown"."""
    np.save(tmp_path / "some.npy", archives.make_frames())
    label(pipeline, tmp_path / "some.npy", tmp_path / "out")
    table = read_catalogue(tmp_path / "out")
    assert table["time"].null_count == N_FRAMES
    assert table["site"].to_pylist() == table["date"].to_pylist() == ["unknown"] * 5


def test_instruments_have_a_column(pipeline, archive, tmp_path):
    """Null where nobody knows; catalogues of before have none, and are gone on with."""
    label(pipeline, archive, tmp_path / "out")
    found = set(read_catalogue(tmp_path / "out")["instrument"].to_pylist())
    assert found == {"THEMIS ASI"}
    header = tmp_path / "out" / "_catalogue.json"
    header.write_text(header.read_text().replace('"format": 2', '"format": 1'))
    before = read_catalogue(tmp_path / "out")
    assert "instrument" not in before.column_names
    np.save(tmp_path / "a.npy", archives.make_frames())
    run = label(pipeline, [archive, tmp_path / "a.npy"], tmp_path / "out")
    assert (run.n_files, run.n_frames) == (1, N_FRAMES)
    after = read_catalogue(tmp_path / "out")
    assert after.schema == before.schema
    assert after.num_rows == before.num_rows + N_FRAMES
    header.write_text(header.read_text().replace('"format": 1', '"format": 2'))
    names = read_catalogue(tmp_path / "out")["instrument"].to_pylist()
    assert names.count(None) == N_FRAMES


def test_poor_frames_are_flagged(pipeline, tmp_path):
    """Without contrast or with NaN there is no label; saturated frames have one."""
    images = archives.make_frames(6)
    images[1], images[2, :5] = 7, 65535
    images[3, 3, 3] += 1
    images[4] = 65535
    np.save(tmp_path / "a.npy", images)
    floats = archives.make_frames(2, seed=1).astype(np.float32)
    floats[1, 2, 3] = np.nan
    np.save(tmp_path / "b.npy", floats)
    files = [tmp_path / "a.npy", tmp_path / "b.npy"]
    label(pipeline, files, tmp_path / "out", embeddings=True)
    table = read_catalogue(tmp_path / "out")
    quality = table["quality"].to_pylist()
    expected = ["good", "constant", "saturated", "good", "constant", "good"]
    assert quality == [*expected, "good", "unreadable"]
    unlabelled = [word in ("constant", "unreadable") for word in quality]
    for name in ("label", "probability_arc", "embedding"):
        assert [value is None for value in table[name].to_pylist()] == unlabelled


@pytest.mark.parametrize("on_gpu", [False, True])
@pytest.mark.parametrize("shape", [(40, 640, 640), (9, 640, 640, 4), (3000, 16, 16)])
def test_no_more_bytes_are_labelled_together(tmp_path, monkeypatch, shape, on_gpu):
    """However large frames are: 16 MB, on a GPU 64 MB; but many of small ones."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: on_gpu)
    frames = np.zeros(shape, np.uint16)
    frames[:, ::2] = 1
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", frames)
    model, sizes = DummyClassifier().fit(frames[:2], ["arc", "moon"]), []
    monkeypatch.setattr(
        DummyClassifier,
        "predict_proba",
        lambda self, X: sizes.append(X.nbytes) or np.full((len(X), 2), 0.5),
    )
    run = label(model, tmp_path, tmp_path / "out", part_bytes=1 << 40)
    assert run.n_frames == 2 * len(frames) and sum(sizes) == 2 * frames.nbytes
    most = 1 << (26 if on_gpu else 24)
    expected = min(most // frames[:1].nbytes, 256 if on_gpu else 1024, 2 * len(frames))
    assert max(sizes) == expected * frames[:1].nbytes <= most


def test_files_that_cannot_be_read_are_failures(pipeline, archive, tmp_path):
    """Each is named with its reason, and the others are labelled all the same."""
    (archive / "20140310_0700_gill_themis19_full.pgm").write_bytes(b"no image at all")
    other_size = archive / "20140310_0701_gill_themis19_full.pgm"
    write_pgm(other_size, np.pad(archives.make_frames(), ((0, 0), (4, 4), (4, 4))))
    text = tmp_path / "notes.txt"
    text.write_text("clear sky")
    run = label(pipeline, [archive, text], tmp_path / "out", part_bytes=1 << 30)
    assert (run.n_files, run.n_failures, run.n_frames) == (9, 3, 6 * N_FRAMES)
    failures = read_failures(tmp_path / "out").to_pylist()
    reasons = {Path(row["file"]).name[:13]: row["reason"] for row in failures}
    assert list(reasons) == ["20140310_0700", "20140310_0701", "notes.txt"]
    assert "(24, 24)" in reasons["20140310_0701"]
    assert ".txt" in reasons["notes.txt"]
    assert {row["n_frames"] for row in failures} == {0}


def test_frames_before_the_end_of_a_short_file_are_labelled(
    pipeline, archive, tmp_path
):
    """And both they and the file are marked."""
    path = next(archive.iterdir())
    path.write_bytes(path.read_bytes()[:-100])
    run = label(pipeline, archive, tmp_path / "out")
    assert (run.n_files, run.n_failures, run.n_frames) == (6, 1, 6 * N_FRAMES - 1)
    (failure,) = read_failures(tmp_path / "out").to_pylist()
    assert failure["file"] == str(path) and failure["n_frames"] == N_FRAMES - 1
    table = read_catalogue(tmp_path / "out", columns=["file", "quality", "label"])
    for row in table.to_pylist():
        assert (row["quality"] == "short") == (row["file"] == str(path))
        assert row["label"] is not None


def test_second_run_does_what_is_new(pipeline, archive, tmp_path):
    """What was done is skipped, also with files before and between those."""
    label(pipeline, archive, tmp_path / "out")
    before = contents(tmp_path / "out")
    run = label(pipeline, archive, tmp_path / "out")
    assert (run.n_files, run.n_skipped, run.n_frames) == (0, 6, 0)
    assert contents(tmp_path / "out") == before
    write_minute(archive, archives.make_frames(3), START - np.timedelta64(1, "h"))
    write_minute(archive, archives.make_frames(3), site="atha")
    run = label(pipeline, archive, tmp_path / "out")
    assert (run.n_files, run.n_skipped, run.n_frames) == (2, 6, 6)
    after = contents(tmp_path / "out")
    assert {name: after[name] for name in before} == before
    rows = read_catalogue(tmp_path / "out", columns=["file", "frame"]).to_pylist()
    assert len({(row["file"], row["frame"]) for row in rows}) == len(rows) == 36


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return an archive, and what a run that nobody stopped makes of it."""
    folder = tmp_path_factory.mktemp("whole")
    write_archive(folder / "archive")
    process = archives.start(folder / "archive", folder / "catalogue")
    assert exit_code(process) == 0
    return folder / "archive", contents(folder / "catalogue")


@pytest.mark.parametrize("event", [1, 2, 4, 7, 9, 10, 12, 15, 20])
def test_killed_run_goes_on_to_the_same_catalogue(whole, tmp_path, event):
    """SIGKILL before any step of writing costs nothing but time."""
    archive, expected = whole
    killed = archives.start(archive, tmp_path / "out", f"kill_at {event}")
    assert exit_code(killed) == -9
    assert contents(tmp_path / "out") != expected
    assert exit_code(archives.start(archive, tmp_path / "out")) == 0
    assert contents(tmp_path / "out") == expected


def test_other_process_gives_the_same_bytes(whole, pipeline, tmp_path):
    """Neither hashes nor threads of a process leave a trace."""
    archive, expected = whole
    label(pipeline, archive, tmp_path / "out", n_threads=1)
    assert contents(tmp_path / "out") == expected


def test_ctrl_c_leaves_whole_parts(whole, tmp_path):
    """KeyboardInterrupt is raised; what is there then is a part of the whole."""
    archive, expected = whole
    stopped = archives.start(archive, tmp_path / "out", "interrupt_at 5")
    assert exit_code(stopped) == STOPPED
    assert contents(tmp_path / "out").items() < expected.items()
    assert exit_code(archives.start(archive, tmp_path / "out")) == 0
    assert contents(tmp_path / "out") == expected


def test_other_model_or_other_columns_do_not_go_on(pipeline, archive, tmp_path):
    """The catalogue of one model never gets rows of another."""
    label(pipeline, archive, tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(ValueError, match="begun with model="):
        label(fitted_pipeline(random_state=1), archive, tmp_path / "out")
    with pytest.raises(ValueError, match="begun with n_features=None"):
        label(pipeline, archive, tmp_path / "out", embeddings=True)
    assert contents(tmp_path / "out") == before


def test_folder_with_something_else_is_left_alone(pipeline, archive):
    """A wrong path does not end in a mess."""
    before = contents(archive)
    with pytest.raises(FileExistsError, match="is no catalogue, and not empty"):
        label(pipeline, archive, archive)
    assert contents(archive) == before and not (archive / "_lock").exists()


def test_two_runs_do_not_write_at_the_same_time(pipeline, archive, tmp_path):
    """The second one says so."""
    fcntl = pytest.importorskip("fcntl")
    label(pipeline, archive, tmp_path / "out")
    with open(tmp_path / "out" / "_lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(RuntimeError, match="Another run is writing"):
            label(pipeline, archive, tmp_path / "out")


def test_small_archive_has_parts_for_all_threads(pipeline, archive, tmp_path):
    """By default there are 64 parts or more, as long as there are files for them."""
    label_archive(pipeline, archive, tmp_path / "out")
    assert len(list((tmp_path / "out" / "_files").iterdir())) == 6


def test_failures_are_read_again_on_request(pipeline, archive, tmp_path):
    """A file that was mended gets its rows; without the request it is left."""
    path = min(archive.iterdir())
    content = path.read_bytes()
    path.write_bytes(b"")
    assert label(pipeline, archive, tmp_path / "out").n_failures == 1
    path.write_bytes(content)
    assert label(pipeline, archive, tmp_path / "out").n_files == 0
    run = label(pipeline, archive, tmp_path / "out", retry_failures=True)
    assert (run.n_files, run.n_frames, run.n_failures) == (1, N_FRAMES, 0)
    assert read_failures(tmp_path / "out").num_rows == 0
    assert read_catalogue(tmp_path / "out").num_rows == 6 * N_FRAMES


def test_classes_may_be_numbers_and_probabilities_may_lack(archive, tmp_path):
    """RidgeClassifier has none; the labels keep their type."""
    frames = archives.make_frames(30)
    pipe = make_pipeline(AuroraPreprocessor(), tiny_simclr(), RidgeClassifier())
    pipe.fit(frames, np.arange(30) % 3)
    label(pipe, archive, tmp_path / "out")
    table = read_catalogue(tmp_path / "out")
    assert not [name for name in table.column_names if name.startswith("prob")]
    assert set(table["label"].to_pylist()) <= {0, 1, 2}


def test_transformer_alone_gives_embeddings(archive, tmp_path):
    """There is no label to write, and without embeddings nothing at all."""
    simclr = tiny_simclr().fit(archives.make_frames(20))
    with pytest.raises(ValueError, match="embeddings=True"):
        label(simclr, archive, tmp_path / "out")
    label(simclr, archive, tmp_path / "out", embeddings=True)
    table = read_catalogue(tmp_path / "out")
    assert "label" not in table.column_names
    first = table.slice(0, 1).to_pylist()[0]
    image = read_frames(first["file"]).images[first["frame"]]
    expected = simclr.transform(image[np.newaxis])[0]
    np.testing.assert_allclose(first["embedding"], expected, rtol=2**-10, atol=1e-6)


def test_read_out_of_the_transformer_is_that_of_the_catalogue(archive, tmp_path):
    """All stages and mirror images; another read-out does not go on there."""
    images = read_frames(next(archive.iterdir())).images
    params = {"encoder": "resnet18", "width": 16, "max_epochs": 0}
    simclr = tiny_simclr(**params, features="stages", symmetry="flips").fit(images)
    label(simclr, archive, tmp_path / "out", embeddings=True)
    table = read_catalogue(tmp_path / "out")
    (first,) = (p for p in archive.iterdir() if str(p) == table["file"][0].as_py())
    expected = simclr.transform(read_frames(first).images)[table["frame"][0].as_py()]
    found = np.array(table["embedding"][0].as_py(), np.float16)
    np.testing.assert_array_equal(found, expected.astype(np.float16))
    assert found.shape == (16 + 32 + 64 + 128,)
    simclr.set_params(symmetry=None)
    with pytest.raises(ValueError, match="begun with"):
        label(simclr, archive, tmp_path / "out", embeddings=True)


def test_preprocessor_in_front_need_not_be_fitted(archive, tmp_path):
    """It is stateless: a pipeline of it and a fitted transformer embeds."""
    preprocessor = AuroraPreprocessor()
    images = preprocessor.transform(archives.make_frames(20))
    pipe = make_pipeline(preprocessor, tiny_simclr().fit(images))
    run = label(pipe, archive, tmp_path / "out", embeddings=True)
    assert (run.n_frames, run.n_failures) == (6 * N_FRAMES, 0)


def test_pipelines_that_have_no_labels_are_refused(archive, tmp_path):
    """Not fitted; a regressor; a classifier alone whose input is no embedding."""
    frames = archives.make_frames(20)
    rows, y = frames.reshape(20, -1), np.arange(20) % 2
    with pytest.raises(NotFittedError):
        label(make_pipeline(tiny_simclr(), LogisticRegression()), archive, tmp_path)
    regressor = make_pipeline(tiny_simclr(), LinearRegression()).fit(frames, y)
    with pytest.raises(ValueError, match="Regressors"):
        label(regressor, archive, tmp_path / "out")
    alone = LogisticRegression().fit(rows, y)
    with pytest.raises(ValueError, match="no step before the classifier"):
        label(alone, archive, tmp_path / "out", embeddings=True)


def test_embeddings_too_large_for_float16_are_named(archive, tmp_path):
    """They are not turned into infinity."""
    simclr = tiny_simclr().fit(archives.make_frames(20))
    for parameter in simclr.encoder_.parameters():
        parameter.data *= 1e6
    label(simclr, archive, tmp_path / "out", embeddings=True)
    reasons = read_failures(tmp_path / "out")["reason"].to_pylist()
    assert len(reasons) == 6 and all("do not fit float16" in text for text in reasons)


def test_reader_of_a_user_is_asked(pipeline, tmp_path, monkeypatch):
    """Whatever it raises becomes the reason of a failure."""
    monkeypatch.setattr(readers, "_READERS", dict(readers._READERS))

    def read_camera(path):
        if "broken" in str(path):
            raise KeyError("exposure")
        return Frames(np.load(path)["sky"], site="home")

    register_reader([".camera"], read_camera)
    for name in ("good", "broken"):
        with open(tmp_path / f"{name}.camera", "wb") as file:
            np.savez(file, sky=archives.make_frames())
    run = label(pipeline, tmp_path, tmp_path / "out")
    assert (run.n_frames, run.n_failures) == (N_FRAMES, 1)
    assert "exposure" in read_failures(tmp_path / "out")["reason"][0].as_py()
    assert set(read_catalogue(tmp_path / "out")["site"].to_pylist()) == {"home"}


def test_reader_without_its_library_ends_the_run(pipeline, tmp_path, monkeypatch):
    """Rather than to call a million good files failures."""
    monkeypatch.setattr(readers, "_READERS", dict(readers._READERS))

    def read_camera(path):
        raise ImportError("No module named 'h5py'")

    register_reader([".camera"], read_camera)
    (tmp_path / "night.camera").touch()
    with pytest.raises(ImportError, match="h5py"):
        label(pipeline, tmp_path, tmp_path / "out")
    assert read_failures(tmp_path / "out").num_rows == 0


def test_catalogue_is_a_parquet_data_set_for_others(pipeline, archive, tmp_path):
    """Readers that know nothing of it find sites and dates in the folders' names."""
    polars = pytest.importorskip("polars")
    label(pipeline, archive, tmp_path / "out")
    ours = read_catalogue(tmp_path / "out")
    arrow = ds.dataset(tmp_path / "out", partitioning="hive").to_table()
    assert arrow.num_rows == ours.num_rows
    assert set(arrow.column_names) == set(ours.column_names)
    pattern = os.fspath(tmp_path / "out" / "site=*" / "**" / "*.parquet")
    frame = polars.read_parquet(pattern, hive_partitioning=True)
    assert frame["site"].value_counts().sort("site").rows() == [
        ("fsmi", 15),
        ("gill", 15),
    ]


def test_missing_catalogue_and_columns_are_named(pipeline, archive, tmp_path):
    """With what to do, or what there is."""
    with pytest.raises(FileNotFoundError, match="label_archive"):
        read_catalogue(tmp_path)
    label(pipeline, archive, tmp_path / "out")
    with pytest.raises(ValueError, match="no columns \\['lebel'\\]; it has"):
        read_catalogue(tmp_path / "out", columns=["lebel"])


def test_without_pyarrow_it_says_what_to_install(pipeline, archive, monkeypatch):
    """Before anything is read."""
    from sksimclr.archive import _folder

    monkeypatch.setattr(_folder, "find_spec", lambda name: None)
    for call in (
        lambda: label(pipeline, archive, archive / "out"),
        lambda: read_catalogue(archive / "out"),
        lambda: read_failures(archive / "out"),
    ):
        with pytest.raises(ImportError, match=r"sksimclr\[archive\]"):
            call()
    assert not (archive / "out").exists()


def test_import_of_archive_waits_with_torch_and_dask():
    """Readers alone need neither."""
    code = (
        "import sys, sksimclr.archive\n"
        "print([m for m in ('torch', 'distributed') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
