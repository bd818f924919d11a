"""No row of a catalogue is lost, and none is there twice, whoever else is at work."""

import errno
import os
import shutil
import time
from pathlib import Path

import archives
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archives import N_FRAMES, contents, fitted_pipeline, write_archive
from runs import exit_code

from sksimclr.archive import (
    _commit,
    label_archive,
    occurrence,
    read_catalogue,
    read_failures,
)
from sksimclr.archive._commit import commit, put_right
from sksimclr.archive._folder import read_files, start
from sksimclr.archive._labelled_part import catalogue_file
from sksimclr.archive._schemas import frame_schema
from sksimclr.plotting import KeogramDisplay, OccurrenceDisplay

pytestmark = pytest.mark.usefixtures("one_thread")
HEADER = {"model": "m", "classes": [0, 1], "probabilities": False, "n_features": None}
FILES = ["/archive/a.pgm", "/archive/b.pgm"]
NAME = "0123456789abcdef"
PART_BYTES = 2 * archives.PART_BYTES  # two files, with their headers


@pytest.fixture(scope="module")
def pipeline():
    """Return a fitted pipeline."""
    return fitted_pipeline()


@pytest.fixture(scope="module")
def whole(pipeline, tmp_path_factory):
    """Return an archive and its catalogue, three parts of two files."""
    folder = tmp_path_factory.mktemp("whole")
    write_archive(folder / "archive")
    label_archive(
        pipeline, folder / "archive", folder / "catalogue", part_bytes=PART_BYTES
    )
    assert len(list((folder / "catalogue" / "_files").iterdir())) == 3
    return folder / "archive", folder / "catalogue"


@pytest.fixture
def copy(whole, tmp_path):
    """Return an archive and a copy of its catalogue, with the same times."""
    return whole[0], Path(shutil.copytree(whole[1], tmp_path / "out"))


def again(pipeline, archive, catalogue, **options):
    """Go on with a catalogue."""
    return label_archive(
        pipeline, archive, catalogue, **{"part_bytes": PART_BYTES} | options
    )


def is_seen(path):
    """Tell whether readers of a catalogue see a file."""
    return not path.name.startswith("_") or path.name == "_catalogue.json"


def seen(catalogue):
    """Return the bytes of the files of a catalogue that count."""
    return {p: b for p, b in contents(catalogue).items() if is_seen(Path(p))}


def a_part(catalogue):
    """Return a file with rows, and the note of its part."""
    path = min(catalogue.glob("site=*/date=*/part-*"))
    return path, catalogue / "_files" / path.name


def rows_of(file, n_rows=3):
    """Return rows of frames of a file."""
    columns = {
        "file": [file] * n_rows,
        "frame": range(n_rows),
        "time": [None] * n_rows,
        "label": [1] * n_rows,
        "quality": ["good"] * n_rows,
        "model": ["m"] * n_rows,
        "instrument": [None] * n_rows,
    }
    return pa.table(columns).cast(frame_schema(HEADER))


def write_part(catalogue, name, frames, notes):
    """Write a part of rows of (site, date, table)."""
    commit(catalogue, name, [catalogue_file(name, *rows) for rows in frames], notes)


def write_two_sites(catalogue, name=NAME, files=FILES):
    """Write a part of two files of two sites."""
    frames = [
        (site, "2014-03-10", rows_of(file))
        for site, file in zip("gf", files, strict=False)
    ]
    notes = [{"file": file, "n_frames": 3, "reason": ""} for file in files]
    write_part(catalogue, name, frames, notes)


def steps_of_writing(monkeypatch, function=lambda: None, at=None):
    """Call a function before the n-th step of writing; return the steps so far."""
    steps = []

    def counting(name, step):
        def counted(*args, **kwargs):
            steps.append(name)
            if len(steps) == at:
                function()
            return step(*args, **kwargs)

        return counted

    for owner, name in ((pq, "write_table"), (os, "fsync"), (os, "replace")):
        monkeypatch.setattr(owner, name, counting(name, getattr(owner, name)))
    return steps


def test_another_run_may_begin_before_any_step_of_writing(tmp_path, monkeypatch):
    """It takes nothing away, whatever has been written by then."""
    with monkeypatch.context() as patch:
        start(tmp_path / "alone", HEADER)
        steps = steps_of_writing(patch)
        write_two_sites(tmp_path / "alone")
    expected = seen(tmp_path / "alone")
    assert len(expected) == 4 and len(steps) > 10
    for at in range(1, len(steps) + 1):
        out = tmp_path / str(at)
        start(out, HEADER)
        with monkeypatch.context() as patch:
            steps_of_writing(patch, lambda out=out: put_right(out, FILES), at)
            write_two_sites(out)
        assert seen(out) == contents(out) == expected, at
        assert put_right(out, FILES) == set(FILES)
        assert read_catalogue(out).num_rows == 6


