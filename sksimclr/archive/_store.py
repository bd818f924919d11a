"""A store of frames as an array of which only what is asked for is read."""

import json
import os
from functools import cached_property
from itertools import pairwise
from numbers import Integral
from pathlib import Path

import numpy as np

from sksimclr._files.file_names import absolute
from sksimclr.archive._folder import (
    STORE,
    damage_named,
    notes_of,
    parquet_format,
    read_header,
)
from sksimclr.archive._schemas import SHARD_KEY, UNKNOWN, form_of_frames, index_schema
from sksimclr.archive._shard import read_shard

_MOST_FRAMES = 1 << 40  # of a shard


def open_frames(store):
    """Open a store of frames as a lazy array, which every estimator takes as X.

    Parameters
    ----------
    store : str or path-like
        Folder that `pack_frames` has written.

    Returns
    -------
    FrameStore

    Raises
    ------
    FileNotFoundError
        There is no such store, or a part of it is gone.
    ValueError
        The store is of a later version, or what it says of itself is damaged.
    ImportError
        pyarrow is not installed: ``pip install "sksimclr[archive]"``.

    See Also
    --------
    pack_frames : Makes a store.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from sksimclr import AuroraPreprocessor, SimCLRTransformer
    >>> from sksimclr.archive import open_frames, pack_frames
    >>> from sksimclr.datasets import make_aurora
    >>> folder = tempfile.mkdtemp()
    >>> frames = make_aurora(12, size=32, random_state=0).images
    >>> np.save(f"{folder}/20140310_0600_gill.npy", frames)
    >>> small = AuroraPreprocessor(size=16, dtype="uint8")
    >>> run = pack_frames(folder, f"{folder}/store", preprocessor=small)
    >>> images = open_frames(f"{folder}/store")
    >>> images.shape, images[[3, 1]].shape, images.sites[:1].tolist()
    ((12, 16, 16), (2, 16, 16), ['gill'])
    >>> simclr = SimCLRTransformer(image_size=16, stem="imagenet", max_epochs=0)
    >>> simclr.fit_transform(images).shape
    (12, 512)
    """
    return FrameStore(store)


