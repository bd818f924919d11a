"""A part of a catalogue: some files are read, their frames labelled, and written."""

import warnings
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from sksimclr._files.file_names import as_text, in_utf8
from sksimclr.archive._catalogue import UNKNOWN
from sksimclr.archive._commit import part_done, write_part
from sksimclr.archive._quality import WITHOUT_LABEL, frame_quality
from sksimclr.archive._rows import rows_table

_CHUNK_PIXELS = 1 << 23  # of the frames that are labelled together
_CHUNK_SIZES = (16, 1024)  # smallest and largest number of such frames
_GPU_CHUNK_SIZE = 256  # as many as a GPU is given at a time


@dataclass(frozen=True)
class Group:
    """Files that become one part of the catalogue.

    Attributes
    ----------
    name : str
        The same for the same files.
    files : tuple of str
        Absolute paths.
    readers : tuple of callable
        One for each file, which returns its `Frames`.
    n_losses : int
        How often a worker died, or lost it, while it was to work on it.
    is_suspect : bool
        That has happened too often, so it is worked on alone.
    """

    name: str
    files: tuple
    readers: tuple
    n_losses: int = 0
    is_suspect: bool = False


@dataclass(frozen=True)
class PartDone:
    """Numbers of files, frames and failures of a part that is written."""

    n_files: int
    n_frames: int
    n_failures: int


class Stopped(Exception):
    """The run was interrupted before a part was done."""


def label_group(labeller, group, catalogue, stop=None):
    """Label the files of a group and write their part of the catalogue.

    Parameters
    ----------
    labeller : Labeller
    group : Group
    catalogue : str
    stop : threading.Event, optional
        Set when the run is to end: then `Stopped` is raised, and nothing written.

    Returns
    -------
    PartDone
    """
    _use_one_thread()
    part = _Part(labeller, stop)
    for file, reader in zip(group.files, group.readers, strict=True):
        part.add(file, reader)
    part.label_waiting()
    return _write(catalogue, group, part.tables(), part.files)


def fail_group(group, catalogue, reason):
    """Note one reason for all files of a group, unless they are done all the same."""
    note = part_done(catalogue, group.name)
    if note is not None:  # the worker died, or was given up, after it had written
        return PartDone(len(group.files), note.n_frames, note.n_failures)
    files = [
        {"file": as_text(file), "n_frames": 0, "reason": reason} for file in group.files
    ]
    return _write(catalogue, group, [], files)


def _write(catalogue, group, tables, files):
    write_part(catalogue, group.name, tables, files)
    n_frames = sum(file["n_frames"] for file in files)
    return PartDone(len(files), n_frames, sum(file["reason"] != "" for file in files))


@contextmanager
def process_restored():
    """Restore, after groups were labelled, what `label_group` sets in this process."""
    import torch

    n_torch_threads = torch.get_num_threads()
    with warnings.catch_warnings(), threadpool_limits(1, user_api="blas"):
        try:
            yield
        finally:
            torch.set_num_threads(n_torch_threads)


def _use_one_thread():
    """Let this thread compute alone: the others have files of their own."""
    import torch

    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    if any(pool["num_threads"] > 1 for pool in pools):
        threadpool_limits(1, user_api="blas")  # of a worker of Dask, for good
    # the catalogue says so in its column "quality"
    warnings.filterwarnings("ignore", r"\d+ frame\(s\) without contrast")


@dataclass(frozen=True)
class _Piece:
    """Some frames of a file, not labelled yet.

    Attributes
    ----------
    number : int
        Of the file in its group.
    site : str
    frame : ndarray of shape (n,)
        Numbers of the frames in the file.
    images, times, quality : ndarray
    """

    number: int
    site: str
    frame: np.ndarray
    images: np.ndarray
    times: np.ndarray
    quality: np.ndarray

    @property
    def form(self):
        """What pieces must share to be labelled together."""
        return self.images.shape[1:], self.images.dtype

    def __len__(self):
        return len(self.images)