def test_two_runs_without_locks_make_one_catalogue(whole, tmp_path):
    """Both do all the work, or share it; every frame is there once."""
    archive, _ = whole
    runs = [
        archives.start(archive, tmp_path / "out", "without_locks") for _ in range(2)
    ]
    assert [exit_code(run) for run in runs] == [0, 0]
    assert exit_code(archives.start(archive, tmp_path / "alone")) == 0
    assert seen(tmp_path / "out") == seen(tmp_path / "alone")


def remove(path):
    """Remove a file."""
    path.unlink()


def cut(path):
    """Cut a file short."""
    path.write_bytes(path.read_bytes()[:-7])


def flip(path):
    """Change a bit in the first column of a file."""
    content = bytearray(path.read_bytes())
    content[50] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [remove, cut, flip])
def test_lost_and_damaged_rows_are_labelled_again(pipeline, copy, damage):
    """The files of the part, and no others."""
    archive, catalogue = copy
    expected = seen(catalogue)
    path, _ = a_part(catalogue)
    damage(path)
    later = time.time() + 10
    if path.exists():
        os.utime(path, (later, later))  # times of file systems may be coarse
    assert again(pipeline, archive, catalogue).n_files == 2
    assert seen(catalogue) == expected


@pytest.mark.parametrize("damage", [remove, cut])
def test_lost_and_damaged_notes_are_written_again(pipeline, copy, damage):
    """Rows of which nothing says that they are whole do not count."""
    archive, catalogue = copy
    expected = seen(catalogue)
    damage(a_part(catalogue)[1])
    assert again(pipeline, archive, catalogue, part_bytes=1).n_files == 2
    assert len(seen(catalogue)) == len(expected) + 1  # two notes instead of one
    rows = read_catalogue(catalogue, columns=["file", "frame"]).to_pylist()
    assert len({(r["file"], r["frame"]) for r in rows}) == len(rows) == 6 * N_FRAMES


@pytest.mark.parametrize("sums", ["[", "[1]", '{"../x": [1, ""]}', '{"a": 3}'])
def test_note_that_says_something_else_is_damaged(pipeline, copy, sums):
    """It leads to no file outside."""
    archive, catalogue = copy
    expected = seen(catalogue)
    _, note = a_part(catalogue)
    table = pq.read_table(note)
    metadata = {_commit._KEY: sums}
    pq.write_table(table.replace_schema_metadata(metadata), note)
    assert again(pipeline, archive, catalogue).n_files == 2
    assert seen(catalogue) == expected


def other_files(archive, note):
    """Return the files of an archive that are not in a part."""
    own = {Path(row["file"]) for row in pq.read_table(note).to_pylist()}
    return set(archive.iterdir()) - own


@pytest.mark.parametrize("damage", [cut, flip])
def test_rows_of_a_damaged_note_are_not_given_up(pipeline, copy, damage):
    """Unless the call has the files of which they are."""
    archive, catalogue = copy
    _, note = a_part(catalogue)
    others = other_files(archive, note)
    damage(note)
    with pytest.warns(UserWarning, match="such as .* to label_archive"):
        again(pipeline, others, catalogue)
    assert read_catalogue(catalogue).num_rows == 6 * N_FRAMES


def test_error_of_the_system_is_no_damage(pipeline, copy, monkeypatch):
    """It ends the run, and nothing is set aside."""
    archive, catalogue = copy
    before = contents(catalogue)

    def fail(*args, **kwargs):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(pq, "ParquetFile", fail)
    with pytest.raises(OSError, match="Too many open files"):
        again(pipeline, archive, catalogue)
    assert contents(catalogue) == before


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"name": ["a"]}),
        pa.table({"file": ["a"], "n_frames": [None], "reason": [""]}),
        pa.table({"file": [None], "n_frames": ["1"], "reason": [3]}),
    ],
)
def test_note_of_another_shape_is_damaged(pipeline, copy, table):
    """It does not end the run."""
    archive, catalogue = copy
    expected = seen(catalogue)
    pq.write_table(table, a_part(catalogue)[1])
    assert again(pipeline, archive, catalogue).n_files == 2
    assert seen(catalogue) == expected


def test_rows_that_the_note_does_not_name_are_set_aside(tmp_path):
    """As when a part was written again, with fewer rows."""
    start(tmp_path, HEADER)
    write_two_sites(tmp_path)
    write_part(
        tmp_path, NAME, [], [{"file": f, "n_frames": 0, "reason": "x"} for f in FILES]
    )
    assert put_right(tmp_path, FILES) == set(FILES)
    assert read_catalogue(tmp_path).num_rows == 0


