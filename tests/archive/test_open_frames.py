"""A store of frames is an array: for NumPy, scikit-learn, and every estimator."""

import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archive_files import frame_name, frame_times, write_pgm
from archives import make_frames, pack
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.utils import _safe_indexing
from tiny import tiny_fine_tuned, tiny_pretrained, tiny_simclr

from sksimclr import AuroraPreprocessor
from sksimclr.archive import open_frames, pack_frames
from sksimclr.archive._schemas import SHARD_KEY
from sksimclr.model_selection import time_sequences

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a store of several shards, stations, and frames without a time."""
    top = tmp_path_factory.mktemp("frames")
    (top / "in").mkdir()
    for number in range(12):
        start = np.datetime64("2014-03-10T06:05", "ns") + np.timedelta64(number, "m")
        site, images = ("gill", "fsmi", "rank")[number % 3], make_frames(5, number)
        path = top / "in" / frame_name(start, site, ".pgm")
        write_pgm(path, images, frame_times(5, start), site)
    np.save(top / "in" / "some.npy", make_frames(4, 20))
    pack(top / "in", top / "store")
    return top / "store"


@pytest.fixture
def store(folder):
    """Return the store as an array."""
    return open_frames(folder)


@pytest.fixture
def copy(folder, tmp_path):
    """Return the folder of a copy that may be damaged."""
    return Path(shutil.copytree(folder, tmp_path / "store"))


def test_form_is_that_of_an_array(store):
    """And so is its text."""
    assert store.shape == (64, 8, 8) and len(store) == 64 and store.ndim == 3
    assert store.dtype is np.dtype("uint8")
    lengths = store.shard_lengths
    assert len(lengths) > 3 and lengths.sum() == 64 and lengths.dtype == np.int64
    assert "shape=(64, 8, 8)" in repr(store)


@pytest.mark.parametrize(
    "key",
    [
        0,
        -1,
        np.int32(17),
        slice(None),
        slice(3, 40),
        slice(50, 5, -7),
        slice(9, 9),
        [],
        [5],
        [3, 3, 60, 3],
        np.arange(64)[::-1],
        np.random.default_rng(0).permutation(64),
        np.random.default_rng(0).integers(-64, 64, 100),
        np.arange(64) % 3 == 1,
        np.zeros(64, bool),
        [True, False] * 32,
        range(2, 20, 3),
        (slice(2, 9), 3),
        ([4, 1], slice(2, 5), slice(None, None, 2)),
        (7, slice(2, 5)),
        (np.array([9, 2]), Ellipsis),
        Ellipsis,
        (),
        (Ellipsis, slice(2, 5)),
        np.array(-3),
        (np.array(3), 2),
    ],
)
def test_rows_are_those_of_the_array(store, key):
    """However they are picked; a new array in memory."""
    whole = np.concatenate([np.load(path) for path in shards_of(store)])
    found = store[key]
    expected = whole[list(key) if isinstance(key, range) else key]
    assert type(found) is np.ndarray and found.dtype == np.uint8
    assert found.shape == expected.shape and (found == expected).all()
    assert found.flags.writeable


@pytest.mark.parametrize("dtype", ["u1", "i1"])
def test_rows_may_be_of_a_small_type(tmp_path, dtype):
    """Which does not hold the number of frames."""
    np.save(tmp_path / "some.npy", make_frames(300))
    pack(tmp_path / "some.npy", tmp_path / "store")
    store = open_frames(tmp_path / "store")
    rows = np.array([3, 100, 7], dtype)
    if dtype[0] == "i":
        rows = -rows
    assert (store[rows] == store[:][rows.astype(int)]).all()


def shards_of(store):
    """Return the paths of the shards, in the order of rows."""
    return [
        Path(store._folder, "frames", f"{name}.npy").as_posix() for name in store._names
    ]


@pytest.mark.parametrize(
    "key", [64, -65, [0, 64], [True], True, 1.5, [0.5], "a", None, [[1, 2]], {1: 2}]
)
def test_rows_that_are_not_there_are_errors(store, key):
    """As of arrays; what could be meant otherwise is refused."""
    with pytest.raises(IndexError, match=r"no row|are picked by"):
        store[key]


def test_arrays_are_made_on_request(store):
    """Of another type too; a view there is not."""
    whole = store[:]
    assert (np.asarray(store) == whole).all()
    assert np.asarray(store, np.float32).dtype == np.float32
    assert (np.array(list(store)) == whole).all()
    with pytest.raises(ValueError, match="without a copy"):
        store.__array__(copy=False)


def test_only_the_shards_that_are_asked_for_are_read(copy):
    """Others may be gone by then."""
    store = open_frames(copy)
    expected = store[:]
    first = store.shard_lengths[0]
    for path in shards_of(store)[1:]:
        Path(path).unlink()
    assert (store[:first] == expected[:first]).all()
    with pytest.raises(FileNotFoundError, match=store._names[1]):
        store[: first + 1]


def test_rows_are_in_the_order_of_files(store):
    """So neighbours are neighbours in time."""
    files = store.index["file"].to_pylist()
    assert files == sorted(files)
    times = store.times[:60]
    assert (np.diff(times) > np.timedelta64(0)).all() and np.isnat(
        store.times[60:]
    ).all()


def test_sequences_are_those_of_time_sequences(store):
    """Across the borders of shards, of each site, and of frames without a time."""
    assert store.sequences.dtype == np.int64
    expected = time_sequences(store.times, store.sites)
    assert (store.sequences == expected).all()
    shard = np.repeat(np.arange(len(store.shard_lengths)), store.shard_lengths)
    assert any(len(set(shard[expected == k])) > 1 for k in range(expected.max() + 1))
    assert set(store.sites) == {"gill", "fsmi", "rank", "unknown"}
    assert store.sites.dtype.kind == "U"


def test_column_of_sequences_is_that_of_ten_minutes(store):
    """Since 1970, as any program can read it."""
    windows = store.index["sequence"].to_pylist()
    minutes = (store.times[:60] - np.datetime64(0, "m")) // np.timedelta64(10, "m")
    assert windows == minutes.tolist() + [None] * 4


def test_copies_by_pickle_are_small_and_the_same(store):
    """Without what can be read again."""
    before = len(pickle.dumps(store))
    assert (store.times, store.sites, store.sequences, store[:]) and before < 5000
    data = pickle.dumps(store)
    assert len(data) == before
    again = pickle.loads(data)
    assert (again[:] == store[:]).all() and (again.sites == store.sites).all()


def test_threads_read_at_once(store, rng):
    """Each its own rows."""
    whole = store[:]
    rows = [rng.integers(0, 64, 20) for _ in range(200)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(store.__getitem__, rows))
    assert all((a == whole[b]).all() for a, b in zip(found, rows, strict=True))


# As X of estimators


@pytest.mark.parametrize(
    "estimator",
    [
        tiny_simclr(max_epochs=2, random_state=0),
        tiny_pretrained(),
        AuroraPreprocessor(),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_transformers_take_stores(store, estimator):
    """And make of them what they make of the array, to the bit."""
    lazy = clone(estimator).fit(store).transform(store)
    whole = clone(estimator).fit(np.asarray(store)).transform(np.asarray(store))
    assert lazy.tobytes() == whole.tobytes()


def test_classifiers_take_stores(store):
    """Fine-tuned ones, and those behind a transformer."""
    labels = np.arange(64) % 2
    for estimator in (
        tiny_fine_tuned(),
        make_pipeline(tiny_simclr(max_epochs=0), LogisticRegression()),
    ):
        lazy = clone(estimator).fit(store, labels).predict_proba(store)
        array = np.asarray(store)
        whole = clone(estimator).fit(array, labels).predict_proba(array)
        assert lazy.tobytes() == whole.tobytes()


def test_sequences_of_a_store_are_trained_on(store):
    """As those of its times."""
    simclr = tiny_simclr(max_epochs=1, random_state=0)
    lazy = clone(simclr).fit(store, sequences=store.sequences).transform(store)
    sequences = time_sequences(store.times, store.sites)
    whole = clone(simclr).fit(np.asarray(store), sequences=sequences)
    assert lazy.tobytes() == whole.transform(np.asarray(store)).tobytes()


def test_scikit_learn_splits_stores(store):
    """By rows and by masks."""
    whole, labels = np.asarray(store), np.arange(64) % 2
    found = train_test_split(store, labels, random_state=0)
    expected = train_test_split(whole, labels, random_state=0)
    for a, b in zip(found, expected, strict=True):
        assert (a == b).all()
    for rows in ([3, 1], np.arange(64) > 50, slice(2, 5)):
        assert (_safe_indexing(store, rows) == _safe_indexing(whole, rows)).all()
    pipe = make_pipeline(tiny_simclr(max_epochs=0), LogisticRegression())
    scores = cross_val_score(pipe, store, labels, cv=3)
    assert (scores == cross_val_score(pipe, whole, labels, cv=3)).all()


# Damaged and hostile ones


def spoil_header(path, **fields):
    """Change what a header says."""
    header = json.loads((path / "_store.json").read_text())
    (path / "_store.json").write_text(json.dumps(header | fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"preprocessor": None},
        {"preprocessor": {"size": 8, "other": 1}},
        {"preprocessor": {"size": -8}},
        {"preprocessor": {"size": None}, "frame_shape": [None, None]},
        {"preprocessor": {"size": 8, "dtype": "object"}, "dtype": "object"},
        {"frame_shape": [8]},
        {"frame_shape": [8, 1 << 40]},
        {"dtype": "float32"},
        {"dtype": "|O"},
        {"format": "x"},
        {"format": 99},
        {"format": 99, "preprocessor": {"size": 8, "other": 1}, "dtype": "int4"},
    ],
)
def test_header_that_says_something_else_is_named(copy, fields):
    """Before anything else is read."""
    spoil_header(copy, **fields)
    what = "has format 99" if fields.get("format") == 99 else "is damaged"
    with pytest.raises(ValueError, match=rf"_store\.json' {what}"):
        open_frames(copy)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000])
def test_header_that_is_none_is_named(copy, text):
    """And no parser is exhausted."""
    (copy / "_store.json").write_text(text)
    with pytest.raises(ValueError, match=r"_store\.json' is damaged"):
        open_frames(copy)


@pytest.mark.parametrize(
    "said",
    [
        "[",
        "[1]",
        '{"n_frames": 5}',
        '{"n_frames": -1, "first": "a"}',
        '{"n_frames": true, "first": "a"}',
        '{"n_frames": 1e9, "first": "a"}',
        '{"n_frames": 9223372036854775807, "first": "a"}',
    ],
)
def test_note_that_says_something_else_is_named(copy, said):
    """Without its frames being counted."""
    note = min((copy / "_files").iterdir())
    table = pq.read_table(note)
    metadata = table.schema.metadata | {SHARD_KEY: said}
    pq.write_table(table.replace_schema_metadata(metadata), note)
    with pytest.raises(ValueError, match=f"{note.name}' is damaged"):
        open_frames(copy)


def test_note_that_is_no_parquet_is_named(copy):
    """As all damage."""
    note = min((copy / "_files").iterdir())
    note.write_bytes(note.read_bytes()[:-9])
    with pytest.raises(ValueError, match=f"{note.name}' is damaged"):
        open_frames(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-1], "it ends before frame"),
        (lambda content: content[:128], "it ends before frame"),
        (lambda content: content[:60], "described as"),
        (lambda content: b"", "is damaged"),
        (lambda content: content.replace(b"|u1", b"|O1"), "is damaged"),
        (lambda content: content.replace(b"|u1", b"|i1"), "int8"),
        (lambda content: content.replace(b"(", b"(9"), "its header tells of uint8"),
        (lambda content: content.replace(b"False", b"True "), "its header tells of"),
        (lambda content: content.replace(b"(", b"[", 1), "is damaged"),
    ],
)
def test_shard_that_is_damaged_is_named(copy, change, message):
    """When it is read; it kills no process, and nothing is unpickled."""
    store = open_frames(copy)
    path = Path(shards_of(store)[1])
    path.write_bytes(change(path.read_bytes()))
    first = store.shard_lengths[0]
    store[:first]
    with pytest.raises(ValueError, match=message) as error:
        store[first : first + store.shard_lengths[1]]
    assert f"{path.name}' is damaged" in str(error.value)
    assert "pack_frames" in str(error.value)


@pytest.mark.parametrize("place", ["frames", "index"])
def test_parts_that_are_lost_are_named(copy, place):
    """When the store is opened."""
    path = min((copy / place).iterdir())
    path.unlink()
    with pytest.raises(
        FileNotFoundError, match=rf"lost 1 files, such as .*{path.name}"
    ):
        open_frames(copy)


def test_index_that_is_damaged_is_named(copy):
    """When a column is asked for; frames can still be read."""
    path = min((copy / "index").iterdir())
    content = bytearray(path.read_bytes())
    content[30] ^= 255
    path.write_bytes(content)
    store = open_frames(copy)
    assert len(store[:]) == 64
    with pytest.raises(OSError, match=rf"store's file .*{path.name}' is damaged"):
        store.index  # noqa: B018
    pq.write_table(pa.table({"file": ["a"]}), path)
    with pytest.raises(ValueError, match=rf"{path.name}' has 1 rows, its shard"):
        store.times  # noqa: B018


def test_what_others_put_into_the_folder_is_not_read(copy):
    """Whatever its name."""
    before = open_frames(copy)
    for place, name in (
        ("_files", "part-0.parquet"),
        ("_files", "_0123abcd-part-0123456789abcdef.parquet.tmp"),
        ("_files", "part-0123456789abcdef.npy"),
        ("frames", "part-0123456789abcdef.npy"),
        ("index", "part-0123456789abcdef.parquet"),
    ):
        (copy / place / name).write_bytes(b"no such thing")
    store = open_frames(copy)
    assert (store[:] == before[:]).all() and store.index.equals(before.index)


def test_sequences_keep_instruments_apart(tmp_path):
    """Of one station and minute."""
    frames = make_frames(4)
    for name in ("rego-652_6300", "nir-216_8446"):
        path = tmp_path / "archive" / f"20140310_0600_gill_{name}.pgm"
        path.parent.mkdir(exist_ok=True)
        write_pgm(path, frames, frame_times(4))
    small = AuroraPreprocessor(size=8, dtype="uint8")
    pack_frames(tmp_path / "archive", tmp_path / "store", preprocessor=small)
    store = open_frames(tmp_path / "store")
    names = store.index["instrument"].to_pylist()
    assert names == ["nir-216, 844.6 nm"] * 4 + ["rego-652, 630.0 nm"] * 4
    assert len(set(store.sequences[:4])) == len(set(store.sequences[4:])) == 1
    assert store.sequences[0] != store.sequences[4]