class FrameStore:
    """The frames of a store, as an array that is read from its files by rows.

    Rows are picked by an integer, a slice, integers in any order, or a mask of
    booleans: ``store[10:20]`` is an array in memory. Rows are in the order of shards,
    those in the order of their first files, so that neighbours are neighbours in time.
    It can be pickled, is small, and may be read by threads at once.

    Parameters
    ----------
    store : str or path-like
        Folder that `pack_frames` has written.

    Attributes
    ----------
    shape : tuple of int
        ``(n, H, W)``.
    dtype : numpy dtype
        uint8 or float32.
    ndim : int
        3.
    preprocessor : AuroraPreprocessor
        What made the frames: with it, others become such as these.
    shard_lengths : ndarray of shape (n_shards,), int64
        Number of frames of each shard, in the order of rows.
    times : ndarray of shape (n,), datetime64[ns]
        Start of each exposure, UTC, NaT where unknown; read when first asked for.
    sites : ndarray of shape (n,), str
        Station of each frame, "unknown" where unknown; likewise.
    sequences : ndarray of shape (n,), int64
        Which frames are moments of one sky, seen by one instrument of a station, as
        `time_sequences` finds them; likewise.
    index : pyarrow.Table
        All columns that `pack_frames` describes, read anew each time.

    Raises
    ------
    FileNotFoundError
        There is no such store, or a part of it is gone.
    ValueError
        The store is of a later version, or what it says of itself is damaged.
    ImportError
        pyarrow is not installed: ``pip install "sksimclr[archive]"``.

    See Also
    --------
    open_frames : Opens a store.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from sksimclr.archive import FrameStore, pack_frames
    >>> folder = tempfile.mkdtemp()
    >>> frames = np.random.default_rng(0).integers(0, 4095, (5, 80, 80), np.uint16)
    >>> np.save(f"{folder}/20140310_0600_gill.npy", frames)
    >>> run = pack_frames(folder, f"{folder}/store")
    >>> store = FrameStore(f"{folder}/store")
    >>> len(store), store[-1].shape, store.shard_lengths
    (5, (64, 64), array([5]))
    """

    ndim = 3

    def __init__(self, store):
        self._folder = absolute(store)
        header = read_header(self._folder, STORE)
        self.preprocessor, shape, self.dtype = form_of_frames(header)
        self._names, self.shard_lengths = _find_shards(self._folder)
        self.shape = (int(self.shard_lengths.sum()), *shape)
        self._ends = np.cumsum(self.shard_lengths)
        self._first_bytes = {}  # of shards whose headers were checked

    def __repr__(self):
        """Return what it is, in a line."""
        return f"FrameStore({self._folder!r}, shape={self.shape}, dtype={self.dtype})"

    def __len__(self):
        """Return the number of frames."""
        return self.shape[0]

    def __getstate__(self):
        """Leave out what can be read again."""
        columns = ("times", "sites", "sequences")
        state = {name: v for name, v in vars(self).items() if name not in columns}
        return state | {"_first_bytes": {}}

    def __array__(self, dtype=None, copy=None):
        """Read all frames."""
        if copy is False:
            raise ValueError("A store cannot become an array without a copy.")
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)

    def __getitem__(self, key):
        """Read the frames at the given rows, and return them or parts of them.

        Raises
        ------
        IndexError
            There are no such rows.
        ValueError
            A shard is damaged.
        """
        rows, *rest = (key or (...,)) if isinstance(key, tuple) else (key,)
        if rows is Ellipsis:
            return self[:][(rows, *rest)]
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        if isinstance(rows, Integral) and not isinstance(rows, bool):
            return self._read(self._as_rows([rows]))[0][tuple(rest)]
        if isinstance(rows, np.ndarray) and rows.ndim == 0:
            return self[(rows[()], *rest)]
        frames = self._read(self._as_rows(rows))
        return frames[(slice(None), *rest)] if rest else frames

    def _as_rows(self, rows):
        """Return row numbers that are counted from the first one."""
        found = np.asarray(rows)
        if found.dtype == bool and found.shape == (len(self),):
            return np.flatnonzero(found)
        if found.size == 0:
            found = found.astype(np.int64)
        if found.dtype.kind not in "iu" or found.ndim != 1:
            raise IndexError(
                "Frames of a store are picked by an integer, a slice, a list of "
                f"integers or a mask of {len(self)} booleans; got {rows!r}."
            )
        wrong = (found < -len(self)) | (found >= len(self))
        if wrong.any():
            raise IndexError(
                f"The store has {len(self)} frames, there is no row {found[wrong][0]}."
            )
        found = found.astype(np.int64)  # small types cannot hold the sum
        return np.where(found < 0, found + len(self), found)

    def _read(self, rows):
        """Return the frames (n, H, W) at row numbers, an array (n,) of int64."""
        steps = np.diff(rows)
        if (steps < 0).any():
            order = np.argsort(rows, kind="stable")
            frames = self._read(rows[order])
            back = np.empty_like(order)
            back[order] = np.arange(len(order))
            return frames[back]
        frames = np.empty((len(rows), *self.shape[1:]), self.dtype)
        shards = np.searchsorted(self._ends, rows, side="right")
        bounds = [0, *(np.flatnonzero(np.diff(shards)) + 1).tolist(), len(rows)]
        firsts = self._ends[shards] - self.shard_lengths[shards]
        numbers = (rows - firsts).tolist()
        for start, stop in pairwise(bounds if len(rows) else []):
            self._read_shard(shards[start], numbers[start:stop], frames[start:stop])
        return frames

    def _read_shard(self, shard, rows, out):
        """Read rows of a shard."""
        path = f"{self._folder}{os.sep}frames{os.sep}{self._names[shard]}.npy"
        n_frames = int(self.shard_lengths[shard])
        read_shard(path, n_frames, rows, out, self._first_bytes)

    @property
    def index(self):
        """Rows of the frames, a table of pyarrow."""
        return self._columns(index_schema().names)

    @cached_property
    def times(self):
        """Start of each exposure."""
        times = self._columns(["time"])["time"].to_numpy()
        return times.astype("datetime64[ns]", copy=False)

    @cached_property
    def sites(self):
        """Station of each frame."""
        names, numbers = self._numbered("site")
        return names[numbers]

    @cached_property
    def sequences(self):
        """Which frames are moments of one sky."""
        windows = self._columns(["sequence"])["sequence"]
        is_alone = windows.is_null().to_numpy()
        windows = windows.fill_null(0).to_numpy().copy()
        windows[is_alone] = np.arange(is_alone.sum())
        cameras = [self._numbered(name)[1] for name in ("instrument", "site")]
        keys = (windows, *cameras, is_alone)
        order = np.lexsort(keys)
        is_new = np.zeros(len(self), np.int64)
        for key in keys:
            is_new[1:] |= key[order][1:] != key[order][:-1]
        sequences = np.empty(len(self), np.int64)
        sequences[order] = np.cumsum(is_new)
        return sequences

    def _numbered(self, name):
        """Return the texts of a column, sorted, and the number of that of each row."""
        import pyarrow as pa

        column = self._columns([name])[name].fill_null(UNKNOWN)
        column = pa.chunked_array(column, pa.string()).combine_chunks()
        column = column.dictionary_encode()
        names = np.array(column.dictionary.to_pylist(), str)
        names, numbers = np.unique(names, return_inverse=True)
        return names, numbers[column.indices.to_numpy()]

    def _columns(self, names):
        """Return columns of the index."""
        import pyarrow.dataset as ds

        folder = Path(self._folder, "index")
        paths = [os.fspath(folder / f"{name}.parquet") for name in self._names]
        rows = ds.dataset(paths, schema=index_schema(), format=parquet_format())
        with damage_named(rows, STORE):
            table = rows.to_table(columns=names)
            if table.num_rows == len(self):
                return table
            lengths = [part.count_rows() for part in rows.get_fragments()]
        wrong = np.flatnonzero(np.array(lengths) != self.shard_lengths)[0]
        raise ValueError(
            f"The index {paths[wrong]!r} has {lengths[wrong]} rows, its shard "
            f"{self.shard_lengths[wrong]} frames. Delete it, and call pack_frames "
            "again, with all its files: that packs anew what is missing."
        )