def test_whole_parts_come_before_damaged_ones(tmp_path):
    """Also if the damaged one has more files, and none of them is given."""
    start(tmp_path, HEADER)
    write_two_sites(tmp_path)
    for k, site in enumerate("gf"):
        note = {"file": FILES[k], "n_frames": 3, "reason": ""}
        rows = (site, "2014-03-10", rows_of(FILES[k]))
        write_part(tmp_path, f"{NAME}-{k}", [rows], [note])
    (tmp_path / "site=g" / "date=2014-03-10" / f"part-{NAME}.parquet").unlink()
    assert put_right(tmp_path, []) == set(FILES)
    assert read_catalogue(tmp_path)["file"].to_pylist() == [
        *FILES[1:] * 3,
        *FILES[:1] * 3,
    ]


def test_all_rows_of_a_part_get_their_names(tmp_path):
    """Also those behind one that is gone."""
    start(tmp_path, HEADER)
    write_two_sites(tmp_path)
    paths = sorted(tmp_path.glob("site=*/date=*/part-*"))
    for path in paths:
        path.rename(path.with_name(f"_0123abcd-{path.name}.tmp"))
    next(paths[1].parent.iterdir()).unlink()
    with pytest.warns(UserWarning, match="missing, damaged or there twice"):
        put_right(tmp_path, [])
    assert paths[0].exists() and not paths[1].exists()


def test_what_is_set_aside_stays(pipeline, copy):
    """Each time; nothing takes its name."""
    archive, catalogue = copy
    path, note = a_part(catalogue)
    for k in (1, 2):
        note.unlink()
        again(pipeline, archive, catalogue)
        assert len(list(path.parent.glob("_aside-*"))) == k


def test_retry_does_not_hide_damage(pipeline, copy):
    """The note keeps its time, by which changed rows are known."""
    archive, catalogue = copy
    path, note = a_part(catalogue)
    table = pq.read_table(note)
    row = pa.table({"file": ["/gone"], "n_frames": [0], "reason": ["x"]})
    table = pa.concat_tables([table, row.cast(table.schema)])
    pq.write_table(table, note)
    os.utime(note, (1e9, 1e9))
    flip(path)
    assert again(pipeline, archive, catalogue, retry_failures=True).n_files == 2


def test_lock_is_not_looked_for_elsewhere(pipeline, copy, tmp_path):
    """What a link leads to keeps its content."""
    archive, catalogue = copy
    stranger = tmp_path / "stranger"
    stranger.write_text("content")
    (catalogue / "_lock").unlink()
    (catalogue / "_lock").symlink_to(stranger)
    with pytest.raises(OSError, match="_lock"):
        again(pipeline, archive, catalogue)
    assert stranger.read_text() == "content"


def without_sums(note):
    """Make a note as it was before parts were noted in it."""
    pq.write_table(pq.read_table(note).replace_schema_metadata(None), note)


def test_catalogues_of_before_are_put_right(pipeline, copy):
    """Their notes have no checksums; the numbers of rows must do."""
    archive, catalogue = copy
    for note in (catalogue / "_files").iterdir():
        without_sums(note)
    before = contents(catalogue)
    assert again(pipeline, archive, catalogue).n_files == 0
    assert contents(catalogue) == before
    remove(a_part(catalogue)[0])
    assert again(pipeline, archive, catalogue).n_files == 2
    assert read_catalogue(catalogue).num_rows == 6 * N_FRAMES


def test_rows_of_files_that_are_gone_are_not_given_up(pipeline, copy, tmp_path):
    """What is left of a part stays, when it cannot be labelled again."""
    archive, catalogue = copy
    path, note = a_part(catalogue)
    others = other_files(archive, note)
    remove(path)
    before = contents(catalogue)
    with pytest.warns(UserWarning, match="missing, damaged or there twice"):
        assert again(pipeline, others, catalogue).n_files == 0
    assert contents(catalogue) == before


def test_files_of_two_parts_count_once(tmp_path):
    """A worker may outlive its run, and write a part that was divided since."""
    start(tmp_path, HEADER)
    write_two_sites(tmp_path)
    write_two_sites(tmp_path, NAME + "-0", FILES[:1])
    assert put_right(tmp_path, FILES) == set(FILES)
    assert read_catalogue(tmp_path).num_rows == 6
    write_two_sites(tmp_path, "f" + NAME[1:], [FILES[1], "/archive/c.pgm"])
    assert put_right(tmp_path, [*FILES, "/archive/c.pgm"]) == set(FILES)
    assert read_catalogue(tmp_path).num_rows == 6


def test_catalogue_without_its_list_is_left_alone(pipeline, copy):
    """And it is said what to do."""
    archive, catalogue = copy
    shutil.rmtree(catalogue / "_files")
    before = contents(catalogue)
    with pytest.raises(FileNotFoundError, match="has lost the list of its files"):
        again(pipeline, archive, catalogue)
    assert contents(catalogue) == before


