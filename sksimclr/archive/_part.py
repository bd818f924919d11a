"""A part: some files are read, their frames worked on, and what came of it written."""

import math
import warnings
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from sksimclr._files.file_names import as_text, in_utf8
from sksimclr.archive._clock import in_utc
from sksimclr.archive._commit import commit, part_done
from sksimclr.archive._quality import frame_quality
from sksimclr.archive._schemas import UNKNOWN

_ON_CPU = 1 << 24, 1024  # most bytes and number of frames that are worked on together
_ON_GPU = 1 << 26, 256


@dataclass(frozen=True)
class Group:
    """Files that become one part of a catalogue or a store.

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


def do_group(work, group, folder, stop=None):
    """Work on the files of a group and write their part.

    Parameters
    ----------
    work : Labeller or Packer
        Its method ``part(group, folder)`` gives a `Part`.
    group : Group
    folder : str
        The catalogue or store.
    stop : threading.Event, optional
        Set when the run is to end: then `Stopped` is raised, and nothing written.

    Returns
    -------
    PartDone
    """
    _use_one_thread()
    part = work.part(group, folder)
    part.stop = stop
    try:
        for file, reader in zip(group.files, group.readers, strict=True):
            part.add(file, reader)
        part.work_on_waiting()
        outputs, said = part.outputs(group.name)
        return _write(folder, group, outputs, part.files, said)
    finally:
        part.close()


def fail_group(group, folder, reason):
    """Note one reason for all files of a group, unless they are done all the same."""
    note = part_done(folder, group.name)
    if note is not None:  # the worker died, or was given up, after it had written
        return PartDone(len(group.files), note.n_frames, note.n_failures)
    files = [
        {"file": as_text(file), "n_frames": 0, "reason": reason} for file in group.files
    ]
    return _write(folder, group, [], files)


def _write(folder, group, outputs, files, said=None):
    commit(folder, group.name, outputs, files, said)
    n_frames = sum(file["n_frames"] for file in files)
    return PartDone(len(files), n_frames, sum(file["reason"] != "" for file in files))


@contextmanager
def process_restored():
    """Restore, after groups were worked on, what `do_group` sets in this process."""
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
    # the column "quality" says so
    warnings.filterwarnings("ignore", r"\d+ frame\(s\) without contrast")


@dataclass(frozen=True)
class Piece:
    """Some frames of a file, not worked on yet.

    Attributes
    ----------
    number : int
        Of the file in its group.
    site : str
    instrument : str or None
    frame : ndarray of shape (n,), int32
        Numbers of the frames in the file.
    images, times, quality : ndarray
    wanted : ndarray of shape (n,), bool
        Those that are worked on.
    """

    number: int
    site: str
    instrument: str | None
    frame: np.ndarray
    images: np.ndarray
    times: np.ndarray
    quality: np.ndarray
    wanted: np.ndarray

    @property
    def form(self):
        """What pieces must share to be worked on together."""
        return self.images.shape[1:], self.images.dtype

    def __len__(self):
        return len(self.images)


class Part(ABC):
    """Files on their way to a part; frames of several files are worked on together.

    Attributes
    ----------
    files : list of dict
        Rows of the input files that were read so far.
    stop : threading.Event or None
    """

    every = 1  # of all frames, each such one is worked on
    utc_offset = 0.0  # hours that the clock of the camera is ahead
    share = 1  # of the most frames that are worked on together, as many are enough

    def __init__(self, *, on_gpu=False):
        self.files = []
        self.stop = None
        self._limits = _ON_GPU if on_gpu else _ON_CPU
        self._waiting = []
        self._failed = set()
        self._n_seen = 0

    @abstractmethod
    def is_wanted(self, quality):
        """Return which frames of these qualities are worked on."""

    @abstractmethod
    def compute(self, images):
        """Return {name: array with a row for each of the images}."""

    @abstractmethod
    def keep(self, piece, columns):
        """Keep what was computed of the wanted frames of a piece.

        Pieces come in the order of files and frames.
        """

    @abstractmethod
    def drop(self, number):
        """Forget what was kept of a file, which is the last one that was."""

    @abstractmethod
    def outputs(self, name):
        """Return what `commit` writes of the part with that name, and its note says."""

    def close(self):  # noqa: B027
        """Let go of what a part that is not written has."""

    def add(self, file, reader):
        """Read a file and work on what has come together by then."""
        number = len(self.files)
        self.files.append({"file": as_text(file), "n_frames": 0, "reason": ""})
        try:
            frames = in_utc(reader(file), self.utc_offset)
        except (ImportError, MemoryError):  # not for want of a good file
            raise
        except Exception as error:  # a reader may be a stranger's
            self._fail(number, error)
            return
        self.files[number]["reason"] = in_utf8(frames.damage)
        first = -self._n_seen % self.every
        self._n_seen += len(frames)
        step = self._n_together(frames.images) * self.every
        for start in range(first, len(frames), step):
            rows = slice(start, min(start + step, len(frames)), self.every)
            piece = self._piece(number, frames, rows)
            self._wait(piece, is_alone=len(piece) == len(frames))

    def _n_together(self, images):
        """Return how many of such frames are worked on together."""
        n_bytes, most = self._limits
        frame_bytes = images.dtype.itemsize * math.prod(images.shape[1:])
        return int(np.clip(n_bytes // frame_bytes, 1, most))

    def _piece(self, number, frames, rows):
        """Return the frames of a slice, with their quality."""
        images = frames.images[rows]
        quality = frame_quality(images, frames.damage)
        return Piece(
            number=number,
            site=in_utf8(frames.site) or UNKNOWN,
            instrument=in_utf8(frames.instrument) or None,
            frame=np.arange(rows.start, rows.stop, rows.step, dtype=np.int32),
            images=images,
            times=frames.times[rows].astype("datetime64[ns]"),
            quality=quality,
            wanted=self.is_wanted(quality),
        )

    def _wait(self, piece, is_alone):
        """Put a piece to those that wait, and work on them when they are enough."""
        most = self._n_together(piece.images)
        is_other = self._waiting and self._waiting[0].form != piece.form
        if is_other or self._n_waiting() + len(piece) > most:
            self.work_on_waiting()
        self._waiting.append(piece)
        if self._n_waiting() >= self.share * most:
            self.work_on_waiting()
        elif not is_alone:  # or all frames of its file would wait with it
            self._waiting[-1] = replace(piece, images=piece.images.copy())

    def _n_waiting(self):
        return sum(map(len, self._waiting))

    def work_on_waiting(self):
        """Work on the frames that wait."""
        if self.stop is not None and self.stop.is_set():
            raise Stopped
        pieces, self._waiting = self._waiting, []
        self._work_on(pieces)

    def _work_on(self, pieces):
        """Work on frames together, or file by file when that fails."""
        pieces = [piece for piece in pieces if piece.number not in self._failed]
        if not pieces:
            return
        images = _joined([_masked(piece.images, piece.wanted) for piece in pieces])
        try:
            columns = self.compute(images) if len(images) else {}
        except ValueError as error:
            if len(pieces) == 1:
                self._fail(pieces[0].number, error)
            else:
                for piece in pieces:
                    self._work_on([piece])
            return
        start = 0
        for piece in pieces:
            rows = slice(start, start + piece.wanted.sum())
            start = rows.stop
            self.keep(piece, {name: values[rows] for name, values in columns.items()})

    def _fail(self, number, error):
        """Note why a file has no rows."""
        reason = str(error) if isinstance(error, ValueError) else repr(error)
        self._failed.add(number)
        self.drop(number)
        self.files[number] |= {
            "n_frames": 0,
            "reason": in_utf8(reason or repr(error)),
        }


def _masked(images, mask):
    """Return some of the images, without a copy if that is all."""
    return images if mask.all() else images[mask]


def _joined(arrays):
    """Return arrays as one, without a copy if it is one."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