def _find_shards(folder):
    """Return the names of shards, in the order of rows, and their numbers of frames."""
    found = []
    for note in notes_of(folder):
        n_frames, first = _read_note(note)
        if n_frames:
            found.append((first, note.stem, n_frames))
    found.sort()
    names = [name for _, name, _ in found]
    for place, ending in (("frames", ".npy"), ("index", ".parquet")):
        there = set(os.listdir(os.path.join(folder, place)))
        missing = [name for name in names if name + ending not in there]
        if missing:
            path = os.path.join(folder, place, missing[0] + ending)
            raise FileNotFoundError(
                f"The store has lost {len(missing)} files, such as {path!r}, or a run "
                "is writing to it. Call pack_frames again, with all its files: that "
                "packs anew what is missing."
            )
    return names, np.array([n_frames for _, _, n_frames in found], np.int64)


def _read_note(path):
    """Return how many frames the shard of a part has, and the part's first file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        said = (pq.read_metadata(path).metadata or {}).get(SHARD_KEY)
        if said is None:  # all of its files failed
            return 0, ""
        said = json.loads(said)
        n_frames, first = said["n_frames"], said["first"]
        if not (type(n_frames) is int and 0 <= n_frames < _MOST_FRAMES):
            raise ValueError(f"{n_frames!r} frames")
        return n_frames, str(first)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, ValueError, TypeError, KeyError, OSError) as error:
        raise ValueError(
            f"The store's file {str(path)!r} is damaged: {error!r}. Delete it, and "
            "call pack_frames again, with all its files: that packs anew what is "
            "missing."
        ) from error