def test_what_others_put_into_the_folder_is_left_alone(pipeline, copy):
    """Neither read nor deleted, whatever its name."""
    archive, catalogue = copy
    expected = read_catalogue(catalogue)
    path, note = a_part(catalogue)
    (catalogue / "export").mkdir()
    own = [
        catalogue / "export" / "part-0.parquet",
        path.with_name("_part-0.parquet"),
        path.with_name(path.name + ".bak"),
        note.with_name(note.name + ".bak"),
        note.with_name("part-0.parquet"),
    ]
    for stranger in own:
        shutil.copy(path, stranger)
        os.utime(stranger, (0, 0))
    path.with_name(f"part-{NAME}.parquet").mkdir()
    before = contents(catalogue)
    assert again(pipeline, archive, catalogue).n_files == 0
    assert contents(catalogue) == before
    assert read_catalogue(catalogue).equals(expected)
    assert read_failures(catalogue).num_rows == 0


def test_rows_without_a_note_go_after_a_day(pipeline, copy):
    """By then, no run is writing them any more."""
    archive, catalogue = copy
    path, note = a_part(catalogue)
    places = [path.parent, note.parent]
    new = [place / f"_0123abcd-{path.name}.tmp" for place in places]
    old = [place / f"_4567cdef-{path.name}.tmp" for place in places]
    old += [catalogue / "_4567cdef-_catalogue.json.tmp"]
    for tmp in new + old:
        tmp.touch()
    for tmp in old:
        os.utime(tmp, (0, time.time() - 25 * 3600))
    again(pipeline, archive, catalogue)
    assert all(map(Path.exists, new)) and not any(map(Path.exists, old))


def test_what_vanishes_while_it_is_looked_at_is_no_error(pipeline, copy, monkeypatch):
    """Another run gives files their names, or sets them aside, at the same moment."""
    archive, catalogue = copy
    path, _ = a_part(catalogue)
    unnamed = path.with_name(f"_0123abcd-{path.name}.tmp")
    path.rename(unnamed)
    sha256 = _commit._sha256

    def named_meanwhile(file):
        if file == unnamed and unnamed.exists():
            unnamed.rename(path)
        return sha256(file)

    monkeypatch.setattr(_commit, "_sha256", named_meanwhile)
    assert again(pipeline, archive, catalogue).n_files == 0
    gone = path.with_name(f"_4567cdef-{path.name}.tmp")
    gone.symlink_to("nothing")  # listed, but not there
    assert again(pipeline, archive, catalogue).n_files == 0
    os.utime(path, (time.time() + 10,) * 2)

    def set_aside_meanwhile(file):
        path.unlink(missing_ok=True)
        return sha256(file)

    monkeypatch.setattr(_commit, "_sha256", set_aside_meanwhile)
    assert put_right(catalogue, map(str, archive.iterdir()))
    monkeypatch.undo()
    assert again(pipeline, archive, catalogue).n_files == 2


def test_damaged_files_of_a_catalogue_are_named(copy):
    """Those of rows and of notes, and its header."""
    _, catalogue = copy
    for path in a_part(catalogue):
        content = path.read_bytes()
        flip(path)
        with pytest.raises(OSError, match=f"{path.name}' is damaged"):
            read_catalogue(catalogue), read_failures(catalogue)
        path.write_bytes(content)
    cut(a_part(catalogue)[0])
    for read in (
        lambda: occurrence(catalogue),
        lambda: OccurrenceDisplay.from_catalogue(catalogue),
        lambda: KeogramDisplay.from_catalogue(catalogue, "fsmi", "2014-03-10"),
    ):
        with pytest.raises(OSError, match="parquet' is damaged"):
            read()
    for header in ("{", "[]", '{"format": 1}', '{"format": 1, "classes": 3}'):
        (catalogue / "_catalogue.json").write_text(header)
        with pytest.raises(ValueError, match=r"_catalogue.json' is damaged"):
            read_catalogue(catalogue)


def test_run_whose_parts_vanish_ends(pipeline, copy, monkeypatch):
    """Rather than labelling without end."""
    archive, catalogue = copy
    monkeypatch.setattr(_commit._Note, "has_all", lambda *args: False)
    with pytest.raises(RuntimeError, match="vanish after they were written"):
        again(pipeline, archive, catalogue)


def test_list_of_files_is_that_of_the_notes(copy):
    """In one table."""
    archive, catalogue = copy
    table = read_files(catalogue)
    assert sorted(table["file"].to_pylist()) == sorted(map(str, archive.iterdir()))
    assert np.all(table["n_frames"].to_numpy() == N_FRAMES)