class _Part:
    """Files on their way to a part; frames of several files are labelled together."""

    def __init__(self, labeller, stop):
        self._labeller = labeller
        self._stop = stop
        self._waiting = []
        self._rows = []  # for each file, a list of dicts of columns
        self.files = []

    def add(self, file, reader):
        """Read a file and label what has come together by then."""
        number = len(self.files)
        self.files.append({"file": as_text(file), "n_frames": 0, "reason": ""})
        self._rows.append([])
        try:
            frames = reader(file)
        except (ImportError, MemoryError):  # not for want of a good file
            raise
        except Exception as error:  # a reader may be a stranger's
            self._fail(number, error)
            return
        self.files[number] |= {
            "n_frames": len(frames),
            "reason": in_utf8(frames.damage),
        }
        size = _chunk_size(frames.images.shape)
        for start in range(0, len(frames), size):
            self._wait(_piece(number, frames, slice(start, start + size)), size)

    def _wait(self, piece, size):
        """Put a piece to those that wait, and label them when they are enough."""
        if self._waiting and self._waiting[0].form != piece.form:
            self.label_waiting()
        self._waiting.append(piece)
        if sum(map(len, self._waiting)) >= size:
            self.label_waiting()

    def label_waiting(self):
        """Label the frames that wait."""
        if self._stop is not None and self._stop.is_set():
            raise Stopped
        pieces, self._waiting = self._waiting, []
        self._label(pieces)

    def _label(self, pieces):
        """Label frames together, or file by file when that fails."""
        pieces = [p for p in pieces if self.files[p.number]["n_frames"]]  # not failed
        if not pieces:
            return
        labelled = [~np.isin(piece.quality, WITHOUT_LABEL) for piece in pieces]
        images = np.concatenate(
            [piece.images[mask] for piece, mask in zip(pieces, labelled, strict=True)]
        )
        try:
            columns = self._labeller.columns(images) if len(images) else {}
        except ValueError as error:
            if len(pieces) == 1:
                self._fail(pieces[0].number, error)
            else:
                for piece in pieces:
                    self._label([piece])
            return
        start = 0
        for piece, mask in zip(pieces, labelled, strict=True):
            rows = slice(start, start + mask.sum())
            start = rows.stop
            own = {name: values[rows] for name, values in columns.items()}
            self._rows[piece.number].append(_columns(piece) | {"labelled": mask} | own)

    def _fail(self, number, error):
        """Note why a file has no rows."""
        reason = str(error) if isinstance(error, ValueError) else repr(error)
        self._rows[number] = []
        self.files[number] |= {
            "n_frames": 0,
            "reason": in_utf8(reason or repr(error)),
        }

    def tables(self):
        """Return (site, date, table) for all sites and dates."""
        chunks = []
        for file, rows in zip(self.files, self._rows, strict=True):
            chunks += [{"file": file["file"]} | columns for columns in rows]
        return rows_table(chunks, self._labeller.header) if chunks else []


def _piece(number, frames, rows):
    """Return the frames of a slice, with their quality."""
    images = frames.images[rows]
    return _Piece(
        number=number,
        site=frames.site or UNKNOWN,
        frame=np.arange(len(frames), dtype=np.int32)[rows],
        images=images,
        times=frames.times[rows],
        quality=frame_quality(images, frames.damage),
    )


def _columns(piece):
    """Return the columns of a piece that do not depend on the model."""
    return {
        "frame": piece.frame,
        "time": piece.times.astype("datetime64[ns]"),
        "quality": piece.quality,
        "site": piece.site,
    }


def _chunk_size(shape):
    """Return how many frames of a file of this shape are labelled together."""
    import torch

    if torch.cuda.is_available():
        return _GPU_CHUNK_SIZE
    fitting = _CHUNK_PIXELS // max(1, shape[1] * shape[2])
    return int(np.clip(fitting, *_CHUNK_SIZES))
